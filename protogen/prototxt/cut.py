"""Part of a net as a definition of its own: from any blobs, fed as inputs, up to any blobs, which are then the outputs."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from ..errors import NetError, did_you_mean
from .inputs import input_layer
from .message import Message
from .names import unused
from .phase import State, active


def cut(
    layers: Sequence[Message], inputs: Mapping[str, Sequence[int]] | None = None, outputs: Collection[str] | None = None
) -> list[Message]:
    """The layers between some blobs and others, with an Input layer for each blob that is fed.

    A blob's name stands for its last value, behind all layers that work on it in place.

    Args:
        layers: those that are active, in order.
        inputs: shapes of blobs to be fed, by name, in place of the layers that make them.
        outputs: blobs that are wanted; by default all that no layer reads, and what layers without tops read.

    Raises:
        NetError: a blob that no layer makes; a blob to be fed that cannot be told apart from what else its layer makes.

    >>> layers = [Message.of("LayerParameter", name=top, type="ReLU", bottom=bottom, top=top)
    ...           for bottom, top in (("data", "a"), ("a", "b"), ("b", "c"))]
    >>> [(layer.type, layer.top) for layer in cut(layers, {"a": (1, 3)}, ["b"])]
    [('Input', ['a']), ('ReLU', ['b'])]
    """
    fed = dict(inputs or {})
    makers = {top: layer for layer in layers for top in layer.top}
    for name in (*fed, *(outputs or ())):
        if name not in makers:
            raise NetError(f"no blob {name!r} in this net{did_you_mean(name, makers)}")
    needed = _needed(layers, fed, outputs)
    written: set[str] = set()  # blobs that have their last value
    for number, layer in enumerate(layers):
        if number in needed:
            _check_feed(layer, fed.keys(), written)
        written.update(top for top in layer.top if makers[top] is layer)
    kept = [layer for number, layer in enumerate(layers) if number in needed]
    if outputs is not None:
        wanted = {*outputs, *(blob for layer in kept for blob in layer.bottom)}
        kept = [_with_tops(layer, wanted) for layer in kept]
    return [*_input_layers(fed, {layer.name for layer in kept}), *kept]


def cut_definition(
    definition: Message, state: State, inputs: Mapping[str, Sequence[int]], outputs: Collection[str] | None = None
) -> tuple[Message, dict[str, Sequence[int]]]:
    """Cut a NetParameter as `cut` cuts its layers.

    Args:
        definition: the NetParameter; not changed.
        state: which of its layers are active.
        inputs: shapes of inputs by blob name. A blob that a layer computes becomes one; others are inputs already, or misspelt.
        outputs: as for `cut`.

    Returns:
        The definition of what is left, itself if there is nothing to cut, and the shapes of its own inputs among `inputs`.

    Raises:
        NetError: as `cut`.
    """
    layers = [layer for layer in definition.layer if active(layer, state)]
    sources = {top for layer in layers if not layer.bottom for top in layer.top}
    computed = {top for layer in layers if layer.bottom for top in layer.top} - sources
    fed = {name: shape for name, shape in inputs.items() if name in computed}
    if not fed and outputs is None:
        return definition, dict(inputs)
    part = definition.without("layer")
    part.store("layer", cut(layers, fed, outputs))
    lost = sources - {top for layer in part.layer for top in layer.top}
    return part, {name: shape for name, shape in inputs.items() if name not in fed and name not in lost}


def _check_feed(layer: Message, fed: Collection[str], written: Collection[str]) -> None:
    """Refuse a layer that makes a blob which is fed, or reads one before its last value."""
    made, early = ([blob for blob in blobs if blob in fed and blob not in written] for blobs in (layer.top, layer.bottom))
    if made:
        others = ", ".join(repr(top) for top in layer.top if top not in fed)
        raise NetError(f"blob {made[0]!r} cannot be fed: layer {layer.name!r}, which makes it, is needed for {others}")
    if early:
        raise NetError(f"blob {early[0]!r} cannot be fed: layer {layer.name!r} reads it before a later layer changes it in place")


def _with_tops(layer: Message, wanted: Collection[str]) -> Message:
    """A data layer with those of its tops that are wanted, if it finds what it reads by their names; any other as it is."""
    tops = [top for top in layer.top if top in wanted]
    if layer.type != "HDF5Data" or len(tops) in (0, len(layer.top)):
        return layer
    return layer.copy().update({"top": tops})


def _needed(layers: Sequence[Message], fed: Collection[str], outputs: Collection[str] | None) -> set[int]:
    """Places of the layers that the outputs depend on, as far back as the blobs that are fed."""
    live = set(_ends(layers) if outputs is None else outputs) - set(fed)
    needed = set()
    for number, layer in reversed(list(enumerate(layers))):
        if live.isdisjoint(layer.top) and (layer.top or outputs is not None):
            continue
        needed.add(number)
        live.difference_update(layer.top)
        live.update(blob for blob in layer.bottom if blob not in fed)
    return needed


def _ends(layers: Iterable[Message]) -> set[str]:
    """Blobs that no layer reads after they were last written."""
    unread: dict[str, None] = {}
    for layer in layers:
        for blob in layer.bottom:
            unread.pop(blob, None)
        unread.update(dict.fromkeys(layer.top))
    return set(unread)


def _input_layers(shapes: Mapping[str, Sequence[int]], taken: set[str]) -> list[Message]:
    layers = []
    for blob, shape in shapes.items():
        name = unused(blob, taken)
        taken.add(name)
        layers.append(input_layer(name, {blob: shape}))
    return layers
