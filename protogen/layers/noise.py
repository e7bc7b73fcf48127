"""Noise: random numbers added to a blob in training (src/caffe/layers/noise_layer.cpp of happynear/caffe-windows)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .activation import Elementwise
from .fields import Fields
from .registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from .forms.onnx_graph import OnnxGraph


@register("Noise")
class Noise(Elementwise):
    """TRAIN: adds Gaussian noise of `bias` and `gaussian_std` times the blob's root mean square, or uniform noise within
    `uniform_range` of `bias`; TEST: identity (happynear/caffe-windows, noise_layer.cpp).

    Other forks' layers of this name have other parameters; they are refused.
    """

    param_name = "noise_param"
    fields = Fields("gaussian_std uniform_range bias")

    def setup(self) -> None:
        super().setup()
        p = self.param
        self.deviation, self.range, self.mean = p.gaussian_std, p.uniform_range, p.bias
        self.check("gaussian_std" in p or "uniform_range" in p, "noise_param must set gaussian_std or uniform_range")

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        if not (training and self.phase == "TRAIN"):
            return x
        if "gaussian_std" in self.param:
            noise = torch.randn_like(x) * (self.deviation * x.detach().square().mean().sqrt())
        else:
            noise = (torch.rand_like(x) * 2 - 1) * self.range
        return x + (noise + self.mean)

    @property
    def is_identity(self) -> bool:
        return True

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        return bottoms[0]
