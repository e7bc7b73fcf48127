"""Elementwise activations without and with a slope to learn, and Dropout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .base import BlobSpec, LayerType, constant_filler, register

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ..convert.onnx_graph import OnnxGraph


class Elementwise(LayerType):
    """A layer whose top has its bottom's shape."""

    def setup(self) -> None:
        self.tops = [self.bottoms[0]]


@register("ReLU")
class ReLU(Elementwise):
    """max(x, 0) + negative_slope * min(x, 0)."""

    param_name = "relu_param"

    def module(self) -> torch.nn.Module:
        from torch import nn

        slope = self.param.negative_slope
        return nn.LeakyReLU(slope) if slope else nn.ReLU()

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        slope = self.param.negative_slope
        return graph.add("LeakyRelu", bottoms[0], alpha=slope) if slope else graph.add("Relu", bottoms[0])


@register("PReLU")
class PReLU(Elementwise):
    """max(x, 0) + slope * min(x, 0), one learned slope per channel (axis 1), or one in all with `channel_shared`."""

    param_name = "prelu_param"

    def setup(self) -> None:
        super().setup()
        self.check(len(self.bottoms[0]) >= 2, f"needs a channel axis; its bottom is {self.bottoms[0]}")
        self.shared = bool(self.param.channel_shared)
        filler = self.param.filler if "filler" in self.param else constant_filler(0.25)
        self.blobs = [BlobSpec("weight", () if self.shared else (self.bottoms[0][1],), filler)]

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:  # type: ignore[override]
        from torch.nn import functional as F

        return F.prelu(x, blobs[0].reshape(-1))

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        view = [1] if self.shared else [-1] + [1] * (len(self.bottoms[0]) - 2)
        return graph.add("PRelu", bottoms[0], graph.reshape(blobs[0], view))


@register("Sigmoid")
class Sigmoid(Elementwise):
    """1 / (1 + exp(-x))."""

    def module(self) -> torch.nn.Module:
        from torch import nn

        return nn.Sigmoid()

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        return graph.add("Sigmoid", bottoms[0])


@register("Dropout")
class Dropout(Elementwise):
    """TRAIN: zero each value with probability `dropout_ratio` and scale the rest by 1 / (1 - ratio); TEST: identity.

    With a fork's `scale_train: false`, TRAIN does not scale and TEST multiplies by 1 - ratio.
    """

    param_name = "dropout_param"

    def setup(self) -> None:
        super().setup()
        self.ratio = self.param.dropout_ratio
        self.scale_train = bool(self.param.get("scale_train", True))
        self.check(0 <= self.ratio < 1, f"dropout_ratio must be in [0, 1), not {self.ratio:g}")

    def module(self) -> torch.nn.Module:
        from torch import nn

        return nn.Dropout(self.ratio) if self.scale_train else super().module()

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:  # type: ignore[override]
        from torch.nn import functional as F

        return F.dropout(x, self.ratio, True) * (1 - self.ratio) if training else x * (1 - self.ratio)

    @property
    def is_identity(self) -> bool:
        return self.scale_train

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        return bottoms[0] if self.scale_train else graph.add("Mul", bottoms[0], graph.scalar(1 - self.ratio))
