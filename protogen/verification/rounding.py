"""The arbiter between engines that differ: PyTorch in float64, and what rounding to float32 does to each blob.

Engines add the products of a dot product in different orders, and some compute convolutions by Winograd's transforms; none of
them is wrong. How far apart that takes their results depends on the net: on the number of products, on how far they cancel, on
what later layers do with the error. So it is measured, by computing the net in float64 once more with rounding errors added to
each layer (see `backends/noise.py`). The difference that this makes to a blob is its *spread*. An engine's result that is within
`ROUNDING` times the spread of the exact one, a factor that depends on how the engine computes, is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from operator import le
from typing import TYPE_CHECKING

from ..backends import BACKENDS, ROUNDING
from .compare import row_of
from .streams import Shelf

if TYPE_CHECKING:
    import numpy as np

    from ..backends.setting import Blobs, Setting, Stream
    from ..graph.graph import Graph
    from .report import Row

LIMIT = 10
"""Rounding accounts for at most this many times the tolerance: what is further off is shown as a difference in any case."""
RUNS = 2  # with rounding errors; more than one, as in a blob of few values the errors of a single run may cancel


class Arbiter:
    """Judges blobs of engines that ran a graph on the same inputs, where they differ by more than the tolerance.

    Args:
        graph: the graph.
        feed: its inputs.
        setting: of PyTorch.
        tolerance: largest relative error allowed.
    """

    def __init__(self, graph: Graph, feed: Blobs, setting: Setting, tolerance: float) -> None:
        self._graph, self._feed, self._tolerance = graph, feed, tolerance
        self._setting = replace(setting, outputs_only=False, dtype="float64")
        self._cases: dict[Row, tuple[str, str]] = {}
        self._far: set[str] = set()  # comparisons with a row that no rounding accounts for
        self._shelf = Shelf()

    def take(self, row: Row, engines: tuple[str, str], actual: np.ndarray, expected: np.ndarray) -> None:
        """Take a blob to be judged by and by, unless it is within the tolerance.

        Of those that are further off than rounding may account for, only the first of each comparison is taken: where it is off,
        all that is computed from it is, too.

        Args:
            row: its row.
            engines: the backends that computed it and its reference.
            actual, expected: their results.
        """
        far = not row.max_rel <= LIMIT * self._tolerance
        if row.ok or row.other_shape is not None or (far and row.comparison in self._far):
            return
        self._far.update([row.comparison] if far else [])
        self._cases[row] = engines
        for side, value in enumerate((actual, expected)):
            self._shelf.put((row, side), value)

    def judged(self, rows: Sequence[Row]) -> list[Row]:
        """Return rows, of which those taken are `ok` nevertheless if rounding accounts for them."""
        if not self._cases:
            return list(rows)
        distances = self._distances()
        spread = self._spread()
        return [self._verdict(row, distances[row], spread[row.blob]) if row in self._cases else row for row in rows]

    def _verdict(self, row: Row, distances: tuple[float, float], spread: float) -> Row:
        bounds = [ROUNDING.get(engine, 1) * spread for engine in self._cases[row]]
        within = row.max_rel <= LIMIT * self._tolerance and all(map(le, distances, bounds))
        return replace(row, ok=within, rounding=bounds[0], distances=distances)

    def _run(self, noise: int | None = None) -> Stream:
        names = {row.blob for row in self._cases}
        return BACKENDS["torch"](self._graph, self._feed, replace(self._setting, names=names, noise=noise))

    def _distances(self) -> dict[Row, tuple[float, float]]:
        """How far each side of a row is from the exact values, which are put aside, too."""
        distances: dict[Row, tuple[float, float]] = {}
        for blob, exact in self._run():
            self._shelf.put(blob, exact)
            for row in self._cases:
                if row.blob == blob:
                    sides = [row_of("", blob, self._shelf.get((row, side)), exact, 0).max_rel for side in (0, 1)]
                    distances[row] = sides[0], sides[1]
        return distances

    def _spread(self) -> dict[str, float]:
        """The largest relative difference that rounding errors make, by blob."""
        spread: dict[str, float] = {}
        for seed in range(RUNS):
            for blob, noisy in self._run(seed):
                error = row_of("", blob, noisy, self._shelf.get(blob), 0).max_rel
                spread[blob] = max(spread.get(blob, 0.0), error)
        return spread
