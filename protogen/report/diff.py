"""Compare two nets: layers added and removed, changed parameters and wiring, differences in weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import printable
from ..prototxt.message import Message

if TYPE_CHECKING:
    import numpy as np

    from ..graph.store import WeightStore
    from ..net import Net
    from ..prototxt.layer import Layer

_APART = ("name", "type", "bottom", "top", "blobs")  # fields compared separately


@dataclass(frozen=True)
class Change:
    """A value that differs; an unset parameter has its default."""

    what: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{printable(self.what)}: {_shown(self.before)} -> {_shown(self.after)}"


@dataclass(frozen=True)
class LayerDiff:
    """A layer of both nets that differs.

    Attributes:
        name, type: of the layer; the type is the first net's.
        parameters: changed fields, each named by its path ("convolution_param.kernel_size").
        wiring: changed bottoms and tops; a bottom includes the layer that computes it.
    """

    name: str
    type: str
    parameters: list[Change]
    wiring: list[Change]


@dataclass(frozen=True)
class WeightDiff:
    """A learnable blob that differs; `max_abs` is the largest difference, None if the shapes differ or one side has no values."""

    layer: str
    blob: int
    before: tuple[int, ...] | None
    after: tuple[int, ...] | None
    max_abs: float | None

    def __str__(self) -> str:
        name = f"{quoted(self.layer)} blob {self.blob}"
        if self.before != self.after:
            return f"{name}: {shape_text(self.before)} -> {shape_text(self.after)}"
        return f"{name} {shape_text(self.before)}: differs by up to {self.max_abs:.6g}"


@dataclass
class NetDiff:
    """Result of `diff`: `equal` and lists of the differences. `str` returns one line per difference, "" for equal nets.

    Attributes:
        net: changes of the net itself: name, phase, inputs and outputs.
        added, gone: (name, type) of layers that only the second, or only the first, net has.
        changed: layers of both nets that differ.
        weights: learnable blobs of common layers that differ in shape or values; empty unless both nets have weights.
    """

    net: list[Change] = field(default_factory=list)
    added: list[tuple[str, str]] = field(default_factory=list)
    gone: list[tuple[str, str]] = field(default_factory=list)
    changed: list[LayerDiff] = field(default_factory=list)
    weights: list[WeightDiff] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether the nets do not differ."""
        return not (self.net or self.added or self.gone or self.changed or self.weights)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "equal": self.equal,
            "net": [_plain_change(change) for change in self.net],
            "added": [{"name": name, "type": kind} for name, kind in self.added],
            "gone": [{"name": name, "type": kind} for name, kind in self.gone],
            "changed": [
                {
                    "name": layer.name,
                    "type": layer.type,
                    "parameters": [_plain_change(change) for change in layer.parameters],
                    "wiring": [_plain_change(change) for change in layer.wiring],
                }
                for layer in self.changed
            ],
            "weights": [
                {"layer": w.layer, "blob": w.blob, "before": w.before, "after": w.after, "max_abs": _json_number(w.max_abs)}
                for w in self.weights
            ],
        }  # fmt: skip

    def lines(self) -> Iterator[str]:
        """Yield the differences line by line: "-" gone, "+" added, "~" changed."""
        for change in self.net:
            yield f"~ net {change}"
        for name, kind in self.gone:
            yield f"- layer {quoted(name)} ({printable(kind)})"
        for name, kind in self.added:
            yield f"+ layer {quoted(name)} ({printable(kind)})"
        for layer in self.changed:
            yield f"~ layer {quoted(layer.name)} ({printable(layer.type)})"
            for change in (*layer.parameters, *layer.wiring):
                yield f"    {change}"
        for blob in self.weights:
            yield f"~ weights {blob}"

    def summary(self) -> str:
        """Return the number of differences of each kind, in one line.

        >>> NetDiff(added=[("pool", "Pooling")], weights=[WeightDiff("fc", 0, (2,), (3,), None)]).summary()
        '1 layer added, 0 gone, 0 changed; weights differ in 1 blob of 1 layer'
        """
        parts = [f"{number_text(self.added, 'layer')} added, {len(self.gone)} gone, {len(self.changed)} changed"]
        if self.net:
            parts.append(f"the net's {', '.join(change.what for change in self.net)} changed")
        if self.weights:
            layers = {blob.layer for blob in self.weights}
            parts.append(f"weights differ in {number_text(self.weights, 'blob')} of {number_text(layers, 'layer')}")
        return "; ".join(parts)

    def __str__(self) -> str:
        return "\n".join(self.lines())


