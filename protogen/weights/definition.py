"""The definition in a `.caffemodel`: a NetParameter without its blobs, in today's dialect.

Caffe saves the net that it runs (`Net::ToProto`): the layers of one phase, each with that phase in it, and with Split layers
where a blob is read twice. `read` undoes both: in a prototxt, the former would be wrong in the other phase, and the latter are
for Caffe itself to add.
"""

from __future__ import annotations

import mmap
import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import ProtogenWarning, WeightsError, some
from ..prototxt.message import Message
from ..prototxt.phase import PHASES, State, active
from ..prototxt.upgrade import upgrade
from ..schema import message_type
from .decode import Decoder, Reading, Unsettled, readings
from .files import HDF5_SIGNATURE, Path, map_file, reject_foreign
from .numbers import Forks, all_forks, described, field_meanings
from .state_dict import is_state_dict
from .wire import BYTES, Wire

_LAYERS = {100: ("layer", "LayerParameter"), 2: ("layers", "V1LayerParameter")}
_MOST_LINES = 10
_AS_UNSET = {"dilation": [1]}  # a list that says what its absence says


@dataclass(frozen=True)
class _Part:
    """A message of the file, and the ways to read it."""

    start: int
    end: int
    type: str
    ways: list[Reading]


class _Notes:
    """What to warn of: fields whose meaning is unknown, or known only from the rest of the file."""

    def __init__(self) -> None:
        self._unknown: dict[Unsettled, list[str]] = {}
        self._inferred: dict[tuple[Unsettled, str], list[str]] = {}

    def unknown(self, layer: str, problems: Iterable[Unsettled]) -> None:
        """Note fields of a layer that are kept under their numbers."""
        for problem in dict.fromkeys(problems):
            self._unknown.setdefault(problem, []).append(layer)

    def by_the_rest(self, layer: str, disputes: Iterable[Unsettled], writers: Forks) -> None:
        """Note fields of a layer that mean what they mean to the forks that can have written the whole file."""
        for dispute in dict.fromkeys(disputes):
            names = " or ".join(meaning.name for meaning in dispute.meanings if meaning.forks & writers)
            if names:
                self._inferred.setdefault((dispute, names), []).append(layer)

    def warn(self, source: str) -> None:
        """Warn once of the fields of each kind."""
        read = [
            f"{_where(layers)}{dispute.what} is read as {names}: {described(dispute.meanings)}"
            for (dispute, names), layers in self._inferred.items()
        ]
        self._say(read, f"{source}: what these fields mean depends on the fork, and is taken from the rest of the file:")
        kept = [
            f"{_where(layers)}{problem.what} "
            + (f"may be {described(problem.meanings)}" if problem.meanings else "is in no Caffe that protogen knows")
            for problem, layers in self._unknown.items()
        ]
        last = "to name them, write the definition (-o FILE.prototxt), and convert that file with these weights"
        first = f"{source}: nothing tells what these fields mean; converting a layer to which they matter is refused:"
        self._say(kept, first, f"  {last}")

    @staticmethod
    def _say(lines: list[str], first: str, *last: str) -> None:
        if lines:
            more = [f"  and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else []
            text = [first, *(f"  {line}" for line in lines[:_MOST_LINES]), *more, *last]
            warnings.warn(ProtogenWarning(*text), stacklevel=6)


def _where(layers: list[str]) -> str:
    names = [name for name in layers if name]
    return f"layer {some(names)}: " if names else ""


def read(path: Path) -> Message:
    """Return the NetParameter in a `.caffemodel`, upgraded to today's dialect, without blobs.

    Raises:
        WeightsError: the file is damaged, of another kind, or holds no definition.
        NetError: the definition cannot be upgraded.
    """
    content = map_file(path)
    source = os.fspath(path)
    if content[: len(HDF5_SIGNATURE)] == HDF5_SIGNATURE:
        raise WeightsError(f"{source}: an HDF5 file holds weights but no definition of the net: give its prototxt, too")
    if is_state_dict(path):
        raise WeightsError(
            f"{source}: a state dict of PyTorch holds weights but no definition of the net: give its prototxt, too"
        )
    reject_foreign(content, path)
    return parse(content, source)


def parse(content: mmap.mmap | bytes, source: str = "<bytes>") -> Message:
    """Return the NetParameter in a caffemodel in memory, as `read` does.

    Raises:
        WeightsError: as `read`.

    >>> parse(bytes.fromhex("a20614 0a0161 120454616e48 1a0178 220179 fa07020801")).layer[0].type
    'TanH'
    """
    _check_start(content, source)
    net = _settled_net(Wire(content, source), source)
    layers = [*net.layer, *net.layers]
    if not layers:
        raise WeightsError(f"{source}: contains no layers: not a .caffemodel, or a truncated one")
    if not any(name.endswith("_param") or name == "layer" for layer in layers for name, _ in layer.fields()):
        raise WeightsError(f"{source}: holds weights by layer, but no parameters of any layer: give its prototxt, too")
    phase = _undo_filter(net)
    net = upgrade(_without_splits(net), source)
    if phase == "TRAIN":
        _warn_of_training(net, source)
    return net


def _check_start(content: mmap.mmap | bytes, source: str) -> None:
    """Refuse a file whose first field a NetParameter does not have."""
    try:
        number = next(Wire(content, source).fields()).number
    except (WeightsError, StopIteration):
        number = 0
    if not field_meanings("NetParameter", number):
        raise WeightsError(f"{source}: this is a binary file, but neither a prototxt nor a .caffemodel")


def _warn_of_training(net: Message, source: str) -> None:
    """Say that the file has the net that was trained, and which of its layers go on to use each batch's statistics in TEST."""
    text = "the net as it was trained (phase TRAIN), with its data layers and losses; 'protogen deploy' makes a deploy file of it"
    lines = [f"{source}: holds {text}"]
    batch = [layer.name for layer in net.layer if layer.batch_norm_param.get("use_global_stats") is False]
    if batch:
        lines.append(
            f"  use_global_stats: false in {some(batch, 2)}: as in Caffe, these use each batch's statistics in TEST, too"
        )
    warnings.warn(ProtogenWarning(*lines), stacklevel=4)


def _settled_net(wire: Wire, source: str) -> Message:
    """The net with each part as the forks read it that can have written all of them."""
    parts = [_Part(0, len(wire.buffer), "NetParameter", _ways(wire, 0, len(wire.buffer), "NetParameter"))]
    for item in wire.fields():
        if item.number in _LAYERS:
            wire.expect(item, BYTES)
            kind = _LAYERS[item.number][1]
            parts.append(_Part(item.start, item.end, kind, _ways(wire, item.start, item.end, kind)))
    writers = _writers(parts)
    notes = _Notes()
    messages = [_settled(wire, part, writers, notes) for part in parts]
    notes.warn(source)
    net = messages[0]
    for field, kind in _LAYERS.values():
        layers = [message for message, part in zip(messages[1:], parts[1:]) if part.type == kind]
        if layers:
            net.store(field, layers)
    return net


def _ways(wire: Wire, start: int, end: int, kind: str) -> list[Reading]:
    return readings(wire, start, end, message_type(kind), _skipped(kind))


def _skipped(kind: str) -> tuple[str, ...]:
    return _names() if kind == "NetParameter" else ()


def _names() -> tuple[str, ...]:
    return tuple(name for name, _ in _LAYERS.values())


def _writers(parts: Iterable[_Part]) -> Forks:
    """The forks that can have written all parts; all forks if none can, as for a fork that is not in the table."""
    writers = all_forks()
    for part in parts:
        if part.ways:
            writers &= frozenset().union(*(way.forks for way in part.ways))
    return writers or all_forks()


def _settled(wire: Wire, part: _Part, writers: Forks, notes: _Notes) -> Message:
    ways = [way for way in part.ways if way.forks & writers] or part.ways
    chosen = _distinct(ways)
    if len(chosen) == 1 and len(_distinct(part.ways)) == 1:
        way = chosen[0]
    else:
        forks = frozenset().union(*(way.forks for way in part.ways)) or all_forks()
        if len(chosen) != 1:
            forks = forks & writers or forks
        way = Decoder(wire, forks, False, _skipped(part.type)).read(message_type(part.type), part.start, part.end)
    layer = way.message.get("name", "")
    if len(chosen) == 1 and way is not chosen[0]:  # only what else the file holds tells
        notes.by_the_rest(layer, way.unsettled, chosen[0].forks & writers or chosen[0].forks)
        way = chosen[0]
    notes.unknown(layer, way.unsettled)
    return way.message


def _distinct(ways: Iterable[Reading]) -> list[Reading]:
    """The readings that differ in what they say."""
    distinct: list[Reading] = []
    for way in ways:
        if not any(_effect(way.message) == _effect(other.message) for other in distinct):
            distinct.append(way)
    return distinct


def _effect(message: Message) -> list[object]:
    """What a message says apart from fields that are set to their defaults, for comparison."""
    fields = message.descriptor.fields if message.descriptor is not None else {}
    return [
        (name, [_effect(item) if isinstance(item, Message) else item for item in (value if isinstance(value, list) else [value])])
        for name, value in message.fields()
        if name not in fields or value not in (fields[name].default, _AS_UNSET.get(name))
    ]


def _undo_filter(net: Message) -> str:
    """Remove the phase that Caffe notes in each layer, and the rules that it chose the layers by; return the phase or ""."""
    layers = [*net.layer, *net.layers]
    phases = {layer.get("phase", "") for layer in layers}
    phase = phases.pop() if len(phases) == 1 else ""
    if not phase and any(("include" in layer or "exclude" in layer) and not layer.bottom for layer in layers):
        # Old files note no phase; data layers of one phase alone leave nothing to run in the other.
        fitting = [name for name in PHASES if all(active(layer, State(name)) for layer in layers)]
        phase = fitting[0] if len(fitting) == 1 else ""
    if phase:
        for layer in layers:
            for name in ("phase", "include", "exclude"):
                layer.remove(name)
    return phase


def _without_splits(net: Message) -> Message:
    """Remove the Split layers that Caffe adds where a blob is read more than once (util/insert_splits.cpp)."""
    origin: dict[str, str] = {}
    for field in _names():
        kept = []
        for layer in net.get(field, []):
            if _is_inserted(layer):
                bottom = layer.bottom[0]
                origin.update(dict.fromkeys(layer.top, origin.get(bottom, bottom)))
                continue
            if layer.get("bottom"):
                layer.store("bottom", [origin.get(name, name) for name in layer.bottom])
            kept.append(layer)
        if kept:
            net.store(field, kept)
    return net


def _is_inserted(layer: Message) -> bool:
    name, tops = layer.get("name", ""), layer.get("top", [])
    bottom = layer.bottom[0] if len(layer.bottom) == 1 else None
    return (
        layer.get("type", "") in ("Split", "SPLIT")
        and bottom is not None
        and name.startswith(f"{bottom}_")
        and name.endswith("_split")
        and "loss_weight" not in layer  # Caffe moves a loss's weight there
        and tops in ([f"{stem}_{i}" for i in range(len(tops))] for stem in (name, f"{bottom}_split"))
    )
