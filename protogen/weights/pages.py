"""Process arrays that are views of a mapped file without keeping the file in memory.

Pages of a mapped file, once read, count as memory of the process until the system reclaims them. This module releases them
right after use, so that converting a file needs only the memory of the result.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np

CHUNK = 4 << 20
"""Values per chunk: 16 MB of float32."""


def chunks(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the values in C order as flat pieces; requesting the next piece releases the pages of the last one.

    >>> [piece.tolist() for piece in chunks(np.ones((1, 2)))]
    [[1.0, 1.0]]
    """
    flat = array.reshape(-1)
    for start in range(0, flat.size, CHUNK):
        piece = flat[start : start + CHUNK]
        yield piece
        release(piece)


def copy(target: np.ndarray, source: np.ndarray) -> None:
    """Copy values in C order into an array of the same size, by `chunks`."""
    flat = target.reshape(-1)
    at = 0
    for piece in chunks(source):
        flat[at : at + piece.size] = piece
        at += piece.size


def release(array: np.ndarray) -> None:
    """Release the pages of a view of a read-only mapped file, to be fetched again when read; ignore other arrays."""
    if array.nbytes < mmap.PAGESIZE or array.flags.writeable or not array.flags.c_contiguous:
        return
    mapped = _mapping(array)
    if mapped is None or not hasattr(mapped, "madvise"):
        return
    offset = _address(array) - _address(np.frombuffer(mapped, np.uint8))
    start = offset - offset % mmap.PAGESIZE
    with suppress(OSError, ValueError):
        mapped.madvise(mmap.MADV_DONTNEED, start, offset + array.nbytes - start)


def _mapping(array: np.ndarray) -> mmap.mmap | None:
    base: Any = array
    while isinstance(base, (np.ndarray, memoryview)):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return base if isinstance(base, mmap.mmap) else None


def _address(array: np.ndarray) -> int:
    address: int = array.__array_interface__["data"][0]
    return address
