"""GuidedDropout: dropout of channels by another blob (src/caffe/layers/guided_dropout_layer.cpp of Cysu/caffe)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .base import LayerType, count
from .fields import Fields
from .registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from ..prototxt.layer import Layer
    from .forms.onnx_graph import OnnxGraph


@register("GuidedDropout")
class GuidedDropout(LayerType):
    """Keeps channels of (N, C, ...) by a guidance (N, C, 1, 1), and multiplies them by C over the number kept.

    `type: "deterministic"` keeps those above `guidance_threshold`, in TEST too; "stochastic" keeps each with the probability
    sigmoid(sigmoid_scaler * guidance) in TRAIN, divides by the sum of the probabilities, and passes everything in TEST. Where
    nothing is kept, nothing is multiplied (Cysu/caffe, domain-guided-dropout branch, guided_dropout_layer.cpp).
    """

    param_name = "guided_dropout_param"
    fields = Fields("type guidance_threshold sigmoid_scaler")
    n_bottoms = (2, 2)
    only_trains = True
    passes_first = True
    keeps_place = True

    @classmethod
    def select(cls, layer: Layer) -> type[LayerType]:
        return cls if layer.message.guided_dropout_param.type == "stochastic" else DeterministicDropout

    def setup(self) -> None:
        x, guidance = self.bottoms
        self.check(self.param.type in ("deterministic", "stochastic"),
                   f"type must be deterministic or stochastic, not {self.param.type!r}")  # fmt: skip
        fits = len(x) > 1 and guidance[:2] == x[:2] and count(guidance[2:]) == 1
        self.check(fits, f"the guidance for {x} must be {(*x[:2], 1, 1)}, not {guidance}")
        self.tops = [x]

    def forward(self, x: Tensor, guidance: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        if not (training and self.phase == "TRAIN"):
            return x
        chance = (guidance.detach().flatten(1) * self.param.sigmoid_scaler).sigmoid()
        return self.masked(x, torch.rand_like(chance) <= chance, chance.sum(1))

    def masked(self, x: Tensor, mask: Tensor, kept: Tensor) -> Tensor:
        """x with the channels of `mask` (N, C), times C over `kept` (N,) where that is positive."""
        import torch

        factor = torch.where(kept > 0, mask.shape[1] / kept, 1.0)
        return x * (mask * factor[:, None]).reshape(*mask.shape, *[1] * (x.dim() - 2)).to(x)

    @property
    def is_identity(self) -> bool:
        return True

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        return bottoms[0]


class DeterministicDropout(GuidedDropout):
    """A GuidedDropout of the type "deterministic", which drops in TEST, too."""

    types = ("GuidedDropout",)
    only_trains = False
    passes_first = False

    def forward(self, x: Tensor, guidance: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        mask = guidance.detach().flatten(1) > self.param.guidance_threshold
        return self.masked(x, mask, mask.sum(1))

    @property
    def is_identity(self) -> bool:
        return False

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        x, shape = bottoms[0], self.bottoms[0]
        above = graph.add("Greater", graph.reshape(bottoms[1], (0, -1)), graph.scalar(self.param.guidance_threshold))
        mask = graph.cast(above, "float32")
        kept = graph.reduce("Sum", mask, [1])
        some = graph.add("Greater", kept, graph.scalar(0.0))
        ratio = graph.add("Div", graph.scalar(float(shape[1])), kept)
        factor = graph.add("Mul", mask, graph.add("Where", some, ratio, graph.scalar(1.0)))
        return graph.add("Mul", x, graph.unsqueeze(factor, list(range(2, len(shape)))) if len(shape) > 2 else factor)
