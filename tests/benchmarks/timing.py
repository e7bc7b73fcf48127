"""Times of functions and of whole processes; benchmarks print ratios within one run, as machines differ."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence


def best(function: Callable[[], object], runs: int = 20) -> float:
    """Shortest time of several calls, in seconds: the one least disturbed by other work."""
    return min(_timed(function) for _ in range(runs))


def process(command: Sequence[str], runs: int = 11) -> float:
    """Median time of a command as a whole process, in seconds."""
    times = sorted(_timed(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL)) for _ in range(runs))
    return times[runs // 2]


def row(what: str, seconds: float, reference: float | None = None, name: str = "reference") -> None:
    """Print a line: milliseconds, and the ratio to a reference time."""
    ratio = f"   {seconds / reference:6.2f} x {name}" if reference else ""
    print(f"{what:56} {seconds * 1e3:9.1f} ms{ratio}", flush=True)


def _timed(function: Callable[[], object]) -> float:
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun
