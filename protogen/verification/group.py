"""The comparison of all runs of one graph: blobs are compared as they come, and kept no longer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..backends import BACKENDS
from .compare import row_of
from .rounding import Arbiter
from .streams import paired

if TYPE_CHECKING:
    import numpy as np

    from ..backends.setting import Blobs, Setting, Stream
    from ..graph.graph import Graph
    from .report import Row
    from .trials import Trial


class Group:
    """Runs of one graph that are compared with one reference.

    Runs of every blob go side by side with the reference, which thus runs once; of its values, only the outputs are kept, for the
    runs that compute no others.

    Args:
        trials: the runs, of one graph and on the same inputs.
        first: the backend that computes the reference.
        setting: of that backend.
        tolerance: largest relative error allowed.
        left_out: blobs that are not compared.
        judge: whether rounding may account for differences.
    """

    def __init__(
        self, trials: Sequence[Trial], first: str, setting: Setting, tolerance: float, left_out: Collection[str], judge: bool
    ) -> None:  # fmt: skip
        self._trials, self._first, self._setting, self._tolerance = trials, first, setting, tolerance
        self._graph, self._feed = trials[0].of, trials[0].feed
        computed = [value.name for value in self._graph.blobs if value not in self._graph.inputs]
        self._order = {name: number for number, name in enumerate(computed) if name not in left_out}
        self._arbiter = Arbiter(self._graph, self._feed, setting, tolerance) if judge else None
        self._rows: dict[Trial, list[Row]] = {trial: [] for trial in trials}

    def rows(self, outputs: Collection[str]) -> list[Row]:
        """Run all; return a row for each blob of each run, in the net's order.

        Args:
            outputs: the blobs that runs compute which do not compute every one.

        Raises:
            ProtogenError: an engine cannot run the net.
        """
        whole = [trial for trial in self._trials if not trial.setting.outputs_only]
        setting = self._setting if whole else replace(self._setting, outputs_only=True)
        kept: Blobs = {}
        reference = _keeping(BACKENDS[self._first](self._graph, self._feed, setting), outputs, kept)
        self._compare(whole, reference)
        for trial in self._trials:
            if trial.setting.outputs_only:
                self._compare([trial], iter(kept.items()))
        rows = [row for trial in self._trials for row in sorted(self._rows[trial], key=lambda row: self._order[row.blob])]
        return rows if self._arbiter is None else self._arbiter.judged(rows)

    def _compare(self, trials: Sequence[Trial], reference: Stream) -> None:
        """Run trials side by side with a reference."""
        streams = [BACKENDS[trial.backend](trial.graph, trial.feed, trial.setting) for trial in trials]
        for number, blob, actual, expected in paired(reference, streams):
            if blob in self._order:
                self._add(trials[number], blob, actual, expected)
            del actual, expected  # the next blob may need the room

    def _add(self, trial: Trial, blob: str, actual: np.ndarray, expected: np.ndarray) -> None:
        row = row_of(f"{trial.name} / {self._first}", blob, actual, expected, self._tolerance)
        self._rows[trial].append(row)
        if self._arbiter is not None:
            self._arbiter.take(row, (trial.backend, self._first), actual, expected)


def groups(trials: Sequence[Trial]) -> list[list[Trial]]:
    """Put the trials together that have one reference, in order."""
    together: dict[Graph, list[Trial]] = {}
    for trial in trials:
        together.setdefault(trial.of, []).append(trial)
    return list(together.values())


def _keeping(stream: Stream, names: Collection[str], kept: Blobs) -> Stream:
    """Pass a stream on; put some of its blobs into `kept`."""
    for blob, value in stream:
        if blob in names:
            kept[blob] = value
        yield blob, value
        del value
