"""An identity whose gradient is limited in size, as in layers that clip what they propagate down."""

from __future__ import annotations

from typing import Any

import torch


class _Limited(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, limit: float) -> torch.Tensor:
        ctx.limit = limit
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        return gradients[0].clamp(-ctx.limit, ctx.limit), None


def limited_gradient(x: torch.Tensor, limit: float) -> torch.Tensor:
    """`x`, whose gradient lies between -`limit` and `limit`.

    >>> x = torch.ones(2, requires_grad=True)
    >>> (limited_gradient(x, 0.5) * torch.tensor([3.0, 0.25])).sum().backward()
    >>> x.grad
    tensor([0.5000, 0.2500])
    """
    limited: torch.Tensor = _Limited.apply(x, limit)
    return limited
