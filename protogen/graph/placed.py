"""What the place of layers in a net decided, in its definition, so that it is written as such."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ProtogenWarning
from ..layers.registry import layer_type
from ..prototxt.inputs import with_layers
from ..prototxt.layer import Layer
from ..prototxt.message import Message

if TYPE_CHECKING:
    from .analysis import Analysis


def has_placed_layers(definition: Message) -> bool:
    """Whether the place of some layer of a definition decides what it does."""
    return any(_is_placed(message) for message in definition.layer)


def with_placed_fields(definition: Message, phases: Iterable[Analysis], source: str = "") -> Message:
    """A definition with the fields that `LayerType.place` found, such as the offsets of Crop layers.

    Layers of which nothing is known (those of another stage, or without shapes), or not the same in both phases, stay as they
    are, and a warning says so. The definition given is not changed.

    Args:
        definition: the NetParameter.
        phases: what each phase made of its layers.
        source: the file it came from, for the warning.
    """
    placed = [message for message in definition.layer if _is_placed(message)]
    fields = _fields(phases)
    changed, unwritten = {}, []
    for message in placed:
        stated = fields.get(id(message), [])
        if not stated or any(other != stated[0] for other in stated):
            unwritten.append(Layer(message, source=source).label)
        elif stated[0]:
            changed[id(message)] = message.copy().update(stated[0])
    if unwritten:
        text = f"written without offsets, which are not known here or differ between the phases: {', '.join(unwritten)}"
        warnings.warn(text, ProtogenWarning, stacklevel=3)
    return with_layers(definition, changed)


def _is_placed(message: Message) -> bool:
    layer_class = layer_type(message.get("type", ""))
    return layer_class is not None and layer_class.is_placed(message)


def _fields(phases: Iterable[Analysis]) -> dict[int, list[Mapping[str, Any]]]:
    """For each layer's message (by `id`), the fields found for it in each phase that it takes part in."""
    fields: dict[int, list[Mapping[str, Any]]] = {}
    for analysis in phases:
        for layer, op in zip(analysis.layers, analysis.ops):
            if op is not None:
                fields.setdefault(id(layer.message), []).append(op.placed_fields())
    return fields
