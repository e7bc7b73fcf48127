"""The PyTorch module of layers whose tops are constants."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class ConstantModule(nn.Module):
    """Returns constant tensors; a buffer holds their values, so that they follow the net's device and dtype.

    >>> ConstantModule([0.5], [(2,)])()[0]
    tensor([0.5000, 0.5000])
    """

    values: Tensor

    def __init__(self, values: Sequence[float], shapes: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.shapes = [tuple(shape) for shape in shapes]
        self.register_buffer("values", torch.tensor(list(values)), persistent=False)

    def forward(self) -> list[Tensor]:
        """One tensor per shape, each filled with its value."""
        return [value.expand(shape) for value, shape in zip(self.values.unbind(), self.shapes)]

    def extra_repr(self) -> str:
        """Values and shapes, as `print(module)` shows them."""
        return ", ".join(f"{value:g} {shape}" for value, shape in zip(self.values.tolist(), self.shapes))
