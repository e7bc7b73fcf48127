"""Edits of a definition: layers removed, renamed, replaced, changed and inserted, for all phases and stages at once.

They work on the layers as they are written rather than on a `Graph`, which has one phase: a net to train keeps the layers of
both. Each function takes a NetParameter, leaves it as it is, and returns an `Edit`: the new NetParameter and what became of names
in it. Whether the layers still fit together is for whoever sets them up (`protogen.surgery`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import NetError, did_you_mean
from .inputs import with_layers
from .message import Message


@dataclass(frozen=True)
class Edit:
    """A changed definition.

    Attributes:
        definition: the new NetParameter.
        layers: new names of layers by old ones, those that changed only.
        blobs: names of the blobs that stand for others now, by the names of those; "" for a blob that is gone.
    """

    definition: Message
    layers: Mapping[str, str] = field(default_factory=dict)
    blobs: Mapping[str, str] = field(default_factory=dict)


def layers_named(definition: Message, name: str) -> list[Message]:
    """Return the layers of a name; a net for both phases may have several.

    Raises:
        NetError: there is none.
    """
    layers = [layer for layer in definition.layer if layer.get("name", "") == name]
    if not name or not layers:
        names = [layer.get("name", "") for layer in definition.layer]
        raise NetError(f"no layer {name!r} in this net{did_you_mean(name, names)}")
    return layers


def without(definition: Message, names: Collection[str]) -> Edit:
    """Remove layers; what read a layer's top reads its bottom instead.

    Input layers that only they read go, too. At the end of the net there are no readers, so that any layer can be removed there.

    Args:
        definition: the NetParameter.
        names: of the layers.

    Raises:
        NetError: no such layer; or its readers could not tell what to read instead.

    >>> layers = [{"name": top, "type": "ReLU", "bottom": bottom, "top": top} for bottom, top in ("ab", "bc", "cd")]
    >>> edit = without(Message.of("NetParameter", layer=layers), ["c"])
    >>> [(layer.bottom, layer.top) for layer in edit.definition.layer], edit.blobs
    ([(['a'], ['b']), (['b'], ['d'])], {'c': 'b'})
    """
    removed = [layer for name in names for layer in layers_named(definition, name)]
    bypass = _Bypass()
    kept: list[Message] = []
    for layer in definition.layer:
        if any(layer is other for other in removed):
            bypass.remove(layer)
        else:
            kept.append(bypass.read(layer))
    read = {blob for layer in kept for blob in layer.get("bottom", ())}
    spare = {blob for layer in removed for blob in layer.get("bottom", ())} - read
    kept = [layer for layer in kept if layer.get("type") != "Input" or not spare.issuperset(layer.top)]
    if not any(layer.get("bottom", ()) for layer in kept):
        raise NetError(f"nothing but inputs would be left without {', '.join(map(repr, names))}")
    return Edit(_with(definition, kept), blobs=bypass.blobs)


class _Bypass:
    """Leads readers of blobs whose layers are gone to what these layers read."""

    def __init__(self) -> None:
        self._instead: dict[str, str] = {}
        self._lost: dict[str, Message] = {}  # the removed layer, by blobs that nothing can stand for
        self._overwritten: dict[str, str] = {}  # name of the layer that works in place on what stands for a blob

    @property
    def blobs(self) -> dict[str, str]:
        """What stands for the blobs that are gone, as in `Edit`."""
        return {**self._instead, **dict.fromkeys(self._lost, "")}

    def remove(self, layer: Message) -> None:
        """Take a layer out: its one bottom stands for its tops; nothing does if it has several bottoms, or none."""
        bottoms = [self._instead.get(blob, blob) for blob in layer.get("bottom", ())]
        for top in layer.get("top", ()):
            if top in layer.get("bottom", ()):
                continue  # it works in place
            if len(bottoms) == 1 and bottoms[0] not in self._lost:
                self._instead[top] = bottoms[0]
            else:
                self._lost[top] = layer

    def read(self, layer: Message) -> Message:
        """Return a layer that stays, with what it reads now.

        Raises:
            NetError: nothing can stand for one of its bottoms.
        """
        name = layer.get("name", "")
        for blob in layer.get("bottom", ()):
            if blob in self._lost:
                raise NetError(_unreadable(layer, blob, self._lost[blob]))
            if blob in self._overwritten:
                raise NetError(
                    f"layer {name!r} cannot read {self._instead[blob]!r} instead of {blob!r}, because layer "
                    f"{self._overwritten[blob]!r} changes that blob in place before; remove that layer, too"
                )
        bottoms = [self._instead.get(blob, blob) for blob in layer.get("bottom", ())]
        for top in layer.get("top", ()):
            self._instead.pop(top, None)
            self._lost.pop(top, None)
            self._overwritten.update({blob: name for blob, source in self._instead.items() if source == top})
        return layer if bottoms == list(layer.get("bottom", ())) else layer.copy().update({"bottom": bottoms})


def _unreadable(reader: Message, blob: str, maker: Message) -> str:
    many = len(maker.get("bottom", ())) > 1
    why = "it has several bottoms" if many else "it has no bottom"
    way = "or replace it by a layer of another type" if many else "or cut it off with cut(inputs={...})"
    return (
        f"layer {maker.get('name', '')!r} cannot be removed alone: layer {reader.get('name', '')!r} reads its top {blob!r}, and "
        f"{why} to stand for it; remove that layer, too, {way}"
    )


def renamed(definition: Message, names: Mapping[str, str]) -> Edit:
    """Rename layers, and the blobs that they make under their own names; or blobs alone.

    Args:
        definition: the NetParameter.
        names: new names by old ones: of layers, or of blobs that no layer is called after.

    Raises:
        NetError: no layer or blob has the old name, or another one has the new name.

    >>> net = Message.of("NetParameter", layer=[{"name": "fc8", "type": "InnerProduct", "bottom": "x", "top": "fc8"},
    ...                                         {"name": "prob", "type": "Softmax", "bottom": "fc8", "top": "prob"}])
    >>> renamed(net, {"fc8": "fc20"}).definition.layer[1].bottom
    ['fc20']
    """
    layers = {layer.get("name", ""): layer for layer in definition.layer}
    made = {top for layer in definition.layer for top in layer.get("top", ())}
    in_place = {top for layer in definition.layer for top in layer.get("top", ()) if top in layer.get("bottom", ())}
    for old, new in names.items():
        if not old or (old not in layers and old not in made):
            raise NetError(f"no layer or blob {old!r} in this net{did_you_mean(old, [*layers, *made])}")
        if not new or not isinstance(new, str):
            raise NetError(f"{old!r} cannot be renamed {new!r}: a name is a text that is not empty")
    blobs = {old: new for old, new in names.items() if old in made and (old not in layers or _makes(definition, old))}
    for what, taken in (("layer", layers.keys()), ("blob", made | in_place)):
        _check_new_names(what, names if what == "layer" else blobs, taken)
    kept = [_with_names(layer, names, blobs) for layer in definition.layer]
    return Edit(_with(definition, kept), {old: new for old, new in names.items() if old in layers}, blobs)


def _makes(definition: Message, name: str) -> bool:
    """Whether a layer of this name makes a blob of this name, and does not only work on it in place."""
    return any(name in layer.get("top", ()) and name not in layer.get("bottom", ()) for layer in layers_named(definition, name))


def _check_new_names(what: str, names: Mapping[str, str], taken: Collection[str]) -> None:
    used: dict[str, str] = {}
    for old, new in names.items():
        if (new in taken and new not in names) or new in used:
            raise NetError(f"{old!r} cannot be renamed {new!r}: there is already a {what} of this name; choose another")
        used[new] = old


def _with_names(layer: Message, names: Mapping[str, str], blobs: Mapping[str, str]) -> Message:
    values = {
        "name": names.get(layer.get("name", ""), layer.get("name")),
        **{end: [blobs.get(blob, blob) for blob in layer.get(end, ())] for end in ("bottom", "top") if end in layer},
    }
    return layer if all(layer.get(name) == value for name, value in values.items()) else layer.copy().update(values)


def replaced(definition: Message, name: str, message: Message) -> Edit:
    """Replace a layer by one of another type or with other parameters, which keeps its name, blobs and phases.

    Args:
        definition: the NetParameter.
        name: of the layer.
        message: a LayerParameter with the new type and parameters.

    Raises:
        NetError: no such layer.
    """
    changed = {}
    for layer in layers_named(definition, name):
        kept = {end: layer.get(end) for end in ("name", "bottom", "top", "include", "exclude") if end in layer}
        changed[id(layer)] = [message.copy().update({**kept, **{key: value for key, value in _rules(message).items() if value}})]
    return Edit(with_layers(definition, changed))


def inserted(definition: Message, message: Message, *, after: str = "", before: str = "", in_place: bool = False) -> Edit:
    """Insert a layer after or before another one, on the blob between that and its readers or its maker.

    It reads this blob as its first bottom. After a layer, all that follows reads the new layer's top; before a layer, that layer
    alone does. Where the other layer is for some phases only, so is the new one, unless it has rules of its own.

    Args:
        definition: the NetParameter.
        message: the LayerParameter; its bottoms are those besides the first, and it has no tops.
        after, before: the other layer, one of the two.
        in_place: the new layer works in place; otherwise its top has its name.

    Raises:
        NetError: no such layer, it makes or reads no blob, or the new name is taken.
    """
    anchors = layers_named(definition, after or before)
    anchor = anchors[-1] if after else anchors[0]
    ends = anchor.get("top" if after else "bottom", ())
    if not ends:
        raise NetError(f"layer {after or before!r} has no {'top' if after else 'bottom'} for the new layer to read")
    blob, name = ends[0], message.name
    taken = {text for layer in definition.layer for text in (layer.get("name", ""), *layer.get("top", ()))}
    if name in taken:
        raise NetError(f"the new layer cannot be called {name!r}: there is already a layer or blob of this name")
    layer = message.copy()
    layer.update({"bottom": [blob, *message.get("bottom", ())], "top": [blob if in_place else name]})
    layers = list(definition.layer)
    place = next(i for i, other in enumerate(layers) if other is anchor) + bool(after)
    if len(anchors) == 1:
        if not in_place and (after or blob in anchor.get("top", ())):
            _check_phases(layers, anchor, blob)
        layer.update({end: rules for end, rules in _rules(anchor).items() if rules and not any(_rules(message).values())})
    blobs = {} if in_place else {blob: name}
    following = layers[place:]
    if after or blob in anchor.get("top", ()):
        following = [_with_names(other, {}, blobs) for other in following]
    else:
        following = [
            _with_first_bottom(other, layer.top[0]) if any(other is one for one in anchors) else other for other in following
        ]
        blobs = {}
    return Edit(_with(definition, [*layers[:place], layer, *following]), blobs=blobs)


def _with_first_bottom(layer: Message, blob: str) -> Message:
    return layer.copy().update({"bottom": [blob, *layer.bottom[1:]]})


def _check_phases(layers: Sequence[Message], anchor: Message, blob: str) -> None:
    """Refuse to rename a blob that phases without this layer have, too: from another layer, or before this one overwrites it."""
    makers = [layer for layer in layers if blob in layer.get("top", ()) and blob not in layer.get("bottom", ())]
    if any(_rules(anchor).values()) and (len(makers) > 1 or blob in anchor.get("bottom", ())):
        raise NetError(
            f"layer {anchor.get('name', '')!r} is not there in every phase, but blob {blob!r} is: for what follows to read "
            "the new layer everywhere, insert it in place, or before a reader"
        )


def _rules(layer: Message) -> dict[str, Sequence[Message]]:
    return {end: layer.get(end, ()) for end in ("include", "exclude")}


def _with(definition: Message, layers: Sequence[Message]) -> Message:
    twin = definition.without("layer")
    twin.store("layer", list(layers))
    return twin
