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


@dataclass(frozen=True)
class _Part:
    """A message of the file, and the ways to read it."""

    start: int
    end: int
    type: str
    ways: list[Reading]


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
    parts = [
        _Part(0, len(wire.buffer), "NetParameter", readings(wire, 0, len(wire.buffer), message_type("NetParameter"), _names()))
    ]
    for item in wire.fields():
        if item.number in _LAYERS:
            wire.expect(item, BYTES)
            kind = _LAYERS[item.number][1]
            parts.append(_Part(item.start, item.end, kind, readings(wire, item.start, item.end, message_type(kind))))
    writers = _writers(parts)
    unsettled: dict[Unsettled, list[str]] = {}
    messages = [_settled(wire, part, writers, unsettled) for part in parts]
    _warn(unsettled, source)
    net = messages[0]
    for field, kind in _LAYERS.values():
        layers = [message for message, part in zip(messages[1:], parts[1:]) if part.type == kind]
        if layers:
            net.store(field, layers)
    return net


def _names() -> tuple[str, ...]:
    return tuple(name for name, _ in _LAYERS.values())


def _writers(parts: Iterable[_Part]) -> Forks:
    """The forks that can have written all parts; all forks if none can, as for a fork that is not in the table."""
    writers = all_forks()
    for part in parts:
        if part.ways:
            writers &= frozenset().union(*(way.forks for way in part.ways))
    return writers or all_forks()


def _settled(wire: Wire, part: _Part, writers: Forks, unsettled: dict[Unsettled, list[str]]) -> Message:
    ways = [way for way in part.ways if way.forks & writers] or part.ways
    different: list[Reading] = []
    for way in ways:
        if not any(_effect(way.message) == _effect(other.message) for other in different):
            different.append(way)
    if len(different) == 1:
        way = different[0]
    else:
        forks = frozenset().union(*(way.forks for way in ways)) if ways else all_forks()
        decoder = Decoder(wire, forks & writers or forks, settle=False, skip=_names() if part.type == "NetParameter" else ())
        way = decoder.read(message_type(part.type), part.start, part.end)
    for problem in dict.fromkeys(way.unsettled):
        unsettled.setdefault(problem, []).append(way.message.get("name", ""))
    return way.message


def _effect(message: Message) -> list[object]:
    """What a message says apart from fields that are set to their defaults, for comparison."""
    fields = message.descriptor.fields if message.descriptor is not None else {}
    return [
        (name, [_effect(item) if isinstance(item, Message) else item for item in (value if isinstance(value, list) else [value])])
        for name, value in message.fields()
        if name not in fields or value != fields[name].default
    ]


def _warn(unsettled: dict[Unsettled, list[str]], source: str) -> None:
    """Warn once of all fields that are kept under their numbers."""
    lines = []
    for problem, layers in unsettled.items():
        meaning = f"may be {described(problem.meanings)}" if problem.meanings else "is in no Caffe that protogen knows"
        names = [name for name in layers if name]
        where = f"layer {some(names)}: " if names else ""
        lines.append(f"  {where}{problem.what} {meaning}")
    if lines:
        first = f"{source}: nothing tells what these fields mean; converting a layer to which they matter is refused:"
        more = [f"  and {len(lines) - _MOST_LINES} more"] if len(lines) > _MOST_LINES else []
        last = "  to name them, write the definition (-o FILE.prototxt), and convert that file with these weights"
        warnings.warn(ProtogenWarning(first, *lines[:_MOST_LINES], *more, last), stacklevel=5)


def _undo_filter(net: Message) -> str:
    """Remove the phase that Caffe notes in each layer, and the rules that it chose the layers by; return the phase or ""."""
    layers = [*net.layer, *net.layers]
    phases = {layer.get("phase", "") for layer in layers}
    phase = phases.pop() if len(phases) == 1 else ""
    if not phase and any("include" in layer or "exclude" in layer for layer in layers):
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
