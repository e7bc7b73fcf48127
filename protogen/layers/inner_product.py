"""InnerProduct: the fully connected layer (caffe/layers/inner_product_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .base import BlobSpec, LayerType, count
from .fields import Fields
from .linear import Linear
from .registry import register

if TYPE_CHECKING:
    import numpy as np
    import torch

    from ..prototxt.layer import Layer
    from .forms.onnx_graph import OnnxGraph


@register("InnerProduct")
class InnerProduct(Linear):
    """y = W x + b over all axes from `axis` on, flattened: (N, C, H, W) to (N, num_output) for axis 1.

    Weights are (num_output, K), or (K, num_output) with `transpose`.

    With Intel's `relu: true`, y goes through a ReLU with `negative_slope` (0). With happynear's `normalize`, each run of K
    consecutive values of W in memory is first divided by its length sqrt(sum of squares + 1e-6); in training the result is stored
    back into W (inner_product_layer.cpp of happynear/caffe-windows).
    """

    param_name = "inner_product_param"
    fields = Fields(
        "num_output bias_term weight_filler bias_filler axis transpose relu negative_slope normalize",
        engine="intel/caffe src/caffe/layer_factory.cpp:217: GetInnerProductLayer picks the library",
    )

    @classmethod
    def select(cls, layer: Layer) -> type[LayerType]:
        """Of several bottoms, happynear's form: see `ProductOfBottoms`."""
        if len(layer.bottoms) < 2:
            return cls
        from .normface import ProductOfBottoms

        return ProductOfBottoms

    @property
    def sees_all(self) -> bool:
        return self.first <= 2

    def setup(self) -> None:
        p = self.param
        self.first = self.axis(p.axis)
        shape = self.bottoms[0]
        self.num_output, self.transpose, self.bias = int(p.num_output), bool(p.transpose), bool(p.bias_term)
        self.normalize = bool(p.normalize)
        self.check(self.num_output > 0, "num_output must be positive")
        self.features = count(shape[self.first :])
        self.tops = [(*shape[: self.first], self.num_output)]
        weight = (self.features, self.num_output) if self.transpose else (self.num_output, self.features)
        self.blobs = [BlobSpec("weight", weight, p.weight_filler)]
        if self.bias:
            self.blobs.append(BlobSpec("bias", (self.num_output,), p.bias_filler))
        self.macs = count(shape[: self.first]) * self.features * self.num_output

    def forward(self, x: torch.Tensor, *, blobs: Sequence[torch.Tensor], training: bool) -> torch.Tensor:
        from torch.nn import functional as F

        weight = self._normalized(blobs[0], training) if self.normalize else blobs[0]
        y = F.linear(x.flatten(self.first), weight.t() if self.transpose else weight, blobs[1] if self.bias else None)
        return self.activated(y)

    def _normalized(self, weight: torch.Tensor, training: bool) -> torch.Tensor:
        """The weights with rows of length 1; the gradient ignores this, as the fork overwrites its weights before using them."""
        import torch

        rows = weight.detach().reshape(self.num_output, self.features)
        unit = (rows / (rows.square().sum(1, keepdim=True) + 1e-6).sqrt()).reshape(weight.shape)
        if training:
            with torch.no_grad():
                weight.copy_(unit)
            return weight
        return unit + (weight - weight.detach())

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        x, blobs = bottoms[0], [self._onnx_normalized(graph, blobs[0]), *blobs[1:]]
        if self.first == 1:
            if len(self.bottoms[0]) > 2:
                x = graph.add("Flatten", x, axis=1)
            return self.onnx_activated(graph, graph.add("Gemm", x, *blobs, transB=int(not self.transpose)))
        leading = [0] * self.first
        if len(self.bottoms[0]) != self.first + 1:
            x = graph.reshape(x, (*leading, self.features))
        weight = blobs[0] if self.transpose else graph.transpose(blobs[0], (1, 0))
        y = graph.add("MatMul", x, weight)
        return self.onnx_activated(graph, graph.add("Add", y, blobs[1]) if self.bias else y)

    def _onnx_normalized(self, graph: OnnxGraph, weight: str) -> str:
        if not self.normalize:
            return weight
        rows = graph.reshape(weight, (self.num_output, self.features))
        squares = graph.reduce("Sum", graph.add("Mul", rows, rows), [1])
        unit = graph.add("Div", rows, graph.add("Sqrt", graph.add("Add", squares, graph.scalar(1e-6))))
        return graph.reshape(unit, (self.features, self.num_output)) if self.transpose else unit

    @property
    def outputs_are_channels(self) -> bool:
        return self.first == 1 and not self.normalize

    def per_output(self, factors: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return factors if self.transpose else factors[:, None]
