"""Reader of protobuf's wire format that checks every step and copies nothing, and encoders for writing.

Format: https://protobuf.dev/programming-guides/encoding. It supports what weights files need: varints, fixed 32-bit and 64-bit
values, and length-delimited fields. Nested messages are left to the caller, which reads those it knows, so that nesting in a
file never causes recursion.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ..errors import WeightsError, excerpt

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_FIELDS = 500_000
"""Most fields read from one file: published nets have about 50,000, a file crafted to waste time may have more."""
MAX_TEXT = 1 << 16
"""Longest name or type in bytes."""

_MAX_NUMBER = (1 << 29) - 1
_KINDS = {VARINT: "a varint", FIXED64: "64-bit values", BYTES: "length-delimited", FIXED32: "32-bit values"}
_BLOCK = 1 << 16


class WireField(NamedTuple):
    """One field, or a run of adjacent fixed-size fields with the same tag (as unpacked floats are stored)."""

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
        """The number of values in a run."""
        return (self.end - self.start) // self.stride + 1 if self.stride else 1


class Wire:
    """A protobuf message in a buffer, read field by field.

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
        self._fields_read = 0

    def error(self, at: int, message: str) -> WeightsError:
        """Return an error for byte offset `at`."""
        return WeightsError(f"{self.source}: byte {at}: {message}")

    def fields(self, start: int = 0, end: int | None = None) -> Iterator[WireField]:
        """Yield the fields of the message in bytes `start` to `end` (default: the whole buffer).

        Raises:
            WeightsError: a truncated varint or value, a length beyond the message, field number 0, a group or an unknown wire
                type, or more than `MAX_FIELDS` fields in the file.
        """
        position = start
        stop = len(self.buffer) if end is None else end
        while position < stop:
            field = self._field(position, stop)
            yield field
            position = field.end

    def text(self, field: WireField) -> str:
        """Decode a string field as UTF-8, or as Latin-1 if it is not UTF-8, which proto2 does not check.

        Raises:
            WeightsError: not a string field, or too long for a name.
        """
        self.expect(field, BYTES)
        if field.end - field.start > MAX_TEXT:
            raise self.error(field.at, f"a name of more than {MAX_TEXT} bytes: not a net that Caffe wrote")
        raw = self.buffer[field.start : field.end]
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return raw.decode("latin-1")

    def expect(self, field: WireField, *kinds: int) -> None:
        """Check that the field has one of these wire types.

        Raises:
            WeightsError: it has another.
        """
        if field.kind not in kinds:
            expected = " or ".join(_KINDS[kind] for kind in kinds)
            raise self.error(
                field.at,
                f"field {field.number} is {_KINDS[field.kind]}, not {expected}: not a Caffe weights file, or a damaged one",
            )

    def varints(self, start: int, end: int) -> Iterator[int]:
        """Yield the values of a packed varint field in bytes `start` to `end`.

        Raises:
            WeightsError: a value is truncated, or there are too many.
        """
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
                f"field {number} claims {size} bytes, but only {end - position} remain: the file is truncated or damaged",
            )
        if kind == BYTES:
            return WireField(number, kind, at, position, position + size)
        stop, stride = self._run(at, position, size, end)
        return WireField(number, kind, at, position, stop, 0, stride)

    def _run(self, at: int, first: int, size: int, end: int) -> tuple[int, int]:
        """Return the end of the run of equal tags that starts at `at`, and its stride in bytes."""
        width, stride = first - at, first - at + size
        longest = (end - at) // stride
        tag = self.buffer[at:first]
        count, block = 1, 1
        # Blocks double in size, so that the time is proportional to the run's length, not to the message's.
        while count < longest:
            block = min(2 * block, longest - count, _BLOCK)
            tags = np.ndarray((block, width), np.uint8, self.buffer, at + count * stride, (stride, 1))
            same = (tags == np.frombuffer(tag, np.uint8)).all(axis=1)
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
            raise self.error(at, "the file or message ends within a number: it is truncated or damaged")
        raise self.error(at, "a number of more than 64 bits: not a Caffe weights file, or a damaged one")

    def _count(self, at: int) -> None:
        self._fields_read += 1
        if self._fields_read > MAX_FIELDS:
            raise self.error(at, f"more than {MAX_FIELDS} fields: not a net that Caffe wrote")


def signed(value: int, bits: int = 64) -> int:
    """Convert a varint's unsigned value to the signed value of an int32 or int64 field.

    >>> signed((1 << 64) - 1, 32)
    -1
    """
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def encode_varint(value: int) -> bytes:
    """Encode a non-negative integer as a varint.

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
    """Encode tag and length of a length-delimited field with a payload of `size` bytes."""
    return encode_varint(number << 3 | BYTES) + encode_varint(size)


def encode_text(number: int, text: str) -> bytes:
    """Encode a string field.

    Raises:
        WeightsError: the text has lone surrogates, which UTF-8 cannot hold.
    """
    try:
        raw = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise WeightsError(f"name {excerpt(text)} cannot be written as UTF-8") from error
    return encode_header(number, len(raw)) + raw
