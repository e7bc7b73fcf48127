"""Write what follows from a layer's place in the net, such as Crop's offsets, or from reading rules into the net's definition."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import ProtogenError, ProtogenWarning
from ..layers.registry import layer_type
from ..prototxt.inputs import with_layers
from ..prototxt.layer import Layer
from ..prototxt.message import Message
from ..rules import ReadingRules

if TYPE_CHECKING:
    from ..layers.base import LayerType
    from .analysis import Analysis


def with_placed_fields(definition: Message, analysis: Analysis, other: Callable[[], Analysis]) -> Message:
    """A copy of a definition that says what `LayerType.place` and the rules determined, such as the offsets of Crop layers.

    Layers for which nothing is known (those of another stage, or without shapes), or whose fields differ between the phases,
    are left as they are, with a warning. `definition` itself is not changed.

    Args:
        definition: the NetParameter.
        analysis: of one phase, by the rules that the definition was read by.
        other: makes the analysis of the other phase; called if there is such a layer, and if not all layers are in `analysis`.
    """
    placed = [message for message in definition.layer if _is_placed(message, analysis.rules)]
    ops = _ops(_phases(definition, analysis, other)) if placed else {}
    source = next((layer.source for layer in analysis.layers), "")
    blobs = {blob for message in definition.layer for blob in (*message.get("bottom", ()), *message.get("top", ()))}
    changed, unwritten = {}, []
    for message in placed:
        by_phase = [op.written(message, blobs) for op in ops.get(id(message), [])]
        if not by_phase or any(other != by_phase[0] for other in by_phase):
            unwritten.append(Layer(message, source=source).label)
        elif by_phase[0] != [message]:
            changed[id(message)] = by_phase[0]
    if unwritten:
        text = f"written as read, because what they compute is unknown or differs between the phases: {', '.join(unwritten)}"
        warnings.warn(text, ProtogenWarning, stacklevel=3)
    return with_layers(definition, changed)


def _is_placed(message: Message, rules: ReadingRules) -> bool:
    layer_class = layer_type(message.get("type", ""))
    return layer_class is not None and layer_class.is_placed(message, rules)


def _phases(definition: Message, analysis: Analysis, other: Callable[[], Analysis]) -> Iterator[Analysis]:
    """Yield the analysis of the net's phase and, if some layers are inactive in it, that of the other phase if valid."""
    yield analysis
    if len(analysis.layers) < len(definition.layer):
        with suppress(ProtogenError):  # the definition is for one phase only
            yield other()


def _ops(phases: Iterable[Analysis]) -> dict[int, list[LayerType]]:
    """For each layer's message (by `id`), the layer set up in each phase that it takes part in."""
    ops: dict[int, list[LayerType]] = {}
    for analysis in phases:
        for layer, op in zip(analysis.layers, analysis.ops):
            if op is not None:
                ops.setdefault(id(layer.message), []).append(op)
    return ops
