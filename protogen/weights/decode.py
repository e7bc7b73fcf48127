"""Decode protobuf's wire format into `Message`s by what numbers mean in Caffe and its forks; blobs are skipped.

Forks gave one number to different fields. A layer is decoded once for each reading that its disputed numbers allow
(`readings`): a fork cannot have written a field that it lacks, a value of another wire type, or a `foo_param` of another type
of layer. What the readings do not settle is kept under its number (`field_13`), like a field that the schema lacks, so that
converting refuses it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..errors import WeightsError
from ..prototxt.message import Message
from ..schema import Field, MessageType
from .numbers import Forks, Meaning, all_forks, belongs, enum_meanings, field_meanings, field_of
from .wire import BYTES, FIXED32, FIXED64, VARINT, Wire, WireField, signed

_DEEPEST = 4  # nesting of unknown fields that is shown
_LONGEST = 1 << 12  # bytes of an unknown field that are shown
_FLOATS = {FIXED32: "<f", FIXED64: "<d"}
_OTHER_HALF = {"_h": "_w", "_w": "_h"}
_BITS = {"int32": 32, "uint32": 32, "int64": 64, "uint64": 64}


class Unsettled(NamedTuple):
    """A number without one meaning: in which message, and the meanings that are possible (none: no known Caffe has it)."""

    message: str
    number: int
    meanings: tuple[Meaning, ...]

    @property
    def what(self) -> str:
        """ "field 13 of PoolingParameter", or "value 7 of PoolingParameter.pool"."""
        return f"{'value' if '.' in self.message else 'field'} {self.number} of {self.message}"


@dataclass
class Reading:
    """A message as some forks would read it.

    Attributes:
        message: the message.
        forks: the forks.
        unlikely: number of fields that these forks do not have, or would not have written.
        unsettled: the fields that are kept under their numbers.
    """

    message: Message
    forks: Forks
    unlikely: int = 0
    unsettled: list[Unsettled] = field(default_factory=list)


class _Split(Exception):  # noqa: N818 - not an error: forks read the next field differently
    def __init__(self, parts: list[Forks]) -> None:
        super().__init__()
        self.parts = parts


class _Impossible(Exception):  # noqa: N818 - not an error: none of the forks wrote this
    pass


def readings(wire: Wire, start: int, end: int, type: MessageType, skip: tuple[str, ...] = ()) -> list[Reading]:
    """Return the likeliest readings of the message in bytes `start` to `end`; none if no fork can have written it.

    Args:
        wire: the file.
        start, end: the message.
        type: its type.
        skip: fields to leave out.

    Raises:
        WeightsError: the message is damaged.
    """
    results, pending = [], [all_forks()]
    while pending:
        forks = pending.pop()
        decoder = Decoder(wire, forks, skip=skip)
        try:
            results.append(decoder.read(type, start, end))
        except _Split as split:
            pending += split.parts
        except _Impossible:
            pass
        except WeightsError:
            if forks == all_forks():
                raise
            # In another fork's reading the bytes make no message.
    least = min((reading.unlikely for reading in results), default=0)
    return [reading for reading in results if reading.unlikely == least]


class Decoder:
    """Decodes messages as a set of forks would read them.

    Args:
        wire: the file.
        forks: the forks; those that cannot have written what is read are dropped.
        settle: raise where these forks differ, for `readings`; otherwise what they differ in is kept under its number.
        skip: fields of the outermost message to leave out.
    """

    def __init__(self, wire: Wire, forks: Forks, settle: bool = True, skip: tuple[str, ...] = ()) -> None:
        self._wire, self._forks, self._settle, self._skip = wire, forks, settle, skip
        self._layer_type = ""
        self._unlikely = 0
        self._unsettled: list[Unsettled] = []

    def read(self, type: MessageType, start: int, end: int) -> Reading:
        """Return the message in bytes `start` to `end`.

        Raises:
            WeightsError: it is damaged.
        """
        if type.name == "LayerParameter":
            kinds = [item for item in self._wire.fields(start, end) if item.number == type.fields["type"].number]
            self._layer_type = self._wire.text(kinds[-1]) if kinds else ""
        message = Message(type)
        self._fill(message, type, start, end, self._skip)
        return Reading(message, self._forks, self._unlikely + _halves(message), self._unsettled)

    def _fill(self, message: Message, type: MessageType, start: int, end: int, skip: tuple[str, ...] = ()) -> None:
        for item in self._wire.fields(start, end):
            options = field_meanings(type.name, item.number)
            if any(option.name in skip or _is_blob(type, option) for option in options):
                continue
            meaning = self._choose(type, item, options)
            if meaning is None:
                self._keep(message, f"field_{item.number}", item)
                continue
            spec = field_of(type, meaning)
            if spec is None:  # the field of a fork that protogen knows by name only
                self._keep(message, meaning.name, item)
            elif spec.kind == "message":
                self._add_message(message, spec, item)
            elif spec.kind == "enum":
                self._add_enum(message, type, spec, item)
            else:
                _add(message, spec, list(_scalars(self._wire, spec, item)))

    def _choose(self, type: MessageType, item: WireField, options: Any) -> Meaning | None:
        """Return what a field means to all of the forks, None if that is not known."""
        possible = [option for option in options if option.forks & self._forks and self._fits(type, item, option)]
        if len(options) > 1 or (options and options[0].forks != all_forks()):
            return self._settled(Unsettled(type.name, item.number, tuple(options)), possible)
        if possible:
            return possible[0]
        self._unlikely += 1
        self._unsettled.append(Unsettled(type.name, item.number, ()))
        return None

    def _settled(self, dispute: Unsettled, possible: list[Meaning]) -> Meaning | None:
        if len(possible) == 1:
            self._forks &= possible[0].forks
            return possible[0]
        if self._settle and possible:
            raise _Split([option.forks & self._forks for option in possible])
        if self._settle:
            raise _Impossible
        self._unsettled.append(dispute._replace(meanings=tuple(possible) or dispute.meanings))
        return None

    def _fits(self, type: MessageType, item: WireField, meaning: Meaning) -> bool:
        if meaning.name.endswith(")"):  # of another type than in the schema
            return False
        spec = field_of(type, meaning)
        if spec is not None and item.kind not in _wire_kinds(spec):
            return False
        if meaning.forks == all_forks():
            return True
        own = type.name == "LayerParameter" and meaning.name.endswith("_param")
        if own and not belongs(meaning.name, self._layer_type):
            return False
        return spec is None or spec.kind != "message" or self._is_message(item)

    def _is_message(self, item: WireField) -> bool:
        try:
            return all(True for _ in self._wire.fields(item.start, item.end))
        except WeightsError:
            return False

    def _add_message(self, message: Message, spec: Field, item: WireField) -> None:
        inner = Message(spec.message_type)
        if not spec.repeated and spec.name in message:
            inner = message.get(spec.name)  # protobuf merges the parts of a message
        self._fill(inner, spec.message_type, item.start, item.end)
        if spec.repeated:
            message.extend(spec.name, [inner])
        else:
            message.store(spec.name, inner)

    def _add_enum(self, message: Message, type: MessageType, spec: Field, item: WireField) -> None:
        for value in _integers(self._wire, item):
            options = enum_meanings(spec, signed(value, 32))
            possible = [option for option in options if option.forks & self._forks]
            if len(options) == 1 and options[0].forks == all_forks():
                meaning: Meaning | None = options[0]
            elif options:
                meaning = self._settled(Unsettled(f"{type.name}.{spec.name}", value, tuple(options)), possible)
            else:
                meaning = None
                self._unlikely += 1
                self._unsettled.append(Unsettled(f"{type.name}.{spec.name}", value, ()))
            if meaning is None or meaning.name not in spec.values:
                message.extend(f"field_{item.number}", [signed(value, 32)])
            else:
                _add(message, spec, [meaning.name])

    def _keep(self, message: Message, name: str, item: WireField) -> None:
        message.extend(name, _raw(self._wire, item, _DEEPEST))


def _is_blob(type: MessageType, meaning: Meaning) -> bool:
    spec = field_of(type, meaning)
    return spec is not None and spec.type_name == "BlobProto"


def _wire_kinds(spec: Field) -> tuple[int, ...]:
    if spec.kind in ("message", "string", "bytes"):
        return (BYTES,)
    kinds = (FIXED32, FIXED64) if spec.kind in ("float", "double") else (VARINT,)
    return (*kinds, BYTES) if spec.repeated else kinds


def _add(message: Message, spec: Field, values: list[Any]) -> None:
    if spec.repeated:
        message.extend(spec.name, values)
    elif values:
        message.store(spec.name, values[-1])


def _scalars(wire: Wire, spec: Field, item: WireField) -> Iterator[Any]:
    if spec.kind in ("string", "bytes"):
        yield wire.text(item)
    elif spec.kind in ("float", "double"):
        yield from _numbers(wire, item, FIXED64 if spec.kind == "double" and item.kind == BYTES else item.kind)
    else:
        for value in _integers(wire, item):
            if spec.kind == "bool":
                yield value != 0
            elif spec.kind.startswith("u"):
                yield value & ((1 << _BITS[spec.kind]) - 1)
            else:
                yield signed(value, _BITS[spec.kind])


def _integers(wire: Wire, item: WireField) -> Iterator[int]:
    return wire.varints(item.start, item.end) if item.kind == BYTES else iter([item.value])


def _numbers(wire: Wire, item: WireField, kind: int) -> Iterator[float]:
    form = struct.Struct(_FLOATS.get(kind, "<f"))
    stride, stop = item.stride, item.end
    if item.kind == BYTES:
        stride = form.size
        if (item.end - item.start) % stride:
            raise wire.error(item.at, f"field {item.number} holds no whole number of values: the file is damaged")
    for at in range(item.start, stop, stride):
        yield form.unpack_from(wire.buffer, at)[0]


def _raw(wire: Wire, item: WireField, depth: int) -> list[Any]:
    """Return the values of a field of unknown type: numbers, text, or messages whose fields have numbers for names."""
    if item.kind == VARINT:
        return [signed(item.value)]
    if item.kind != BYTES:
        return list(_numbers(wire, item, item.kind))
    size = item.end - item.start
    if size > _LONGEST:
        return [f"{size} bytes"]
    content = wire.buffer[item.start : item.end]
    text = content.decode("utf-8", "replace")
    if text.isprintable() and "\ufffd" not in text:
        return [text]
    try:
        return [_raw_message(wire, item, depth - 1)] if depth else [f"{size} bytes"]
    except WeightsError:
        return [content.decode("utf-8", "surrogateescape")]


def _raw_message(wire: Wire, item: WireField, depth: int) -> Message:
    message = Message(None)
    for inner in wire.fields(item.start, item.end):
        message.extend(f"field_{inner.number}", _raw(wire, inner, depth))
    return message


def _halves(message: Message) -> int:
    """Count fields such as `kernel_h` without the `kernel_w` that Caffe demands beside it, or the reverse."""
    count, pending = 0, [message]
    while pending:
        fields = dict(pending.pop().fields())
        count += sum(1 for name in fields if name[-2:] in _OTHER_HALF and name[:-2] + _OTHER_HALF[name[-2:]] not in fields)
        values = (item for value in fields.values() for item in (value if isinstance(value, list) else [value]))
        pending += [value for value in values if isinstance(value, Message)]
    return count
