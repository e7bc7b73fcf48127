"""Read and write `.caffemodel` files, Caffe's binary NetParameter.

Field numbers: BVLC caffe.proto. Only layer names, layer types and blobs are read: forks reuse the other field numbers for
different things. Semantics of blobs: `Blob::FromProto` in Caffe's src/caffe/blob.cpp.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..errors import WeightsError, excerpt
from ..files import replacing
from ..prototxt.upgrade_v0 import type_today
from ..prototxt.upgrade_v1 import type_by_number
from .blobs import LayerBlobs
from .files import Path, map_file
from .wire import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    Wire,
    WireField,
    encode_header,
    encode_text,
    encode_varint,
    signed,
)

MAX_BYTES = (1 << 31) - 1
"""Largest message that protobuf, and thus Caffe, can read."""
MAX_AXES = 32
"""Caffe's kMaxBlobAxes."""
MAX_COUNT = (1 << 31) - 1
"""Caffe counts the elements of a blob in an int."""

Layer = tuple[str, str, Sequence[str], Sequence[str], Sequence[ArrayLike | None]]
"""A layer to write: name, type, bottoms, tops, blobs (None only if the format allows it)."""

FLOAT32 = np.dtype("<f4")
_FLOAT64 = np.dtype("<f8")
_FLOAT16 = np.dtype("<f2")
# NVIDIA's caffe.proto, enum Type.
RAW_TYPES: dict[int, np.dtype] = {0: _FLOAT64, 1: FLOAT32, 2: _FLOAT16}


class _Dialect(NamedTuple):
    """Field numbers of one generation of layer messages."""

    name: int
    type: int
    blobs: int
    v0_layer: int = 0


_LAYER = _Dialect(name=1, type=2, blobs=7)
_V1 = _Dialect(name=4, type=5, blobs=6, v0_layer=1)
_V0 = _Dialect(name=1, type=2, blobs=50)
# Fields `layer` and `layers` of NetParameter.
_NET_FIELDS = {100: _LAYER, 2: _V1}


def read(path: Path) -> list[LayerBlobs]:
    """Read the layers of a `.caffemodel` of any age by mapping it into memory.

    Supported are today's layers, V1 layers (numbered types) and V0 layers nested in V1 ones; blobs with `shape` or with
    num/channels/height/width (kept as a 4-D shape); float data in one or several chunks, packed or not; double data; and NVIDIA
    Caffe's raw float16, float32 and float64 data. Contiguous float32 data become read-only views of the file; all other data
    are converted into float32 copies.

    Args:
        path: the file.

    Returns:
        The layers in file order, including those without blobs. Types are today's names; a V1 type that BVLC Caffe lacks is
        `V1:<number>`.

    Raises:
        WeightsError: the file is missing, empty, truncated, damaged or not a caffemodel, or a blob's shape does not match its
            data. Sizes are checked before memory is allocated.
    """
    return parse(map_file(path), os.fspath(path))


def parse(content: mmap.mmap | bytes, source: str = "<bytes>") -> list[LayerBlobs]:
    """Read the layers of a caffemodel in memory, as `read` does.

    Args:
        content: the file's bytes, which the returned arrays keep alive.
        source: its name in messages.

    Raises:
        WeightsError: as `read`.

    >>> parse(bytes.fromhex("a2060b 0a0161 3a06 2a04 0000803f"))[0].blobs
    [array(1., dtype=float32)]
    """
    wire = Wire(content, source)
    layers = []
    for field in wire.fields():
        if field.number in _NET_FIELDS:
            wire.expect(field, BYTES)
            layers.append(_read_layer(wire, field, _NET_FIELDS[field.number]))
    if not layers:
        raise WeightsError(f"{source}: contains no layers: not a .caffemodel, or a truncated one")
    return layers


def _read_layer(wire: Wire, message: WireField, dialect: _Dialect) -> LayerBlobs:
    name = kind = ""
    blobs = []
    for field in wire.fields(message.start, message.end):
        if field.number == dialect.v0_layer:
            wire.expect(field, BYTES)
            # Caffe's upgrade takes name, type and blobs only from the nested V0 message.
            return _read_layer(wire, field, _V0)
        if field.number == dialect.name:
            name = wire.text(field)
        elif field.number == dialect.type:
            kind = _type_name(wire, field, dialect)
        elif field.number == dialect.blobs:
            wire.expect(field, BYTES)
            blobs.append(field)
    return LayerBlobs(
        name,
        kind,
        [read_blob(wire, blob.start, blob.end, f"layer {excerpt(name)}, blob {index}: ") for index, blob in enumerate(blobs)],
    )


def _type_name(wire: Wire, field: WireField, dialect: _Dialect) -> str:
    if dialect is _V1:
        wire.expect(field, VARINT)
        today = type_by_number(field.value)
        return f"V1:{field.value}" if today is None else today
    name = wire.text(field)
    return type_today(name) if dialect is _V0 else name


