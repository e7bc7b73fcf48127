"""Dropout, and SELU's form of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .activation import Elementwise
from .fields import Fields
from .registry import register

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .forms.onnx_graph import OnnxGraph


@register("Dropout")
class Dropout(Elementwise):
    """TRAIN: zeroes each value with probability `dropout_ratio` and scales the others by 1 / (1 - ratio); TEST: identity.

    With some forks' `scale_train: false`, TRAIN does not scale and TEST multiplies by 1 - ratio. With happynear's `sqrt_scale`,
    TRAIN scales by the square root of 1 / (1 - ratio). With SegNet's `sample_weights_test`, TEST does the same as TRAIN: it is
    random and has no ONNX form (dropout_layer.cpp of happynear/caffe-windows and of alexgkendall/caffe-segnet).
    """

    param_name = "dropout_param"
    fields = Fields(
        "dropout_ratio scale_train sqrt_scale sample_weights_test",
        engine="NVIDIA/caffe src/caffe/layer_factory.cpp:259: GetDropoutLayer picks cuDNN's",
        random_seed="NVIDIA/caffe include/caffe/layers/cudnn_dropout_layer.hpp:17: seeds cuDNN's random numbers",
    )

    def setup(self) -> None:
        super().setup()
        p = self.param
        self.ratio = p.dropout_ratio
        self.scale_train = bool(p.get("scale_train", True))
        self.always = bool(p.sample_weights_test)
        # In TEST a release build of Caffe takes 1, too: dropout_layer.cpp only asserts (DCHECK) that it is less.
        is_unused = self.phase == "TEST" and self.ratio == 1 and self.scale_train and not self.always
        self.check(0 <= self.ratio < 1 or is_unused, f"dropout_ratio must be in [0, 1), not {self.ratio:g}")
        self.check(self.scale_train or not p.sqrt_scale, "sqrt_scale has no effect with scale_train: false; remove one of them")
        # Factors of the values kept in TRAIN, relative to 1 / (1 - ratio), and of all values in TEST.
        self.train_factor = 1 - self.ratio if not self.scale_train else math.sqrt(1 - self.ratio) if p.sqrt_scale else 1.0
        self.test_factor = 1.0 if self.scale_train else 1 - self.ratio

    def module(self) -> torch.nn.Module:
        from torch import nn

        plain = self.train_factor == self.test_factor == 1 and not self.always
        return nn.Dropout(self.ratio) if plain else super().module()

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        from torch.nn import functional as F

        if not (training or self.always):
            return x * self.test_factor
        return F.dropout(x, self.ratio, True) * self.train_factor

    @property
    def is_identity(self) -> bool:
        return self.test_factor == 1 and not self.always

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        if self.always:
            raise graph.refuse("it is random in TEST, too; without sample_weights_test the model computes the mean instead")
        return bottoms[0] if self.is_identity else graph.add("Mul", bottoms[0], graph.scalar(self.test_factor))


@register("SeLuDropout")
class SeLuDropout(Elementwise):
    """Dropout that preserves the mean and variance of SELU's outputs (selu_dropout_layer.cpp of the forks that have it).

    TRAIN: each value becomes `alpha` with probability `dropout_ratio` (0.1), then all values x become a * x + b, where
    a = (q + alpha^2 q (1 - q))^-1/2, b = -a (1 - q) alpha and q = 1 - dropout_ratio. TEST: identity.
    """

    param_name = "selu_dropout_param"
    fields = Fields("dropout_ratio alpha")

    def setup(self) -> None:
        super().setup()
        ratio, self.alpha = self.param.dropout_ratio, self.param.alpha
        self.check(0 <= ratio < 1, f"dropout_ratio must be in [0, 1), not {ratio:g}")
        self.keep = 1 - ratio
        self.scale = (self.keep * (1 + self.alpha**2 * ratio)) ** -0.5
        self.shift = -self.scale * ratio * self.alpha

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        if not training:
            return x
        return x.masked_fill(torch.rand_like(x) >= self.keep, self.alpha) * self.scale + self.shift

    @property
    def is_identity(self) -> bool:
        return True

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        return bottoms[0]
