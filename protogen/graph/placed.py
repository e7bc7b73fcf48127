"""What the place of layers in a net decided, in its definition, so that it is written as such."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..errors import ProtogenError, ProtogenWarning
from ..layers.registry import layer_type
from ..prototxt.inputs import with_layers
from ..prototxt.layer import Layer
from ..prototxt.message import Message

if TYPE_CHECKING:
    from ..net import Net


def with_placed_fields(net: Net) -> Message:
    """The definition of a net with the fields that `LayerType.place` found, such as the offsets of Crop layers.

    Layers of which nothing is known (those of another stage, or without shapes), or not the same in both phases, stay as they
    are, and a warning says so. The net's own definition is not changed.
    """
    placed = [message for message in net.definition.layer if _is_placed(message)]
    if not placed:
        return net.definition
    fields = _fields(net)
    changed, unwritten = {}, []
    for message in placed:
        stated = fields.get(id(message), [])
        if not stated or any(other != stated[0] for other in stated):
            unwritten.append(Layer(message, source=net.source).label)
        elif stated[0]:
            changed[id(message)] = message.copy().update(stated[0])
    if unwritten:
        text = f"written without offsets, which are not known here or differ between the phases: {', '.join(unwritten)}"
        warnings.warn(text, ProtogenWarning, stacklevel=3)
    return with_layers(net.definition, changed)


def _is_placed(message: Message) -> bool:
    definition = layer_type(message.get("type", ""))
    return definition is not None and definition.is_placed(message)


def _fields(net: Net) -> dict[int, list[Mapping[str, Any]]]:
    """For each layer's message (by `id`), the fields found for it in each phase that it takes part in."""
    fields: dict[int, list[Mapping[str, Any]]] = {}
    for one in _phases(net):
        for layer, op in zip(one.layers, one.analysis.ops):
            if op is not None:
                fields.setdefault(id(layer.message), []).append(op.placed_fields())
    return fields


def _phases(net: Net) -> Iterator[Net]:
    """The net and, where there are layers that do not take part in it, its form in the other phase, if it has one."""
    yield net
    if len(net.layers) < len(net.definition.layer):
        with suppress(ProtogenError):  # a definition for one phase alone
            yield net.at("TEST" if net.phase == "TRAIN" else "TRAIN", weights=False)