def diff(a: Net, b: Net) -> NetDiff:
    """Compare two nets, and their weights if both have any. Layers are matched by name.

    >>> import protogen
    >>> text = 'layer { name: "x" type: "Input" top: "x" } layer { name: "r" type: "ReLU" bottom: "x" top: "y" %s }'
    >>> print(diff(protogen.loads(text % ""), protogen.loads(text % "relu_param { negative_slope: 0.5 }")))
    ~ layer 'r' (ReLU)
        relu_param.negative_slope: 0 -> 0.5
    """
    before, after = _by_name(a.layers), _by_name(b.layers)
    bottoms_before, bottoms_after = _bottoms(a.layers), _bottoms(b.layers)
    messages_before, messages_after = _messages(a), _messages(b)
    result = NetDiff(net=_whole(a, b))
    result.gone = [(layer.name, layer.full_type) for key, layer in before.items() if key not in after]
    result.added = [(layer.name, layer.full_type) for key, layer in after.items() if key not in before]
    for key, layer in before.items():
        if key in after:
            other = after[key]
            bottoms = _differing("bottom", bottoms_before[id(layer)], bottoms_after[id(other)])
            wiring = [*bottoms, *_differing("top", layer.tops, other.tops)]
            fields = field_changes(messages_before[id(layer)], messages_after[id(other)], "", _APART)
            parameters = [*_differing("type", layer.type, other.type), *fields]
            if not (a._weights and b._weights):
                parameters += _blobs(layer.message, other.message)
            if wiring or parameters:
                result.changed.append(LayerDiff(layer.name, layer.full_type, parameters, wiring))
    if a._weights and b._weights:
        result.weights = list(_weights(a.weights, b.weights))
    return result


def _by_name(layers: Sequence[Layer]) -> dict[tuple[str, int], Layer]:
    """Return layers by name and occurrence number, because Caffe allows duplicate names."""
    seen: dict[str, int] = {}
    result = {}
    for layer in layers:
        seen[layer.name] = seen.get(layer.name, 0) + 1
        result[layer.name, seen[layer.name]] = layer
    return result


def _messages(net: Net) -> dict[int, Message]:
    """Return the message of each layer by `id`, with what its place and the reading rules determine (a Crop's offsets)."""
    messages = {id(layer): layer.message for layer in net.layers}
    for layer, op in zip(net.layers, net.analysis.ops):
        if op is not None and op.is_placed(layer.message, op.rules):
            messages[id(layer)] = op.written(layer.message, ())[0]
    return messages


def _bottoms(layers: Sequence[Layer]) -> dict[int, list[str]]:
    """Return each layer's bottoms by `id`, with the layers that compute them: in-place layers share one blob name."""
    makers: dict[str, str] = {}
    result = {}
    for layer in layers:
        result[id(layer)] = [f"{blob} (from {makers.get(blob, '')})" for blob in layer.bottoms]
        makers.update(dict.fromkeys(layer.tops, layer.name))
    return result


def _whole(a: Net, b: Net) -> list[Change]:
    inputs = [{name: net.analysis.shapes[name] for name in net.inputs} for net in (a, b)]
    return [
        *_differing("name", a.name, b.name),
        *_differing("phase", a.phase, b.phase),
        *_differing("inputs", *inputs),
        *_differing("outputs", a.outputs, b.outputs),
    ]


def _differing(what: str, before: Any, after: Any) -> list[Change]:
    return [] if before == after else [Change(what, before, after)]


