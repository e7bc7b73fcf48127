"""Other input shapes in a definition, so that a reshaped net is written as such."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..errors import ProtogenWarning
from .message import Message

if TYPE_CHECKING:
    from ..layer import Layer


def with_input_shapes(definition: Message, layers: Sequence[Layer], shapes: Mapping[str, Sequence[int]]) -> Message:
    """The definition with `shapes` in the `input_param` of its Input layers; itself if none is there.

    Shapes of data layers (Data, HDF5Data, ...) depend on their data: these layers stay as they are, and a warning says so.

    Args:
        definition: a NetParameter; not changed.
        layers: those that are active.
        shapes: by name of the top.
    """
    changed = {
        id(layer.message): _reshaped(layer.message, shapes)
        for layer in layers
        if layer.type == "Input" and any(top in shapes for top in layer.tops)
    }
    unwritten = [layer for layer in layers if layer.type != "Input" and not layer.bottoms and set(layer.tops) & set(shapes)]
    if unwritten:
        names = ", ".join(f"{layer.name!r} ({layer.type})" for layer in unwritten)
        text = f"the shapes given are not written: the data of layer {names} decide; only layers of type Input state theirs"
        warnings.warn(text, ProtogenWarning, stacklevel=3)
    return with_layers(definition, changed)


def with_layers(definition: Message, changed: Mapping[int, Message]) -> Message:
    """The definition with other messages for some of its layers (by `id`); itself if there are none."""
    if not changed:
        return definition
    twin = Message(definition.descriptor, definition.origin)
    for name, value in definition.fields():
        twin.store(name, value)
    twin.store("layer", [changed.get(id(message), message) for message in definition.layer])
    return twin


def _reshaped(message: Message, shapes: Mapping[str, Sequence[int]]) -> Message:
    tops = message.top
    given = list(message.input_param.shape)
    given = given * len(tops) if len(given) == 1 else given or [None] * len(tops)
    wanted = [{"dim": list(shapes[top])} if top in shapes else shape for top, shape in zip(tops, given)]
    twin = message.copy()
    if all(shape is not None for shape in wanted):
        twin.set("input_param", {"shape": wanted})
    return twin
