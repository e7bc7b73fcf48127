"""Losses of forks that sum up absolute differences: L1Loss and AbsLoss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .base import count
from .loss import MeanLoss
from .registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("L1Loss")
class L1Loss(MeanLoss):
    """Sum of |a - b| / N, with gradients for both bottoms; 0 where they are equal (NVIDIA/caffe, l1_loss_layer.cpp).

    FlowNet's L1Loss, which can take the length of each pixel's difference, is known by its `l1_loss_param`, and not computed.
    """

    index_bottoms = ()

    def setup(self) -> None:
        super().setup()
        a, b = self.bottoms
        self.check(count(a[1:]) == count(b[1:]), f"needs two bottoms of the same size, not {a} and {b}")

    def refusals(self) -> list[str]:
        flownets = "l1_loss_param" in self.layer.message
        return super().refusals() + (["FlowNet's L1Loss (l1_loss_param) is not computed"] if flownets else [])

    def forward(self, a: Tensor, b: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        return (a - b.reshape(a.shape)).abs().sum() / a.shape[0]


@register("AbsLoss")
class AbsLoss(L1Loss):
    """Sum of |a - b| / N (Ravi-Garg/Unsupervised_Depth_Estimation, abs_loss_layer.cu).

    Where a equals b, the gradient is that of a below b.
    """

    def forward(self, a: Tensor, b: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        difference = a - b.reshape(a.shape)
        return torch.where(difference > 0, difference, -difference).sum() / a.shape[0]
