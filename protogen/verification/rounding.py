"""The arbiter between engines that differ: PyTorch in float64, and what rounding to float32 does to each blob.

Engines add the products of a dot product in different orders, and some compute convolutions by Winograd's transforms; none of
them is wrong. How far apart that takes their results depends on the net: on the number of products, on how far they cancel, on
what later layers do with the error. So it is measured, by computing the net in float64 once more with rounding errors added to
each layer (see `backends/noise.py`). The difference that this makes to a blob is its *spread*. An engine's result that is within
`ROUNDING` times the spread of the exact one, a factor that depends on how the engine computes, is right.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from operator import le
from typing import TYPE_CHECKING

from ..backends import BACKENDS, ROUNDING
from .compare import row_of

if TYPE_CHECKING:
    from ..backends.setting import Blobs, Setting
    from ..graph.graph import Graph
    from .report import Row

LIMIT = 10
"""Rounding accounts for at most this many times the tolerance: what is further off is shown as a difference in any case."""
RUNS = 2  # with rounding errors; more than one, as in a blob of few values the errors of a single run may cancel


class Arbiter:
    """Judges differences between engines that ran a graph on the same inputs; the exact values are computed when first needed.

    Args:
        graph: the graph.
        feed: its inputs.
        setting: of PyTorch.
    """

    def __init__(self, graph: Graph, feed: Blobs, setting: Setting) -> None:
        self._graph, self._feed = graph, feed
        self._setting = replace(setting, outputs_only=False, dtype="float64")

    @cached_property
    def _exact(self) -> Blobs:
        return BACKENDS["torch"](self._graph, self._feed, self._setting)

    @cached_property
    def _spread(self) -> dict[str, float]:
        """The largest relative difference that rounding errors make, by blob."""
        spread = dict.fromkeys(self._exact, 0.0)
        for seed in range(RUNS):
            noisy = BACKENDS["torch"](self._graph, self._feed, replace(self._setting, noise=seed))
            for blob, exact in self._exact.items():
                spread[blob] = max(spread[blob], row_of("", blob, noisy[blob], exact, 0).max_rel)
        return spread

    def judged(self, row: Row, engines: tuple[str, str], blobs: Blobs, reference: Blobs, tolerance: float) -> Row:
        """Return the row of a blob; one that exceeds the tolerance is `ok` nevertheless if rounding accounts for that.

        Args:
            row: the row.
            engines: the backends that computed the blob and its reference.
            blobs, reference: their results.
            tolerance: largest relative error allowed.
        """
        if row.ok or row.other_shape is not None:
            return row
        blob = row.blob
        bounds = [ROUNDING.get(engine, 1) * self._spread[blob] for engine in engines]
        distances = [row_of("", blob, values[blob], self._exact[blob], 0).max_rel for values in (blobs, reference)]
        within = row.max_rel <= LIMIT * tolerance and all(map(le, distances, bounds))
        return replace(row, ok=within, rounding=bounds[0], distances=(distances[0], distances[1]))
