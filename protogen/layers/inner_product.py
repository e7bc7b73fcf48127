"""InnerProduct: the fully connected layer (caffe/layers/inner_product_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..prototxt.message import Message
from .base import BlobSpec, LayerType, count, register

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ..convert.onnx_graph import OnnxGraph


@register("InnerProduct")
class InnerProduct(LayerType):
    """y = W x + b over all axes from `axis` on, flattened: (N, C, H, W) to (N, num_output) for axis 1.

    Weights are (num_output, K), or (K, num_output) with `transpose`.
    """

    param_name = "inner_product_param"

    def setup(self) -> None:
        p = self.param
        self.first = self.axis(p.axis)
        shape = self.bottoms[0]
        self.num_output, self.transpose, self.bias = int(p.num_output), bool(p.transpose), bool(p.bias_term)
        self.check(self.num_output > 0, "num_output must be positive")
        self.features = count(shape[self.first :])
        self.tops = [(*shape[: self.first], self.num_output)]
        weight = (self.features, self.num_output) if self.transpose else (self.num_output, self.features)
        self.blobs = [BlobSpec("weight", weight, p.weight_filler)]
        if self.bias:
            self.blobs.append(BlobSpec("bias", (self.num_output,), p.bias_filler))
        self.macs = count(shape[: self.first]) * self.features * self.num_output

    def forward(self, x: torch.Tensor, *, blobs: Sequence[torch.Tensor], training: bool) -> torch.Tensor:  # type: ignore[override]
        from torch.nn import functional as F

        weight = blobs[0].t() if self.transpose else blobs[0]
        return F.linear(x.flatten(self.first), weight, blobs[1] if self.bias else None)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        x = bottoms[0]
        if self.first == 1:
            if len(self.bottoms[0]) > 2:
                x = graph.add("Flatten", x, axis=1)
            return graph.add("Gemm", x, *blobs, transB=int(not self.transpose))
        leading = [0] * self.first
        if len(self.bottoms[0]) != self.first + 1:
            x = graph.reshape(x, (*leading, self.features))
        weight = blobs[0] if self.transpose else graph.transpose(blobs[0], (1, 0))
        y = graph.add("MatMul", x, weight)
        return graph.add("Add", y, blobs[1]) if self.bias else y

    def absorb(
        self, message: Message, weights: list[np.ndarray], scale: np.ndarray, shift: np.ndarray
    ) -> list[np.ndarray] | None:
        import numpy as np

        if self.first != 1 or len(scale) != self.num_output:
            return None
        bias = weights[1].astype(np.float64) if len(weights) > 1 else np.zeros(self.num_output)  # maybe of an absorption before
        message.inner_product_param.set("bias_term", True)
        factor = scale if self.transpose else scale[:, None]
        return [(weights[0] * factor).astype(np.float32), (bias * scale + shift).astype(np.float32)]
