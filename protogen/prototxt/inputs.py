"""Replace the input shapes in a definition, so that a reshaped net is written with its shapes."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import ProtogenWarning
from .message import Message

if TYPE_CHECKING:
    from .layer import Layer


_SHAPE_PARAMS = {"Input": "input_param", "DummyData": "dummy_data_param"}  # types with shapes in their parameters
_SIDES = ("num", "channels", "height", "width")  # DummyData's old fields


def input_layer(name: str, shapes: Mapping[str, Sequence[int]]) -> Message:
    """Return an Input layer with these tops and their shapes.

    >>> layer = input_layer("data", {"data": (1, 3, 8, 8)})
    >>> layer.type, layer.top, list(layer.input_param.shape[0].dim)
    ('Input', ['data'], [1, 3, 8, 8])
    """
    param = {"shape": [{"dim": list(shape)} for shape in shapes.values()]}
    return Message.of("LayerParameter", name=name, type="Input", top=list(shapes), input_param=param)


def with_input_shapes(definition: Message, layers: Sequence[Layer], shapes: Mapping[str, Sequence[int]]) -> Message:
    """Return the definition with `shapes` in its Input and DummyData layers, or itself if it has none.

    The shapes of other data layers (Data, HDF5Data, ...) depend on their data; they stay unchanged, with a warning.

    Args:
        definition: a NetParameter; not modified.
        layers: its active layers.
        shapes: by name of the top.
    """
    sources = [layer for layer in layers if not layer.bottoms and any(top in shapes for top in layer.tops)]
    changed = {id(layer.message): [_reshaped(layer.message, shapes)] for layer in sources if layer.type in _SHAPE_PARAMS}
    unwritten = [layer for layer in sources if layer.type not in _SHAPE_PARAMS]
    if unwritten:
        names = ", ".join(f"{layer.name!r} ({layer.type})" for layer in unwritten)
        text = f"input shapes are not written for layer {names}: its data determine them; only Input layers have shapes"
        warnings.warn(text, ProtogenWarning, stacklevel=3)
    return with_layers(definition, changed)


def without_blobs(definition: Message, layers: Collection[str]) -> Message:
    """Return the definition without the weights (`blobs`) of some layers, by name, or itself if there are none."""
    bare = {id(layer): [layer.without("blobs")] for layer in definition.layer if layer.get("name", "") in layers}
    return with_layers(definition, bare)


def with_layers(definition: Message, changed: Mapping[int, Sequence[Message]]) -> Message:
    """Return the definition with each layer in `changed` (by `id`) replaced by others, or itself if `changed` is empty."""
    if not changed:
        return definition
    twin = definition.without("layer")
    twin.store("layer", [layer for message in definition.layer for layer in changed.get(id(message), [message])])
    return twin


def _reshaped(message: Message, shapes: Mapping[str, Sequence[int]]) -> Message:
    tops = message.top
    old = _shapes_of(message, len(tops))
    new = [{"dim": list(shapes[top])} if top in shapes else shape for top, shape in zip(tops, old)]
    twin = message.copy()
    if all(shape is not None for shape in new):
        param = getattr(twin, _SHAPE_PARAMS[message.type])
        for name in _SIDES:
            param.remove(name)
        twin.set(_SHAPE_PARAMS[message.type], param.update({"shape": new}))
    return twin


def _shapes_of(message: Message, n: int) -> list[Any]:
    """Return the shape of each of n tops, None if the layer has none."""
    param = getattr(message, _SHAPE_PARAMS[message.type])
    columns = [list(getattr(param, side)) * (n if len(getattr(param, side)) == 1 else 1) for side in _SIDES if side in param]
    if columns:
        return [{"dim": list(sides)} for sides in zip(*columns)]
    shapes = list(param.shape)
    return shapes * n if len(shapes) == 1 else shapes or [None] * n
