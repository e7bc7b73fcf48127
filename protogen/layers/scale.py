"""Scale and Bias: multiplication or addition along some axes (caffe/layers/scale_layer.cpp, bias_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..prototxt.layer import Layer
from ..prototxt.message import Message
from .base import BlobSpec, LayerType, Shape, constant_filler
from .fields import Fields
from .registry import register

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from .forms.onnx_graph import OnnxGraph


class Broadcast(LayerType):
    """An operation with an operand of shape bottom[axis : axis + num_axes], which is learned or a second bottom.

    Attributes:
        first: first axis that the operand covers.
        operand: the operand's shape.
    """

    n_bottoms = (1, 2)
    keeps_place = True

    def setup(self) -> None:
        p, shape = self.param, self.bottoms[0]
        self.learned = len(self.bottoms) == 1
        num_axes = p.num_axes if self.learned else len(self.bottoms[1])
        # A scalar covers no axis; Caffe then accepts axis 0 for a bottom without axes.
        self.first = 0 if not self.learned and num_axes == 0 else self.axis(p.axis, shape)
        self.check(num_axes >= -1, f"num_axes must be -1 or more, not {num_axes}")
        end = len(shape) if num_axes == -1 else self.first + num_axes
        self.check(end <= len(shape), f"axis {self.first} and num_axes {num_axes} exceed its bottom's shape {shape}")
        self.operand: Shape = shape[self.first : end]
        if not self.learned:
            self.check(
                self.bottoms[1] == self.operand, f"its second bottom {self.bottoms[1]} does not fit {shape} at axis {self.first}"
            )
        self.tops = [shape]

    def view(self, ndim: int) -> list[int]:
        """The shape in which the operand broadcasts against a bottom with `ndim` axes."""
        leading = [1] * self.first
        return leading + list(self.operand) + [1] * (ndim - self.first - len(self.operand))

    def expand(self, operand: Tensor, x: Tensor) -> Tensor:
        """The operand, reshaped to broadcast against `x` (whose batch may differ from the prototxt's)."""
        return operand.reshape([1] * self.first + list(operand.shape) + [1] * (x.dim() - self.first - operand.dim()))

    def onnx_expand(self, graph: OnnxGraph, operand: str) -> str:
        """`expand` in ONNX."""
        view = self.view(len(self.bottoms[0]))
        trailing = len(view) - self.first - len(self.operand)
        if not trailing:
            return operand
        if self.learned or self.first > 0:
            return graph.reshape(operand, view)
        return graph.unsqueeze(operand, [len(view) - trailing + i for i in range(trailing)])

    @property
    def per_channel(self) -> bool:
        """Whether the operand is one learned value per channel of axis 1."""
        return self.learned and self.first == 1 and len(self.operand) == 1


@register("Scale")
class Scale(Broadcast):
    """y = x * scale (+ bias), with one factor per channel by default.

    With happynear's `min_value` and `max_value`, the learned factors are first clamped to these bounds. As the fork stores the
    result back into the blob, the gradient ignores the bounds, and training changes the blob (scale_layer.cpp of
    happynear/caffe-windows).
    """

    param_name = "scale_param"
    fields = Fields("axis num_axes filler bias_term bias_filler min_value max_value")

    def setup(self) -> None:
        super().setup()
        p = self.param
        self.bias = bool(p.bias_term)
        self.low: float | None = p.get("min_value")
        self.high: float | None = p.get("max_value")
        self.bounded = self.low is not None or self.high is not None
        if self.learned:
            filler = p.filler if "filler" in p else constant_filler(1.0)
            self.blobs.append(BlobSpec("weight", self.operand, filler))
        if self.bias:
            self.blobs.append(BlobSpec("bias", self.operand, p.bias_filler))

    def forward(self, x: Tensor, *others: Tensor, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        factors = self.expand(others[0] if others else self._factors(blobs[0], training), x)
        return torch.addcmul(self.expand(blobs[-1], x), x, factors) if self.bias else x * factors

    def _factors(self, factors: Tensor, training: bool) -> Tensor:
        """The learned factors, clamped to their bounds."""
        import torch

        if not self.bounded:
            return factors
        bounded = factors.detach()
        if self.low is not None:
            bounded = bounded.clamp(min=self.low)
        if self.high is not None:
            bounded = bounded.clamp(max=self.high)
        if training:
            with torch.no_grad():
                factors.copy_(bounded)
            return factors
        return bounded + (factors - factors.detach())

    def refusals(self) -> list[str]:
        """Refuse bounds on a second bottom: the fork changes that blob for its other readers, too."""
        bounds = [
            f"scale_param.{name} is not computed for a second bottom" for name in ("min_value", "max_value") if name in self.param
        ]
        return super().refusals() + ([] if self.learned else bounds)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        factors = blobs[0] if self.learned else bottoms[1]
        if self.bounded and self.learned:
            factors = graph.clip(graph.clip(factors, self.low, None), None, self.high)
        scale = self.onnx_expand(graph, factors)
        shift = None
        if self.bias:
            shift = graph.reshape(blobs[-1], self.view(len(self.bottoms[0])))
        return graph.affine(bottoms[0], scale, shift)

    def affine(self, weights: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
        import numpy as np

        if not self.per_channel:
            return None
        scale = weights[0].astype(np.float64)
        if self.bounded:
            scale = np.minimum(
                np.maximum(scale, -np.inf if self.low is None else self.low), np.inf if self.high is None else self.high
            )
        return scale, weights[1].astype(np.float64) if self.bias else np.zeros_like(scale)

    @classmethod
    def in_place_of(cls, op: LayerType) -> Scale:
        """A Scale layer with a bias that has the name, bottom and top of `op`, a layer that is affine per channel."""
        layer = op.layer
        message = Message.of("LayerParameter", name=layer.name, type="Scale", bottom=layer.bottoms[:1], top=layer.tops)
        message.set("scale_param", {"bias_term": True})
        return cls(Layer(message, layer.group), op.bottoms[:1], op.phase)

    def absorb(
        self, weights: list[np.ndarray], scale: np.ndarray, shift: np.ndarray
    ) -> tuple[LayerType, list[np.ndarray]] | None:
        import numpy as np

        own = self.affine(weights)
        if own is None or own[0].shape != scale.shape:
            return None
        merged = [(own[0] * scale).astype(np.float32), (own[1] * scale + shift).astype(np.float32)]
        return self if self.bias and not self.bounded else self._unbounded(), merged

    def _unbounded(self) -> LayerType:
        """The same layer with a bias and without bounds, which are already applied to the merged factors."""
        blobs = [self.blobs[0], BlobSpec("bias", self.operand, self.param.bias_filler)]
        attributes = {"bias": True, "low": None, "high": None, "bounded": False, "blobs": blobs}
        return self.derived({"bias_term": True}, without=("min_value", "max_value"), **attributes)


@register("Bias")
class Bias(Broadcast):
    """y = x + bias, with one term per channel by default."""

    param_name = "bias_param"
    fields = Fields("axis num_axes filler")

    def setup(self) -> None:
        super().setup()
        if self.learned:
            self.blobs = [BlobSpec("bias", self.operand, self.param.filler)]

    def forward(self, x: Tensor, *others: Tensor, blobs: Sequence[Tensor], training: bool) -> Tensor:
        return x + self.expand(others[0] if others else blobs[0], x)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        return graph.affine(bottoms[0], None, self.onnx_expand(graph, blobs[0] if self.learned else bottoms[1]))

    def affine(self, weights: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
        import numpy as np

        if not self.per_channel:
            return None
        return np.ones(self.operand), weights[0].astype(np.float64)
