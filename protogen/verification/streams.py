"""Reading what several engines compute side by side, so that a blob is in memory only until it has been compared."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Hashable, Iterator, Sequence
from math import prod
from typing import IO, TYPE_CHECKING, Any

from ..errors import ProtogenError
from ..files import reason
from ..weights.pages import chunks

if TYPE_CHECKING:
    import numpy as np

    from ..backends.setting import Blobs, Stream

IN_MEMORY = 64 << 20
"""Bytes of arrays that a `Shelf` keeps in memory."""


def paired(reference: Stream, runs: Sequence[Stream]) -> Iterator[tuple[int, str, np.ndarray, np.ndarray]]:
    """Yield each run's blobs beside those of the reference, as soon as both have come.

    Engines yield blobs in different orders. The next one always comes from the engine of which the fewest bytes are waiting.

    Args:
        reference: the stream that the others are compared with.
        runs: the others.

    Yields:
        The run's number, the blob's name, the run's value and the reference's.

    >>> import numpy as np
    >>> one, two = [("a", np.ones(1)), ("b", np.zeros(1))], [("b", np.ones(1)), ("c", np.ones(1))]
    >>> list(paired(iter(one), [iter(two)]))
    [(0, 'b', array([1.]), array([0.]))]
    """
    streams = [reference, *runs]
    waiting: list[Blobs] = [{} for _ in streams]
    running = dict.fromkeys(range(len(streams)))
    seen: dict[str, int] = {}
    while running:
        at = min(running, key=lambda each: sum(value.nbytes for value in waiting[each].values()))
        blob, value = next(streams[at], ("", None))
        if value is None:
            del running[at]
            continue
        if at:
            waiting[at][blob] = value
        else:
            waiting[0][blob], seen[blob] = value, 0
        del value
        for number in range(len(runs)) if not at else (at - 1,):
            if blob in waiting[0] and blob in waiting[number + 1]:
                seen[blob] += 1
                yield number, blob, waiting[number + 1].pop(blob), waiting[0][blob]
        if seen.get(blob) == len(runs):
            del waiting[0][blob]


class Shelf:
    """Arrays put aside: in memory up to `IN_MEMORY` bytes of them, beyond that in a temporary file, which goes with the shelf."""

    def __init__(self) -> None:
        self._arrays: dict[Hashable, np.ndarray] = {}
        self._places: dict[Hashable, tuple[int, np.dtype[Any], tuple[int, ...]]] = {}
        self._taken = 0
        self._file: IO[bytes] | None = None

    def put(self, key: Hashable, array: np.ndarray) -> None:
        """Put an array aside.

        Raises:
            ProtogenError: the folder of temporary files has no room for it.
        """
        if self._taken + array.nbytes <= IN_MEMORY:
            self._taken += array.nbytes
            self._arrays[key] = array.copy()  # it may be a view of a larger one
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115  # it is open as long as the shelf is there
            self._places[key] = self._file.seek(0, os.SEEK_END), array.dtype, array.shape
            for piece in chunks(array):
                self._file.write(piece.data)
            self._file.flush()
        except OSError as error:
            where = tempfile.gettempdir()
            raise ProtogenError(
                f"{where}: cannot put aside blobs that differ: {reason(error)}; set TMPDIR to a folder with more room"
            ) from error

    def get(self, key: Hashable) -> np.ndarray:
        """Return an array that was put aside."""
        import numpy as np

        if key in self._arrays:
            return self._arrays[key]
        assert self._file is not None
        at, dtype, shape = self._places[key]
        self._file.seek(at)
        return np.fromfile(self._file, dtype, prod(shape)).reshape(shape)
