"""A walker over protobuf's wire format that checks every step and copies nothing.

Format: https://protobuf.dev/programming-guides/encoding. Only what weights files need: varints, fixed 32 and
64 bit values and length-delimited fields. Nested messages are not entered here; the caller walks those it
knows, so that the depth of nesting in a file never becomes depth of recursion.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import NamedTuple

import numpy

from protogen.errors import WeightsError, excerpt

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_FIELDS = 500_000
"""Most fields read from one file: published nets have some 50,000, a file made to waste time has more."""
MAX_TEXT = 1 << 16
"""Longest name or type in bytes."""

_MAX_NUMBER = (1 << 29) - 1
_KINDS = {VARINT: "a varint", FIXED64: "64-bit values", BYTES: "length-delimited", FIXED32: "32-bit values"}
_BLOCK = 1 << 16


class WireField(NamedTuple):
    """One field, or a run of neighbouring fixed-size fields with one tag (how unpacked floats are stored)."""

    number: int
    kind: int
    at: int
    """Byte offset of the field's tag."""
    start: int
    """Byte offset of the payload (of the first value in a run)."""
    end: int
    """Byte offset after the payload."""
    value: int = 0
    """The value of a varint, as an unsigned 64-bit number."""
    stride: int = 0
    """Distance in bytes between the values of a run."""

    @property
    def repeats(self) -> int:
        """How many fixed-size values a run holds."""
        return (self.end - self.start) // self.stride + 1 if self.stride else 1


class Wire:
    """A protobuf message in a buffer, walked field by field.

    Args:
        buffer: the whole file.
        source: the file's name, for messages.

    >>> wire = Wire(b"\\x0a\\x03net\\x28\\x01", "net.caffemodel")
    >>> [(field.number, field.start, field.end) for field in wire.fields()]
    [(1, 2, 5), (5, 6, 7)]
    """

    def __init__(self, buffer: mmap.mmap | bytes, source: str) -> None:
        self.buffer = buffer
        self.source = source
        self._seen = 0

    def error(self, at: int, message: str) -> WeightsError:
        """The error for something wrong at byte offset `at`."""
        return WeightsError(f"{self.source}: byte {at}: {message}")

    def fields(self, start: int = 0, end: int | None = None) -> Iterator[WireField]:
        """Yield the fields of the message in bytes `start` to `end` (default: the whole buffer).

        Raises:
            WeightsError: a truncated varint or value, a length beyond the message, field number 0, a group or
                an unknown wire type, or more than `MAX_FIELDS` fields in the file.
        """
        position = start
        stop = len(self.buffer) if end is None else end
        while position < stop:
            field = self._field(position, stop)
            yield field
            position = field.end

    def text(self, field: WireField) -> str:
        """A string field as text: UTF-8, or Latin-1 where the bytes are not UTF-8 (proto2 does not check)."""
        self.expect(field, BYTES)
        if field.end - field.start > MAX_TEXT:
            raise self.error(field.at, f"a name of more than {MAX_TEXT} bytes: not a net that Caffe wrote")
        raw = self.buffer[field.start : field.end]
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return raw.decode("latin-1")

    def expect(self, field: WireField, *kinds: int) -> None:
        """Raise a WeightsError unless the field has one of these wire types."""
        if field.kind not in kinds:
            wanted = " or ".join(_KINDS[kind] for kind in kinds)
            raise self.error(
                field.at,
                f"field {field.number} is {_KINDS[field.kind]}, not {wanted}: not a Caffe weights file, or a damaged one",
            )

    def varints(self, start: int, end: int) -> Iterator[int]:
        """Yield the values of a packed varint field."""
        position = start
        while position < end:
            self._count(position)
            value, position = self._varint(position, end)
            yield value

    def _field(self, at: int, end: int) -> WireField:
        self._count(at)
        tag, position = self._varint(at, end)
        number, kind = tag >> 3, tag & 7
        if not 1 <= number <= _MAX_NUMBER or kind not in _KINDS:
            raise self.error(
                at,
                f"no valid field (number {number}, wire type {kind}): not a Caffe weights file, or a damaged one",
            )
        if kind == VARINT:
            value, stop = self._varint(position, end)
            return WireField(number, kind, at, position, stop, value)
        if kind == BYTES:
            size, position = self._varint(position, end)
        else:
            size = 8 if kind == FIXED64 else 4
        if size > end - position:
            raise self.error(
                at,
                f"field {number} claims {size} bytes where {end - position} are left: the file is cut short or damaged",
            )
        if kind == BYTES:
            return WireField(number, kind, at, position, position + size)
        stop, stride = self._run(at, position, size, end)
        return WireField(number, kind, at, position, stop, 0, stride)

    def _run(self, at: int, first: int, size: int, end: int) -> tuple[int, int]:
        """Where the run of equal tags that starts at `at` ends, and its stride in bytes."""
        width, stride = first - at, first - at + size
        longest = (end - at) // stride
        tag = self.buffer[at:first]
        count, block = 1, 1
        # Blocks double, so that a run costs time in proportion to its own length, however long the message
        # is.
        while count < longest:
            block = min(2 * block, longest - count, _BLOCK)
            tags = numpy.ndarray((block, width), numpy.uint8, self.buffer, at + count * stride, (stride, 1))
            same = (tags == numpy.frombuffer(tag, numpy.uint8)).all(axis=1)
            if not same.all():
                count += int(same.argmin())
                break
            count += block
        return at + count * stride, stride

    def _varint(self, position: int, end: int) -> tuple[int, int]:
        value = shift = 0
        at = position
        while position < end:
            byte = self.buffer[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> 64:
                    break
                return value, position
            shift += 7
            if shift > 63:
                break
        else:
            raise self.error(at, "the file ends, or its message does, inside a number: it is cut short or damaged")
        raise self.error(at, "a number of more than 64 bits: not a Caffe weights file, or a damaged one")

    def _count(self, at: int) -> None:
        self._seen += 1
        if self._seen > MAX_FIELDS:
            raise self.error(at, f"more than {MAX_FIELDS} fields: not a net that Caffe wrote")


def signed(value: int, bits: int = 64) -> int:
    """A varint's value as the signed integer that int32 and int64 fields mean.

    >>> signed((1 << 64) - 1, 32)
    -1
    """
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def encode_varint(value: int) -> bytes:
    """A non-negative integer as a varint.

    >>> encode_varint(300)
    b'\\xac\\x02'
    """
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_header(number: int, size: int) -> bytes:
    """Tag and length of a length-delimited field whose payload of `size` bytes follows."""
    return encode_varint(number << 3 | BYTES) + encode_varint(size)


def encode_text(number: int, text: str) -> bytes:
    """A whole string field.

    Raises:
        WeightsError: the text has lone surrogates, which UTF-8 cannot hold.
    """
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise WeightsError(f"name {excerpt(text)} cannot be written as UTF-8") from error
    return encode_header(number, len(raw)) + raw
