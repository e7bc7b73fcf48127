"""The file that HDF5 writes to: an error is raised when all is written, as HDF5 crashes the process if it sees one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO


class Target:
    """A file as h5py uses one, which writes until the first error and from then on only counts.

    Attributes:
        error: the first error, None if there was none.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._at, self._size = file, 0, 0
        self.error: OSError | None = None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, and return where to."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        """Return where the next byte goes."""
        return self._at

    def write(self, data: memoryview) -> int:
        """Write, unless there was an error."""
        if self.error is None:
            try:
                self._file.seek(self._at)
                self._file.write(data)
            except OSError as error:
                self.error = error
        self._at += len(data)
        self._size = max(self._size, self._at)
        return len(data)

    def readinto(self, buffer: memoryview) -> int:
        """Read what is there; zeros beyond it, or after an error."""
        buffer[:] = bytes(len(buffer))
        if self.error is None:
            self._file.flush()
            self._file.seek(self._at)
            data = self._file.read(len(buffer))
            buffer[: len(data)] = data
        self._at += len(buffer)
        return len(buffer)

    def read(self, size: int) -> bytes:
        """Read bytes; h5py takes what has this method for a file."""
        buffer = bytearray(size)
        self.readinto(memoryview(buffer))
        return bytes(buffer)

    def truncate(self, size: int | None = None) -> int:
        """Cut or extend the file."""
        self._size = self._at if size is None else size
        if self.error is None:
            try:
                self._file.truncate(self._size)
            except OSError as error:
                self.error = error
        return self._size

    def flush(self) -> None:
        """Hand all to the system."""
        if self.error is None:
            try:
                self._file.flush()
            except OSError as error:
                self.error = error


@contextmanager
def open_to_write(path: str) -> Iterator[Target]:
    """Open a file for HDF5 while the block runs.

    Raises:
        OSError: writing failed, which is said at the end.
    """
    with open(path, "w+b") as file:
        target = Target(file)
        yield target
        target.flush()
        if target.error is not None:
            raise target.error
