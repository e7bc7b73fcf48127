"""An identity whose gradient is limited: the values, the gradient, and what compilers and exporters make of it."""

from __future__ import annotations

import torch

from protogen.layers.forms.limited_gradient import limited_gradient
from tests.running import compile_whole


class Limited(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return limited_gradient(x, 0.5) * torch.tensor([3.0, 0.25, -7.0])


def test_values_stay_and_gradients_are_limited() -> None:
    for module in (Limited(), compile_whole(Limited())):
        x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
        top = module(x)
        torch.testing.assert_close(top, torch.tensor([3.0, 0.5, -21.0]))
        top.sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == [0.5, 0.25, -0.5]


def test_an_exported_program_has_the_values() -> None:
    x = torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(torch.export.export(Limited(), (x,)).module()(x), Limited()(x))
