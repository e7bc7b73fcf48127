"""DenseBlock of caffe_ocr: BatchNorm, ReLU and Convolution, time and again (src/caffe/layers/DenseBlock_layer.cu)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..prototxt.message import Message
from .base import BlobSpec, LayerType, constant_filler
from .fields import Fields
from .registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from .forms.onnx_graph import OnnxGraph

EPSILON = 1e-5  # cuDNN's least
SOURCE = "senlinuc/caffe_ocr src/caffe/layers/DenseBlock_layer"


@register("DenseBlock")
class DenseBlock(LayerType):
    """`numTransition` times BatchNorm, ReLU and a 3x3 convolution to `growthRate` channels, which join those before it.

    (N, C, H, W) becomes (N, C + numTransition * growthRate, H, W). With `use_BC`, a 1x1 convolution to 4 * growthRate channels,
    BatchNorm and ReLU come before the 3x3 one. Kernels are flipped, as the fork has cuDNN's CUDNN_CONVOLUTION
    (senlinuc/caffe_ocr, DenseBlock_layer.cu); the means and variances are the running ones themselves, and the last blob is not
    read: the fork's C++ for CPUs, which does not agree with that, divides by it.

    Blobs, for T transitions: T kernels, scales, shifts, means and variances; with `use_BC` T of each of the 1x1 convolutions;
    the last blob, of one value.
    """

    param_name = "denseblock_param"
    fields = Fields(
        "numTransition growthRate Filter_Filler BN_Scaler_Filler BN_Bias_Filler use_BC moving_average_fraction",
        initChannel=f"{SOURCE}.cpp:52: the bottom's channels count",
        **dict.fromkeys(
            ("pad_h", "pad_w", "conv_verticalStride", "conv_horizentalStride", "filter_H", "filter_W"),
            f"{SOURCE}.cu:382: 3x3 kernels, a padding of 1 and a stride of 1 are fixed",
        ),
        gpuIdx=f"{SOURCE}.cpp:58: which GPU computes",
        workspace_MB=f"{SOURCE}.cpp:57: memory of cuDNN",
        BC_ultra_space_efficient=f"{SOURCE}.cpp:64: what is computed again for the backward pass",
        dropout_amount=f"{SOURCE}.cpp:61: of use_dropout, which is refused",
    )

    def setup(self) -> None:
        p, shape = self.param, self.bottoms[0]
        self.check(len(shape) == 4, f"takes a bottom with 4 axes (N, C, H, W), not {shape}")
        self.times, self.growth, self.narrow = int(p.numTransition), int(p.growthRate), bool(p.use_BC)
        self.check(0 < self.times <= 1000 and self.growth > 0, "numTransition (at most 1000) and growthRate must be positive")
        inputs = [shape[1] + i * self.growth for i in range(self.times)]
        inner = [4 * self.growth] * self.times
        kernels = [(self.growth, c, 3, 3) for c in (inner if self.narrow else inputs)]
        self.blobs = self._convolutions("", kernels, inputs)
        if self.narrow:
            self.blobs += self._convolutions("_1x1", [(4 * self.growth, c, 1, 1) for c in inputs], inner)
        macs = sum(blob.count for blob in self.blobs if blob.name.startswith("kernel"))
        self.blobs.append(BlobSpec("factor", (1,), constant_filler(), trainable=False))
        self.macs = shape[0] * math.prod(shape[2:]) * macs
        self.tops = [(shape[0], shape[1] + self.times * self.growth, *shape[2:])]

    def _convolutions(self, kind: str, kernels: Sequence[tuple[int, ...]], channels: Sequence[int]) -> list[BlobSpec]:
        """Blobs of the convolutions of a kind, and of a normalization of `channels` for each."""
        p = self.param

        def each(name: str, filler: Message, trainable: bool = True) -> list[BlobSpec]:
            return [BlobSpec(f"{name}{kind}_{i}", (1, c, 1, 1), filler, trainable) for i, c in enumerate(channels)]

        return [
            *(BlobSpec(f"kernel{kind}_{i}", shape, p.Filter_Filler) for i, shape in enumerate(kernels)),
            *each("scale", p.BN_Scaler_Filler), *each("shift", p.BN_Bias_Filler),
            *each("mean", constant_filler(), False), *each("variance", constant_filler(1.0), False),
        ]  # fmt: skip

    def steps(self) -> list[list[tuple[int, int]]]:
        """For each transition, its steps: indices of the kernel, and of the first blob of the normalization before it."""
        t = self.times
        if not self.narrow:
            return [[(i, t + i)] for i in range(t)]
        return [[(5 * t + i, t + i), (i, 6 * t + i)] for i in range(t)]

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch
        from torch.nn import functional as F

        momentum = float(self.param.moving_average_fraction)
        training = training and self.phase == "TRAIN"
        for steps in self.steps():
            y = x
            for kernel, first in steps:
                scale, shift, mean, variance = (blobs[first + i * self.times].reshape(-1) for i in range(4))
                y = F.relu(F.batch_norm(y, mean, variance, scale, shift, training, momentum, EPSILON))
                weight = blobs[kernel].flip(2, 3)
                y = F.conv2d(y, weight, padding=weight.shape[2] // 2)
            x = torch.cat([x, y], 1)
        return x

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        import numpy as np

        x = bottoms[0]
        for steps in self.steps():
            y = x
            for kernel, first in steps:
                norm = [graph.reshape(blobs[first + i * self.times], (self.blobs[first].shape[1],)) for i in range(4)]
                y = graph.add("Relu", graph.add("BatchNormalization", y, *norm, epsilon=EPSILON))
                weight = graph.own_array("kernel", np.ascontiguousarray(graph.initializers[blobs[kernel]][:, :, ::-1, ::-1]))
                pad = self.blobs[kernel].shape[2] // 2
                y = graph.add("Conv", y, weight, pads=[pad] * 4)
            x = graph.add("Concat", x, y, axis=1)
        return x
