"""Other input shapes in a definition, so that a reshaped net is written as such."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ProtogenWarning
from .message import Message

if TYPE_CHECKING:
    from .layer import Layer


_STATED = {"Input": "input_param", "DummyData": "dummy_data_param"}  # types that state their shapes, and where
_SIDES = ("num", "channels", "height", "width")  # DummyData's old way


def with_input_shapes(definition: Message, layers: Sequence[Layer], shapes: Mapping[str, Sequence[int]]) -> Message:
    """The definition with `shapes` in its Input and DummyData layers; itself if none is there.

    Shapes of data layers (Data, HDF5Data, ...) depend on their data: these layers stay as they are, and a warning says so.

    Args:
        definition: a NetParameter; not changed.
        layers: those that are active.
        shapes: by name of the top.
    """
    sources = [layer for layer in layers if not layer.bottoms and any(top in shapes for top in layer.tops)]
    changed = {id(layer.message): _reshaped(layer.message, shapes) for layer in sources if layer.type in _STATED}
    unwritten = [layer for layer in sources if layer.type not in _STATED]
    if unwritten:
        names = ", ".join(f"{layer.name!r} ({layer.type})" for layer in unwritten)
        text = f"the shapes given are not written: the data of layer {names} decide; only layers of type Input state theirs"
        warnings.warn(text, ProtogenWarning, stacklevel=3)
    return with_layers(definition, changed)


def with_layers(definition: Message, changed: Mapping[int, Message]) -> Message:
    """The definition with other messages for some of its layers (by `id`); itself if there are none."""
    if not changed:
        return definition
    twin = definition.without("layer")
    twin.store("layer", [changed.get(id(message), message) for message in definition.layer])
    return twin


def _reshaped(message: Message, shapes: Mapping[str, Sequence[int]]) -> Message:
    tops = message.top
    known = _stated_shapes(message, len(tops))
    wanted = [{"dim": list(shapes[top])} if top in shapes else shape for top, shape in zip(tops, known)]
    twin = message.copy()
    if all(shape is not None for shape in wanted):
        param = getattr(twin, _STATED[message.type])
        for name in _SIDES:
            param.remove(name)
        twin.set(_STATED[message.type], param.update({"shape": wanted}))
    return twin


def _stated_shapes(message: Message, n: int) -> list[Any]:
    """A shape for each of n tops, None where the file has none."""
    param = getattr(message, _STATED[message.type])
    columns = [list(getattr(param, side)) * (n if len(getattr(param, side)) == 1 else 1) for side in _SIDES if side in param]
    if columns:
        return [{"dim": list(sides)} for sides in zip(*columns)]
    shapes = list(param.shape)
    return shapes * n if len(shapes) == 1 else shapes or [None] * n
