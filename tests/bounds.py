"""Work that must stay within memory and time."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def bounded(megabytes: float = 8, seconds: float = 10) -> Iterator[None]:
    """Fails when the block took more memory at any moment, or more processor time in all."""
    start = time.process_time()
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < megabytes * (1 << 20)
    assert time.process_time() - start < seconds
