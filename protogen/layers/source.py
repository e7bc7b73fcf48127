"""Layers whose tops are fed from outside, as inputs of the net."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from ..prototxt.inputs import input_layer
from ..prototxt.message import Message
from .base import LayerType
from .transform import Transform


class Source(LayerType):
    """A layer whose tops are fed from outside, as inputs of the net."""

    n_bottoms = (0, 0)
    n_tops: ClassVar[tuple[int, int | None]] = (1, None)
    is_input = True
    has_gradient = False
    onnx_note = "it is an input of the graph"

    def with_tops(self, indices: Sequence[int]) -> Message:
        """An Input layer with these tops: a layer that reads data always has all of its tops."""
        return input_layer(self.layer.name, {self.layer.tops[i]: self.tops[i] for i in indices})

    @property
    def transform(self) -> Transform | None:
        """What the layer does to its images, its first top, before the net sees them; None if it does nothing to them."""
        return None

    def unknown(self) -> list[Any]:
        """One unknown shape per top, to be set by `inputs=`."""
        return [None] * len(self.layer.tops)


class UnknownSource(Source):
    """A layer without bottoms of a type that nothing defines: a fork's data layer, whose shapes `inputs=` must give."""

    def setup(self) -> None:
        self.tops = self.unknown()

    @property
    def transform(self) -> Transform | None:
        return Transform.of(self.layer.message)
