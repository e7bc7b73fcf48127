"""Convolution, Deconvolution and the depthwise convolutions of forks.

Sources for shapes and weights: caffe/layers/base_conv_layer.cpp, conv_layer.cpp, deconv_layer.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from .base import BlobSpec, Shape, count
from .fields import Fields
from .linear import Linear
from .registry import register
from .windows import per_axis

if TYPE_CHECKING:
    import numpy as np
    import torch

    from .coordinates import AxisMap
    from .forms.onnx_graph import OnnxGraph


class Convolutional(Linear):
    """The base of convolutions in any number of spatial dimensions; without any, they are matrix products along the last axis.

    Attributes:
        kernel, stride, pad, dilation: one number per spatial axis.
        channel_axis: axis of the channels; axes before it are batch axes.
        num_output, group: the numbers of outputs and of groups that are actually used.
    """

    param_name = "convolution_param"
    fields: ClassVar[Fields] = Fields(
        "num_output bias_term pad kernel_size group stride weight_filler bias_filler pad_h pad_w kernel_h "
        "kernel_w stride_h stride_w axis dilation hole hole_h hole_w",
        engine="BVLC/caffe src/caffe/layer_factory.cpp:44",
        force_nd_im2col="BVLC/caffe src/caffe/layers/base_conv_layer.cpp:16",
        cudnn_convolution_algo_seeker="NVIDIA/caffe src/caffe/layers/cudnn_conv_layer.cpp:444: how cuDNN searches",
        conv_algos_override="NVIDIA/caffe src/caffe/layers/cudnn_conv_layer.cpp:95: which algorithm cuDNN uses",
        conv_algorithm="intel/caffe src/caffe/layers/mkldnn_convolution_layer.cpp:134",
    )
    n_bottoms = (1, None)
    n_tops = (1, None)
    transposed = False

    def setup(self) -> None:
        p = self.param
        self.check(
            len(self.bottoms) == len(self.layer.tops),
            f"has {len(self.bottoms)} bottoms and {len(self.layer.tops)} tops; give each bottom a top",
        )
        self.same_shape()
        shape = self.bottoms[0]
        self.channel_axis = self.axis(p.axis)
        spatial = shape[self.channel_axis + 1 :]
        self.channels = shape[self.channel_axis]
        self.read_channels()
        self.kernel = per_axis(self, "kernel", len(spatial))
        self.stride = per_axis(self, "stride", len(spatial), 1)
        self.pad = per_axis(self, "pad", len(spatial), 0)
        self.dilation = self._dilation(len(spatial))
        for what, values in (("kernel size", self.kernel), ("stride", self.stride), ("dilation", self.dilation)):
            self.check(all(value > 0 for value in values), f"{what} must be positive, not {_text(values)}")
        out = tuple(self.out_size(i, size) for i, size in enumerate(spatial))
        self.tops = [(*shape[: self.channel_axis], self.num_output, *out)] * len(self.bottoms)
        self.blobs = [BlobSpec("weight", self.weight_shape(), p.weight_filler)]
        self.bias = bool(p.bias_term)
        if self.bias:
            self.blobs.append(BlobSpec("bias", (self.num_output,), p.bias_filler))
        positions = spatial if self.transposed else out
        self.macs = len(self.bottoms) * count(shape[: self.channel_axis]) * count(self.weight_shape()) * count(positions)

    def read_channels(self) -> None:
        """Set `num_output` and `group` from the parameters.

        Raises:
            LayerError: they do not fit each other or the bottom's channels.
        """
        self.num_output, self.group = int(self.param.num_output), int(self.param.group)
        self.check(self.num_output > 0, "num_output must be positive")
        self.check(self.group > 0, "group must be positive")
        self.check(
            self.channels % self.group == 0, f"group {self.group} does not divide the {self.channels} channels of its bottom"
        )
        self.check(self.num_output % self.group == 0, f"group {self.group} does not divide num_output {self.num_output}")

    def weight_shape(self) -> Shape:
        """Caffe's shape of the weights: (out, in / group, kernel...)."""
        return (self.num_output, self.channels // self.group, *self.kernel)

    def out_size(self, i: int, size: int) -> int:
        """Output size along spatial axis `i`."""
        extent = self.dilation[i] * (self.kernel[i] - 1) + 1
        padded = size + 2 * self.pad[i]
        self.check(extent <= padded, f"the kernel covers {extent} pixels, its bottom has {padded} (padding included)")
        return (padded - extent) // self.stride[i] + 1

    def _dilation(self, axes: int) -> tuple[int, ...]:
        """Dilation per spatial axis; DeepLab's first fork calls it `hole` (conv_layer.cpp: kernel + (kernel - 1) (hole - 1))."""
        p = self.param
        if "hole" not in p and "hole_h" not in p and "hole_w" not in p:
            return per_axis(self, "dilation", axes, 1)
        self.check("dilation" not in p, "give either dilation or hole")
        return per_axis(self, "hole", axes, 1)

    # ---- PyTorch

    def _standard_module(self) -> torch.nn.Module | None:
        """The standard module that computes the same; None if there is none."""
        from torch import nn

        from .forms.torch_module import without_values

        if len(self.bottoms) > 1:
            return None
        if not self.kernel:
            plain = self.group == 1 and not self.transposed
            return without_values(nn.Linear, self.channels, self.num_output, bias=self.bias) if plain else None
        if self.channel_axis != 1 or len(self.kernel) > 3:
            return None
        kinds = (
            (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d) if self.transposed else (nn.Conv1d, nn.Conv2d, nn.Conv3d)
        )
        return without_values(
            kinds[len(self.kernel) - 1], self.channels, self.num_output, self.kernel, stride=self.stride, padding=self.pad,
            dilation=self.dilation, groups=self.group, bias=self.bias,
        )  # fmt: skip

    def module(self) -> torch.nn.Module:
        if len(self.kernel) > 3:
            raise self.error(f"PyTorch supports at most 3 spatial axes in convolutions, not {len(self.kernel)}")
        return (None if self.has_relu else self._standard_module()) or super().module()

    def forward(self, *bottoms: torch.Tensor, blobs: Sequence[torch.Tensor], training: bool) -> Sequence[torch.Tensor]:
        from torch.nn import functional as F

        if not self.kernel:
            return [self.activated(self._product(x, blobs)) for x in bottoms]
        n = len(self.kernel) - 1
        bias = blobs[1] if self.bias else None
        tops = []
        for x in bottoms:
            outer = x.shape[: self.channel_axis]
            flat = x.reshape(-1, *x.shape[self.channel_axis :])
            if self.transposed:
                deconv = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[n]
                y = deconv(flat, blobs[0], bias, self.stride, self.pad, 0, self.group, self.dilation)
            else:
                conv = (F.conv1d, F.conv2d, F.conv3d)[n]
                y = conv(flat, blobs[0], bias, self.stride, self.pad, self.dilation, self.group)
            tops.append(self.activated(y.reshape(*outer, *y.shape[1:])))
        return tops

    def _product(self, x: torch.Tensor, blobs: Sequence[torch.Tensor]) -> torch.Tensor:
        """W x + b along the last axis, for each group of channels."""
        import torch

        grouped = x.unflatten(-1, (self.group, -1))
        weight = blobs[0].unflatten(0, (self.group, -1))
        y = torch.einsum("...gi,gio->...go" if self.transposed else "...gi,goi->...go", grouped, weight).flatten(-2)
        return y + blobs[1] if self.bias else y

    # ---- ONNX

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> list[str]:
        if not self.kernel:
            return [self.onnx_activated(graph, self._onnx_product(graph, x, blobs)) for x in bottoms]
        op_type = "ConvTranspose" if self.transposed else "Conv"
        tops = []
        for x in bottoms:
            if self.channel_axis != 1:
                if graph.dynamic_batch:
                    raise graph.refuse(f"channels on axis {self.channel_axis} do not allow an open batch (--dynamic-batch)")
                x = graph.reshape(x, (-1, *self.bottoms[0][self.channel_axis :]))
            pad = self.pad
            if not self.transposed and max(self.kernel) == 1 and any(pad):
                # OpenCV 5 reads past the bottom of padded 1x1 convolutions; ONNX Runtime merges the Pad back in.
                x, pad = graph.pad(x, [0, 0, *pad], [0, 0, *pad]), (0,) * len(pad)
            y = graph.add(
                op_type, x, *blobs, kernel_shape=list(self.kernel), strides=list(self.stride),
                pads=[*pad, *pad], dilations=list(self.dilation), group=self.group,
            )  # fmt: skip
            y = self.onnx_activated(graph, y)
            tops.append(y if self.channel_axis == 1 else graph.reshape(y, self.tops[0]))
        return tops

    def _onnx_product(self, graph: OnnxGraph, x: str, blobs: Sequence[str]) -> str:
        """`_product` in ONNX: one matrix product, or with groups a batch of them, each on a row (1, channels of the group)."""
        outer, weight = (0,) * self.channel_axis, blobs[0]
        if self.group > 1:
            x = graph.reshape(x, (*outer, self.group, 1, self.channels // self.group))
            weight = graph.reshape(weight, (self.group, -1, self.weight_shape()[1]))
        if not self.transposed:
            weight = graph.transpose(weight, (1, 0) if self.group == 1 else (0, 2, 1))
        y = graph.add("MatMul", x, weight)
        if self.group > 1:
            y = graph.reshape(y, (*outer, self.num_output))
        return graph.add("Add", y, blobs[1]) if self.bias else y

    # ---- coordinates

    def coordinates(self) -> list[AxisMap]:
        from .coordinates import IDENTITY, window

        maps = [window(*settings) for settings in zip(self.kernel, self.stride, self.pad, self.dilation)]
        return [IDENTITY] * (self.channel_axis + 1) + [map.inverse() if self.transposed else map for map in maps]

    def window(self) -> dict[str, Sequence[int]]:
        return {"kernel": self.kernel, "stride": self.stride, "pad": self.pad, "dilation": self.dilation}

    def reach(self) -> list[int]:
        spans = [dilation * (kernel - 1) for kernel, dilation in zip(self.kernel, self.dilation)]
        if self.transposed:  # a pixel of the top lies under every stride-th tap of the kernel only
            spans = [span // stride for span, stride in zip(spans, self.stride)]
        return [0] * (self.channel_axis + 1) + spans

    # ---- folding

    @property
    def outputs_are_channels(self) -> bool:
        return len(self.bottoms) == 1 and self.channel_axis == 1


@register("Convolution", "DepthwiseConvolution")
class Convolution(Convolutional):
    """y = W * x + b over windows; output size (in + 2 pad - dilation (kernel - 1) - 1) / stride + 1, rounded down.

    If the channels' axis is the last one, W is a matrix (out, in / group), and `kernel_size` and its like have no effect.

    With Intel's `relu: true`, y goes through a ReLU with `negative_slope` (0).
    """

    fields = Convolutional.fields.but("relu negative_slope")


@register("ConvolutionDepthwise", "ConvDepthwise")
class ConvolutionDepthwise(Convolutional):
    """One filter per channel: weights (C, 1, kh, kw); `num_output` and `group` are ignored."""

    fields = Convolutional.fields.but(
        num_output="lyxok1/Tiny-DSOD src/caffe/layers/conv_dw_layer.cpp:65: the number of channels is used instead",
        group="lyxok1/Tiny-DSOD src/caffe/layers/conv_dw_layer.cpp:65: the number of channels is used instead",
    )

    def read_channels(self) -> None:
        shape = self.bottoms[0]
        self.check(self.channel_axis + 1 < len(shape), f"its bottom {shape} has no spatial axes after the channels")
        self.num_output = self.group = self.channels


@register("Deconvolution")
class Deconvolution(Convolutional):
    """Transposed convolution: weights (in, out / group, kernel...); size stride (in - 1) + dilation (kernel - 1) + 1 - 2 pad."""

    transposed = True

    def weight_shape(self) -> Shape:
        return (self.channels, self.num_output // self.group, *self.kernel)

    def out_size(self, i: int, size: int) -> int:
        out = self.stride[i] * (size - 1) + self.dilation[i] * (self.kernel[i] - 1) + 1 - 2 * self.pad[i]
        self.check(out > 0, f"the padding of {self.pad[i]} leaves nothing of the output")
        return out

    def per_output(self, factors: np.ndarray, weight: np.ndarray) -> np.ndarray:
        import numpy as np

        # Input channels come in groups; output channel g * (out / group) + j belongs to group g.
        per_group = factors.reshape(self.group, 1, -1)
        spread = np.broadcast_to(per_group, (self.group, self.channels // self.group, per_group.shape[2]))
        return spread.reshape(self.channels, -1, *(1,) * (weight.ndim - 2))


def _text(values: Sequence[int]) -> str:
    return "x".join(map(str, values))