class _Piece(NamedTuple):
    """Equidistant values in the file."""

    dtype: np.dtype
    offset: int
    size: int
    stride: int

    def view(self, buffer: mmap.mmap | bytes) -> np.ndarray:
        return np.ndarray((self.size,), self.dtype, buffer, self.offset, (self.stride,))


def read_blob(wire: Wire, start: int, end: int, where: str = "") -> np.ndarray:
    """Read the BlobProto in bytes `start` to `end`.

    Args:
        wire: the file.
        start: offset of the message.
        end: offset after the message.
        where: prefix of error messages, such as "layer 'conv1', blob 0: ".

    Returns:
        A read-only float32 array of the blob's shape.

    Raises:
        WeightsError: the message is damaged, or shape and data do not match.
    """
    shape: list[int] = []
    legacy: dict[int, int] = {}
    raw_type: int | None = None
    floats: list[_Piece] = []
    doubles: list[_Piece] = []
    raw: WireField | None = None
    for field in wire.fields(start, end):
        number = field.number
        if number <= 4:
            wire.expect(field, VARINT)
            legacy[number] = signed(field.value, 32)
        elif number == 5:
            floats.append(_piece(wire, field, FIXED32, FLOAT32, where))
        elif number == 7:
            wire.expect(field, BYTES)
            _read_shape(wire, field, shape, where)
        elif number == 8:
            doubles.append(_piece(wire, field, FIXED64, _FLOAT64, where))
        elif number == 10 and field.kind == VARINT:
            raw_type = field.value
        elif number == 12 and field.kind == BYTES:
            raw = field
    # Precedence as in Caffe and NVIDIA's fork: legacy dimensions over `shape`, doubles over floats, floats over raw data.
    dims = tuple(legacy.get(number, 0) for number in (1, 2, 3, 4)) if legacy else tuple(shape)
    pieces = [piece for piece in doubles if piece.size] or [piece for piece in floats if piece.size]
    if not pieces and raw is not None:
        pieces = [_raw_piece(wire, raw, raw_type, where)]
    _check_count(wire, start, dims, sum(piece.size for piece in pieces), where)
    return _join(wire.buffer, pieces, dims)


def _read_shape(wire: Wire, message: WireField, shape: list[int], where: str) -> None:
    for field in wire.fields(message.start, message.end):
        if field.number != 1:
            continue
        wire.expect(field, BYTES, VARINT)
        values: Iterable[int] = (field.value,) if field.kind == VARINT else wire.varints(field.start, field.end)
        for value in values:
            if len(shape) == MAX_AXES:
                raise wire.error(field.at, f"{where}a shape of more than {MAX_AXES} axes")
            shape.append(signed(value))


def _piece(wire: Wire, field: WireField, kind: int, dtype: np.dtype, where: str) -> _Piece:
    wire.expect(field, BYTES, kind)
    if field.kind != BYTES:
        return _Piece(dtype, field.start, field.repeats, field.stride)
    count, remainder = divmod(field.end - field.start, dtype.itemsize)
    if remainder:
        raise wire.error(
            field.at,
            f"{where}{field.end - field.start} bytes of data are not a whole number of {dtype.itemsize}-byte values",
        )
    return _Piece(dtype, field.start, count, dtype.itemsize)


def _raw_piece(wire: Wire, field: WireField, raw_type: int | None, where: str) -> _Piece:
    dtype = RAW_TYPES.get(-1 if raw_type is None else raw_type)
    if dtype is None:
        name = "no type" if raw_type is None else f"type {raw_type}"
        raise wire.error(field.at, f"{where}raw data of {name}, not float16, float32 or float64")
    return _piece(wire, field, BYTES, dtype, where)


def _check_count(wire: Wire, at: int, dims: tuple[int, ...], count: int, where: str) -> None:
    if any(dim < 0 or dim > MAX_COUNT for dim in dims) or math.prod(dim for dim in dims if dim) > MAX_COUNT:
        raise wire.error(at, f"{where}shape {dims} is negative or has more than {MAX_COUNT} elements, Caffe's limit")
    elements = math.prod(dims)
    if elements == count:
        return
    if not count:
        raise wire.error(
            at,
            f"{where}shape {dims} has {elements} elements, but there is no data: "
            "the weights were stripped or are stored in a format that Caffe does not have",
        )
    raise wire.error(at, f"{where}shape {dims} has {elements} elements, but there are {count} values")


