"""Progress reporting: long loops report their steps, the command line displays them; API users see nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

Report = Callable[[str, int, int], None]  # label, steps done, total steps (0 if unknown)
_T = TypeVar("_T")
_report: ContextVar[Report | None] = ContextVar("protogen_progress", default=None)


def track(label: str, items: Iterable[_T], total: int | None = None) -> Iterator[_T]:
    """Iterate over `items`, reporting each step to the current listener, if any.

    Args:
        label: says what is done.
        items: the steps.
        total: their number; by default `len(items)`, if that is known.

    >>> seen = []
    >>> with listening(lambda label, done, total: seen.append((label, done, total))):
    ...     for _ in track("folding", ["a", "b"]):
    ...         pass
    >>> seen
    [('folding', 0, 2), ('folding', 1, 2), ('folding', 2, 2)]
    """
    report = _report.get()
    if report is None:
        yield from items
        return
    if total is None:
        total = len(items) if isinstance(items, Sized) else 0
    done = 0
    report(label, done, total)
    for item in items:
        yield item
        done += 1
        report(label, done, total)


@contextmanager
def listening(report: Report) -> Iterator[None]:
    """Send the reports of `track` to `report` while the block runs."""
    token = _report.set(report)
    try:
        yield
    finally:
        _report.reset(token)