def field_changes(a: Message, b: Message, path: str, skip: Sequence[str] = ()) -> Iterator[Change]:
    """Yield the fields in which two messages differ; an unset field has its default.

    Args:
        a, b: the messages.
        path: what stands before the fields' names in the changes.
        skip: fields to leave out.
    """
    names = dict.fromkeys(name for message in (a, b) for name, _ in message.fields() if name not in skip)
    for name in names:
        in_schema = a.descriptor is not None and a.descriptor is b.descriptor and name in a.descriptor.fields
        one, other = (getattr(m, name) if in_schema else m.get(name) for m in (a, b))
        yield from _values(one, other, path + name)


def _values(a: Any, b: Any, path: str) -> Iterator[Change]:
    if isinstance(a, Message) and isinstance(b, Message):
        yield from field_changes(a, b, path + ".")
        return
    lists = all(isinstance(value, (list, tuple)) for value in (a, b))
    if lists and any(isinstance(item, Message) for item in (*a, *b)):
        for i in range(max(len(a), len(b))):
            one, other = (values[i] if i < len(values) else None for values in (a, b))
            item = one if other is None else other
            empty = Message(item.descriptor) if isinstance(item, Message) else None
            yield from _values(empty if one is None else one, empty if other is None else other, f"{path}[{i}]")
    elif (list(a) != list(b)) if lists else a != b:
        yield Change(path, a, b)


def _blobs(a: Message, b: Message) -> list[Change]:
    """Compare the weights in the definitions as a whole, for nets that cannot be compared blob by blob."""
    before, after = (f"{len(layer.blobs)} with values" if layer.blobs else "none" for layer in (a, b))
    same = before == after and list(a.blobs) == list(b.blobs)
    return [] if same else [Change("blobs", before, after if after != before else "others")]


def _weights(a: WeightStore, b: WeightStore) -> Iterator[WeightDiff]:
    for layer in dict.fromkeys((*a, *b)):
        if layer not in a.shapes or layer not in b.shapes:
            continue  # already reported as added, gone or changed
        one, other = a.get(layer, []), b.get(layer, [])
        for i in range(max(len(one), len(other))):
            blobs = [blobs[i] if i < len(blobs) else None for blobs in (one, other)]
            before, after = (None if blob is None else blob.shape for blob in blobs)
            if before != after or blobs[0] is None or blobs[1] is None:
                yield WeightDiff(layer, i, before, after, None)
            else:
                largest = _largest_difference(blobs[0], blobs[1])
                if largest is not None:
                    yield WeightDiff(layer, i, before, after, largest)


def _largest_difference(a: np.ndarray, b: np.ndarray) -> float | None:
    """Return the largest difference, NaN if only one side of a pair is NaN; None if all values are equal."""
    import numpy as np

    from ..weights.pages import chunks

    largest: float | None = None
    for one, other in zip(chunks(a), chunks(b)):
        if np.array_equal(one, other, equal_nan=True):
            continue
        with np.errstate(invalid="ignore", over="ignore"):
            differing = np.abs(one.astype(np.float64) - other)[~((one == other) | (np.isnan(one) & np.isnan(other)))]
        largest = float(np.maximum(-1.0 if largest is None else largest, differing.max()))
    return largest


def number_text(things: Sized, what: str) -> str:
    """How many things, with their name in the singular or plural."""
    return f"{len(things)} {what}{'s' if len(things) != 1 else ''}"


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, float):
        from ..prototxt.format import number

        return number(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, dict):
        return ", ".join(f"{printable(key)} {shape_text(shape)}" for key, shape in value.items()) or "none"
    return printable(str(value))


def quoted(text: str) -> str:
    """Text from a file in quotation marks, printable."""
    return f"'{printable(text)}'"


def shape_text(shape: tuple[int, ...] | None) -> str:
    """A shape, or "none"."""
    return "none" if shape is None else str(tuple(shape))


def _plain_change(change: Change) -> dict[str, Any]:
    return {"what": change.what, "before": _plain(change.before), "after": _plain(change.after)}


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, float):
        return _json_number(value)
    return value if value is None or isinstance(value, (str, int)) else str(value)


def _json_number(value: float | None) -> float | str | None:
    """Return NaN and infinities as strings, because JSON lacks them."""
    return value if value is None or abs(value) < float("inf") else str(value)
