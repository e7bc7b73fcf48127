"""Rounding errors of float32, added to a PyTorch module in float64 to see what they do to a net's results.

The sum of n products, each input of which is a float32, is off by about sqrt(n) roundings: the errors of the additions have
either sign. Here each weight is changed by a random amount of that size, which is felt where the products cancel, and so is each
result, which is felt where they do not. Errors then pass on to later layers as they do in any engine.
"""

from __future__ import annotations

from math import prod, sqrt
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from ..graph.graph import Graph
    from ..layers.base import LayerType

UNIT = 2.0**-24
"""The largest relative error of one rounding to float32."""


class Noise:
    """Random rounding errors; the same seed gives the same ones."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self._generator = torch.Generator(device).manual_seed(seed)

    def add_to(self, module: torch.nn.Module, graph: Graph) -> None:
        """Change the weights of a graph's module, and let each layer's results be changed, as rounding to float32 would."""
        nodes = [node for node in graph.nodes if not node.op.is_input]
        for child, node in zip(module.children(), nodes, strict=True):
            roundings = sqrt(_terms(node.op))
            with torch.no_grad():
                for weight in child.parameters():
                    weight.copy_(self._changed(weight, roundings))
                for statistic in child.buffers():
                    if statistic.is_floating_point():
                        statistic.copy_(self.rounded(statistic, roundings))
            child.register_forward_hook(self._hook(roundings))

    def rounded(self, values: torch.Tensor, roundings: float = 1.0) -> torch.Tensor:
        """Return values after some roundings. Whole numbers stay: float32 holds them exactly, and they may be indices."""
        return torch.where(values == values.round(), values, self._changed(values, roundings))

    def _changed(self, values: torch.Tensor, roundings: float) -> torch.Tensor:
        normal = torch.randn(values.shape, generator=self._generator, dtype=values.dtype, device=values.device)
        return values * (1 + UNIT * roundings * normal)

    def _hook(self, roundings: float) -> Any:
        def changed(module: torch.nn.Module, inputs: Any, result: torch.Tensor | tuple[torch.Tensor, ...]) -> Any:
            if isinstance(result, torch.Tensor):
                return self.rounded(result, roundings)
            return tuple(self.rounded(each, roundings) for each in result)

        return changed


def _terms(op: LayerType) -> float:
    """About how many numbers a layer adds for each value of its tops."""
    made, read = (sum(prod(shape) for shape in shapes) for shapes in (op.tops, op.bottoms))
    if not made or op.dynamic_rows is not None:
        return 1.0
    return max(1.0, op.macs / made, read / made)
