"""A ReLU inside another layer, as Intel's Caffe fuses them: `relu: true` and `negative_slope` in the layer's own parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import LayerType

if TYPE_CHECKING:
    from torch import Tensor

    from .forms.onnx_graph import OnnxGraph


class FusedReLU(LayerType):
    """A layer whose top goes through a (leaky) ReLU if its own parameters say `relu: true`.

    Source: mkldnn_convolution_layer.cpp, mkldnn_inner_product_layer.cpp and mkldnn_batch_norm_layer.cpp of intel/caffe.
    """

    @property
    def has_relu(self) -> bool:
        """Whether the layer ends in a ReLU; only where the class computes the field."""
        return bool(self.param.relu) and f"{self.param_name}.relu" in self.known_fields().computed(str(self.param_name))

    @property
    def relu_slope(self) -> float:
        """What the ReLU multiplies negative values by; read from the parameters that have it, else 0."""
        return float(self.param.get("negative_slope", 0.0))

    def activated(self, y: Tensor) -> Tensor:
        """`y` after the ReLU, if there is one."""
        from torch.nn import functional as F

        return F.leaky_relu(y, self.relu_slope) if self.has_relu else y

    def onnx_activated(self, graph: OnnxGraph, y: str) -> str:
        """The same in ONNX."""
        if not self.has_relu:
            return y
        return graph.add("LeakyRelu", y, alpha=self.relu_slope) if self.relu_slope else graph.add("Relu", y)
