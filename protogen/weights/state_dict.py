"""Read state dicts of PyTorch, `.pth` (`.pt`) and `.safetensors`, without executing pickled code and without copying.

A file of `torch.save` is a zip archive: `data.pkl` describes the tensors as views of storages, `data/<key>` are the storages,
stored uncompressed. The pickle may only name the few functions that rebuild tensors, which this module replaces with its own;
arrays are views of the mapped file. Formats: torch/serialization.py; safetensors' README, "Format".
"""

from __future__ import annotations

import io
import json
import math
import mmap
import os
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..errors import WeightsError, excerpt
from .files import Path, map_file

MAX_AXES = 32
MAX_ENTRIES = 200_000
MAX_PICKLE = 64 << 20
MAX_HEADER = 100 << 20  # the limit of safetensors
PREFIXES = ("module.", "_orig_mod.")
"""Prefixes that DistributedDataParallel and torch.compile add to a module's names."""

_LARGEST = (1 << 31) - 1  # size of an axis, as in Caffe
_ZIP = b"PK\x03\x04"
_PICKLES = tuple(bytes((0x80, version)) for version in (2, 3, 4, 5))
_BFLOAT16 = "bfloat16"  # NumPy lacks this type
_STORAGES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": _BFLOAT16, "LongStorage": "<i8",
    "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "|i1", "ByteStorage": "|u1", "BoolStorage": "|b1",
}  # fmt: skip
_SAFETENSORS = {
    "F32": "<f4", "F64": "<f8", "F16": "<f2", "BF16": _BFLOAT16, "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
# Keys of the state dict in checkpoints of training scripts.
_CHECKPOINT_KEYS = ("state_dict", "model_state_dict", "model", "module", "net")
# Opcodes needed for pickled tensors. Others are unnecessary or could claim memory out of proportion to the file.
_OPCODES = {
    "PROTO", "FRAME", "STOP", "GLOBAL", "STACK_GLOBAL", "REDUCE", "NEWOBJ", "BUILD", "BINPERSID", "MARK", "POP", "POP_MARK",
    "DUP", "MEMOIZE", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1",
    "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINSTRING", "SHORT_BINSTRING", "BINBYTES",
    "SHORT_BINBYTES", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS", "LIST",
    "EMPTY_DICT", "DICT",
    "SETITEM", "SETITEMS", "EMPTY_SET", "ADDITEMS",
}  # fmt: skip


def is_state_dict(path: Path) -> bool:
    """Return whether a file is a zip archive, a pickle or a safetensors file, judging by its first bytes.

    Raises:
        WeightsError: the file cannot be read.
    """
    content = map_file(path)
    return content[:4] == _ZIP or content[:2] in _PICKLES or _is_safetensors(content)


def _is_safetensors(content: mmap.mmap) -> bool:
    return content[8:9] == b"{" and int.from_bytes(content[:8], "little") <= len(content) - 8


def read(path: Path) -> dict[str, np.ndarray]:
    """Read the tensors of a state dict by key.

    Args:
        path: a file of `torch.save(module.state_dict(), path)`, a checkpoint with a state dict under "state_dict", "model" or
            the like, or a `.safetensors` file.

    Returns:
        Arrays of the tensors' shapes and types, as views of the mapped file; bfloat16 becomes float32.

    Raises:
        WeightsError: the file is damaged, contains objects other than tensors, claims more data than it has, or was written by
            PyTorch before 1.6.
    """
    source = os.fspath(path)
    content = map_file(path)
    if content[:4] == _ZIP:
        return _read_archive(content, source)
    if content[:2] in _PICKLES:
        raise WeightsError(
            f"{source}: is a bare Python pickle, as written by PyTorch before 1.6: load it in PyTorch and save it again"
        )
    if _is_safetensors(content):
        return _read_safetensors(content, source)
    raise WeightsError(f"{source}: is neither a state dict saved by torch.save nor a .safetensors file")


# ---- torch.save


class _Storage(NamedTuple):
    dtype: str
    key: str


class _Tensor(NamedTuple):
    """A tensor as described by the arguments of `torch._utils._rebuild_tensor_v2`."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *unused: Any) -> _Tensor:
    numbers = (offset, *shape, *strides) if isinstance(shape, tuple) and isinstance(strides, tuple) else (None,)
    if not isinstance(storage, _Storage) or any(type(number) is not int for number in numbers):
        raise pickle.UnpicklingError("a tensor is not described as in PyTorch")
    return _Tensor(storage, offset, shape, strides)


def _rebuild_parameter(data: Any, *unused: Any) -> Any:
    return data


_GLOBALS: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter,
    ("torch", "Size"): tuple,
}


class _Unpickler(pickle.Unpickler):
    """Builds descriptions of tensors; rejects every other name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _GLOBALS:
            function = _GLOBALS[module, name]
            # A new object each time, because a pickle can set attributes of the object it gets.
            return function if isinstance(function, type) else partial(function)
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return _STORAGES[name]
        raise pickle.UnpicklingError(f"it contains a {excerpt(f'{module}.{name}')}, not only tensors")

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", str(dtype), str(key), *_) if dtype in _STORAGES.values():
                return _Storage(dtype, key)
        raise pickle.UnpicklingError("a storage is not described as in PyTorch")


def _read_archive(content: mmap.mmap, source: str) -> dict[str, np.ndarray]:
    archive = _Archive(content, source)
    try:
        state = _tensors(_unpickled(archive.pickle()))
    except WeightsError:
        raise
    except Exception as error:
        # A damaged pickle can raise almost any exception, all harmless here.
        raise WeightsError(f"{source}: not a state dict: {error or type(error).__name__}; "
                           "write one with torch.save(module.state_dict(), path)") from error  # fmt: skip
    return {key: archive.array(key, tensor) for key, tensor in state.items()}


def _unpickled(data: bytes) -> Any:
    for opcode, argument, _ in pickletools.genops(data):
        # The unpickler would allocate as many memo entries as the argument claims.
        if opcode.name not in _OPCODES or (opcode.name == "LONG_BINPUT" and int(argument or 0) > len(data)):
            raise pickle.UnpicklingError(f"its pickle has the opcode {opcode.name}, which tensors do not need")
    return _Unpickler(io.BytesIO(data)).load()


def _tensors(loaded: Any) -> dict[str, _Tensor]:
    """Return the state dict in an unpickled object: the object itself, or an entry of a checkpoint."""
    for candidate in (loaded, *(loaded.get(key) for key in _CHECKPOINT_KEYS if isinstance(loaded, dict))):
        if isinstance(candidate, dict):
            tensors = {key: value for key, value in candidate.items() if isinstance(value, _Tensor) and isinstance(key, str)}
            if tensors:
                return tensors
    raise pickle.UnpicklingError("it contains no dictionary of tensors")


class _Archive:
    """The zip archive of `torch.save`, whose directory is checked before any data is read."""

    def __init__(self, content: mmap.mmap, source: str) -> None:
        self._content, self._source = content, source
        try:
            with zipfile.ZipFile(_ArchiveReader(content)) as file:
                entries = file.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, EOFError, NotImplementedError, OverflowError, struct.error) as error:
            raise WeightsError(f"{source}: a damaged or truncated zip archive: {error}") from error
        if len(entries) > MAX_ENTRIES:
            raise WeightsError(f"{source}: a zip archive of {len(entries)} files is not a state dict")
        self._entries = {entry.filename: entry for entry in entries}
        pickles = [name for name in self._entries if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1 or any(name.endswith("/constants.pkl") for name in self._entries):
            program = any("/code/" in name or name.endswith((".json", "/constants.pkl")) for name in self._entries)
            kind = "a TorchScript or torch.export program" if program else "a zip archive"
            raise WeightsError(f"{source}: is {kind}, not a state dict: write one with torch.save(module.state_dict(), path)")
        if any(entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size for entry in entries):
            raise WeightsError(f"{source}: a compressed zip archive, not a state dict: torch.save does not compress")
        if sum(entry.file_size for entry in entries) > len(content):
            raise WeightsError(f"{source}: the zip archive claims more data than the file holds")
        self._pickle = pickles[0]
        self._folder = self._pickle[: -len("data.pkl")]
        order = self._entries.get(self._folder + "byteorder")
        if order is not None and bytes(self._bytes(order)) != b"little":
            raise WeightsError(f"{source}: its data is big-endian: load it with PyTorch and save it on this machine")

    def pickle(self) -> bytes:
        entry = self._entries[self._pickle]
        if entry.file_size > MAX_PICKLE:
            raise WeightsError(f"{self._source}: a pickle of {entry.file_size:,} bytes is not a state dict")
        return bytes(self._bytes(entry))

    def array(self, key: str, tensor: _Tensor) -> np.ndarray:
        """Return a tensor as a view of the file."""
        entry = self._entries.get(f"{self._folder}data/{tensor.storage.key}")
        if entry is None:
            raise WeightsError(f"{self._source}: {excerpt(key)}: its data is missing")
        data, dtype = self._bytes(entry), _numpy(tensor.storage.dtype)
        if not _fits(tensor, len(data) // dtype.itemsize):
            raise WeightsError(f"{self._source}: {excerpt(key)}: shape {excerpt(str(tensor.shape))} reaches beyond its data")
        if 0 in tensor.shape:
            return np.zeros(tensor.shape, np.float32)
        strides = tuple(step * dtype.itemsize for step in tensor.strides)
        return _as_floats(np.ndarray(tensor.shape, dtype, data, tensor.offset * dtype.itemsize, strides), tensor.storage.dtype)

    def _bytes(self, entry: zipfile.ZipInfo) -> memoryview:
        """An entry's content: it lies behind a local header of 30 bytes, the name and an extra field."""
        start = entry.header_offset
        header = self._content[start : start + 30]
        name, extra = (int.from_bytes(header[i : i + 2], "little") for i in (26, 28))
        begin = start + 30 + name + extra
        if header[:4] != _ZIP or begin + entry.file_size > len(self._content):
            raise WeightsError(f"{self._source}: damaged zip archive: {excerpt(entry.filename)} is not where its directory says")
        return memoryview(self._content)[begin : begin + entry.file_size]


def _fits(tensor: _Tensor, size: int) -> bool:
    """Return whether a tensor lies within a storage of `size` values and, even with repeated values, has no more of them."""
    shape, strides = tensor.shape, tensor.strides
    if len(shape) != len(strides) or len(shape) > MAX_AXES:
        return False
    if any(not 0 <= number <= _LARGEST for number in (tensor.offset, *shape, *strides)):
        return False
    reach = tensor.offset + 1 + sum((n - 1) * step for n, step in zip(shape, strides))
    return 0 in shape or (reach <= size and math.prod(shape) <= size)


class _ArchiveReader(io.RawIOBase):
    """File object over a mapped file, which `zipfile` can close without closing the mapping."""

    def __init__(self, content: mmap.mmap) -> None:
        super().__init__()
        self._content, self._at = content, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        position = offset + (0, self._at, len(self._content))[whence]
        if position < 0:
            raise OSError("a position before the beginning of the file")
        self._at = position
        return self._at

    def readinto(self, buffer: Any) -> int:
        piece = self._content[self._at : self._at + len(buffer)]
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


# ---- safetensors


def _read_safetensors(content: mmap.mmap, source: str) -> dict[str, np.ndarray]:
    size = int.from_bytes(content[:8], "little")
    if size > MAX_HEADER:
        raise WeightsError(f"{source}: the safetensors header has {size:,} bytes, more than the {MAX_HEADER:,} allowed")
    try:
        header = json.loads(content[8 : 8 + size])
        entries = {key: entry for key, entry in header.items() if key != "__metadata__"}
        data = memoryview(content)[8 + size :]
        return {key: _safe_tensor(entry, data) for key, entry in entries.items()}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise WeightsError(f"{source}: damaged safetensors file: {error or type(error).__name__}") from error


def _safe_tensor(entry: Mapping[str, Any], data: memoryview) -> np.ndarray:
    kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if kind not in _SAFETENSORS:
        raise ValueError(f"elements of type {excerpt(str(kind))}")
    dtype = _numpy(_SAFETENSORS[kind])
    sound = len(shape) <= MAX_AXES and all(type(n) is int and 0 <= n <= _LARGEST for n in shape)
    sound = sound and type(begin) is type(end) is int and 0 <= begin <= end <= len(data)
    if not sound or math.prod(shape) * dtype.itemsize != end - begin:
        where = excerpt(str(entry["data_offsets"]))
        raise ValueError(f"shape {excerpt(str(shape))} at {where} does not match the {len(data)} bytes of data")
    return _as_floats(np.frombuffer(data[begin:end], dtype).reshape(shape), _SAFETENSORS[kind])


def _numpy(kind: str) -> np.dtype[Any]:
    return np.dtype("<u2" if kind == _BFLOAT16 else kind)


def _as_floats(array: np.ndarray, kind: str) -> np.ndarray:
    """Convert bfloat16, the upper half of a float32, to float32; return other types unchanged."""
    return (array.astype(np.uint32) << 16).view(np.float32) if kind == _BFLOAT16 else array
