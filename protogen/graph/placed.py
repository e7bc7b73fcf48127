"""Write settings that follow from a layer's place in the net, such as Crop's offsets, into the net's definition."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ProtogenWarning
from ..layers.registry import layer_type
from ..prototxt.inputs import with_layers
from ..prototxt.layer import Layer
from ..prototxt.message import Message

if TYPE_CHECKING:
    from .analysis import Analysis


def with_placed_fields(definition: Message, phases: Callable[[], Iterable[Analysis]], source: str = "") -> Message:
    """A copy of a definition with the fields that `LayerType.place` determined, such as the offsets of Crop layers.

    Layers for which nothing is known (those of another stage, or without shapes), or whose fields differ between the phases,
    are left as they are, with a warning. `definition` itself is not changed.

    Args:
        definition: the NetParameter.
        phases: makes the analysis of each phase; called if there is such a layer.
        source: the file's name, for the warning.
    """
    placed = [message for message in definition.layer if _is_placed(message)]
    fields = _fields(phases()) if placed else {}
    changed, unwritten = {}, []
    for message in placed:
        by_phase = fields.get(id(message), [])
        if not by_phase or any(other != by_phase[0] for other in by_phase):
            unwritten.append(Layer(message, source=source).label)
        elif by_phase[0]:
            changed[id(message)] = message.copy().update(by_phase[0])
    if unwritten:
        text = f"written without offsets, which are unknown or differ between the phases: {', '.join(unwritten)}"
        warnings.warn(text, ProtogenWarning, stacklevel=3)
    return with_layers(definition, changed)


def _is_placed(message: Message) -> bool:
    layer_class = layer_type(message.get("type", ""))
    return layer_class is not None and layer_class.is_placed(message)


def _fields(phases: Iterable[Analysis]) -> dict[int, list[Mapping[str, Any]]]:
    """For each layer's message (by `id`), its placed fields in each phase that it takes part in."""
    fields: dict[int, list[Mapping[str, Any]]] = {}
    for analysis in phases:
        for layer, op in zip(analysis.layers, analysis.ops):
            if op is not None:
                fields.setdefault(id(layer.message), []).append(op.placed_fields())
    return fields