def _join(buffer: mmap.mmap | bytes, pieces: list[_Piece], dims: tuple[int, ...]) -> np.ndarray:
    if len(pieces) == 1 and pieces[0].dtype == FLOAT32 and pieces[0].stride == FLOAT32.itemsize:
        return np.frombuffer(buffer, FLOAT32, pieces[0].size, pieces[0].offset).reshape(dims)
    joined = np.empty(sum(piece.size for piece in pieces), FLOAT32)
    filled = 0
    # Doubles beyond float32's range become infinite, as in Caffe.
    with np.errstate(over="ignore", invalid="ignore"):
        for piece in pieces:
            joined[filled : filled + piece.size] = piece.view(buffer)
            filled += piece.size
    joined.flags.writeable = False
    return joined.reshape(dims)


def write(path: Path, name: str, layers: Iterable[Layer]) -> None:
    """Write a `.caffemodel` in today's format, readable by Caffe, its forks and OpenCV 4.

    The file is streamed layer by layer, and appears at `path` only when it is complete.

    Args:
        path: the file to write. An existing file is replaced, which is safe even while arrays are views of it.
        name: the net's name.
        layers: (name, type, bottoms, tops, blobs) of each layer in order; may be a generator. Blobs are arrays of any real type
            and are stored as float32.

    Raises:
        WeightsError: the file would exceed 2 GiB, protobuf's limit, or a blob is not an array of real numbers.
        ProtogenError: writing failed.

    >>> import tempfile, os
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "a.caffemodel")
    ...     write(path, "net", [("ip", "InnerProduct", ["data"], ["ip"], [np.ones((2, 3))])])
    ...     [blob.shape for layer in read(path) for blob in layer.blobs]
    [(2, 3)]
    """
    with replacing(path) as temporary, open(temporary, "wb") as file:
        head = encode_text(1, name) if name else b""
        file.write(head)
        total = len(head)
        for layer in layers:
            parts = list(_layer_parts(layer))
            size = sum(part.size for part in parts)
            header = encode_header(100, size)
            total += len(header) + size
            if total > MAX_BYTES:
                raise WeightsError(
                    f"{os.fspath(path)}: the weights exceed 2 GiB, the limit of a .caffemodel; write a .caffemodel.h5 instead"
                )
            file.write(header)
            for part in parts:
                part.write(file)


class _Part(NamedTuple):
    """Bytes, then an array's values as float32, then bytes."""

    before: bytes
    values: np.ndarray | None = None
    after: bytes = b""

    @property
    def size(self) -> int:
        values = 0 if self.values is None else self.values.size * FLOAT32.itemsize
        return len(self.before) + values + len(self.after)

    def write(self, file: BinaryIO) -> None:
        file.write(self.before)
        if self.values is not None:
            file.writelines(chunk.data for chunk in float32_chunks(self.values))
        file.write(self.after)


def _layer_parts(layer: Layer) -> Iterator[_Part]:
    name, kind, bottoms, tops, blobs = layer
    yield _Part(
        encode_text(1, name)
        + encode_text(2, kind)
        + b"".join(encode_text(3, bottom) for bottom in bottoms)
        + b"".join(encode_text(4, top) for top in tops)
    )
    for index, blob in enumerate(blobs):
        yield _blob_part(as_numbers(blob, name, index))


def _blob_part(values: np.ndarray) -> _Part:
    dims = b"".join(encode_varint(dim) for dim in values.shape)
    # Fields in the order of their numbers (data 5, shape 7), as protobuf writes them; empty ones are omitted.
    after = encode_header(7, len(dims) + len(encode_header(1, len(dims)))) + encode_header(1, len(dims)) + dims
    before = encode_header(5, values.size * FLOAT32.itemsize) if values.size else b""
    part = _Part(before, values, after if dims else b"")
    return _Part(encode_header(7, part.size) + part.before, values, part.after)


def as_numbers(blob: object, layer: str, index: int) -> np.ndarray:
    """Return a blob as an array of real numbers within Caffe's limits, without converting its type.

    Args:
        blob: an array or something that NumPy converts to one.
        layer, index: name the blob in error messages.

    Raises:
        WeightsError: the blob is not an array of real numbers, or exceeds the limits.
    """
    try:
        values = np.asarray(blob)
    except (TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"layer {excerpt(layer)}, blob {index}: not an array: {error}") from error
    if values.dtype.kind not in "fiub":
        raise WeightsError(f"layer {excerpt(layer)}, blob {index}: {values.dtype} values are not real numbers")
    if values.ndim > MAX_AXES or math.prod(dim for dim in values.shape if dim) > MAX_COUNT:
        raise WeightsError(f"layer {excerpt(layer)}, blob {index}: shape {values.shape} exceeds Caffe's limits")
    return values


def float32_chunks(values: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the values in C order as small contiguous float32 arrays, so that conversion needs little memory."""
    yield from np.nditer(
        values,
        ["external_loop", "buffered", "zerosize_ok"],
        op_dtypes=[FLOAT32],
        order="C",
        casting="same_kind",
        buffersize=1 << 18,
    )
