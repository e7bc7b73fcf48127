"""A ReLU fused into another layer, as in Intel's Caffe: `relu: true` and `negative_slope` in the layer's own parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import LayerType

if TYPE_CHECKING:
    from torch import Tensor

    from .forms.onnx_graph import OnnxGraph


class FusedReLU(LayerType):
    """A layer whose top goes through a (leaky) ReLU if its own parameters have `relu: true`.

    Source: mkldnn_convolution_layer.cpp, mkldnn_inner_product_layer.cpp and mkldnn_batch_norm_layer.cpp of intel/caffe.
    """

    @property
    def has_relu(self) -> bool:
        """Whether the layer ends in a ReLU; False if its class does not compute the field."""
        return bool(self.param.relu) and f"{self.param_name}.relu" in self.known_fields().computed(str(self.param_name))

    @property
    def relu_slope(self) -> float:
        """The ReLU's slope for negative values; 0 for parameters without the field."""
        return float(self.param.get("negative_slope", 0.0))

    def activated(self, y: Tensor) -> Tensor:
        """Apply the ReLU to `y`, if there is one."""
        from torch.nn import functional as F

        return F.leaky_relu(y, self.relu_slope) if self.has_relu else y

    def onnx_activated(self, graph: OnnxGraph, y: str) -> str:
        """`activated` in ONNX."""
        if not self.has_relu:
            return y
        return graph.add("LeakyRelu", y, alpha=self.relu_slope) if self.relu_slope else graph.add("Relu", y)
