"""The memory of this machine that a process may take, and giving back what it no longer needs."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

_CGROUP = Path("/sys/fs/cgroup")
_FILES = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))  # versions 2 and 1


def available_memory() -> int | None:
    """Return how many bytes this process can still take; None where the system does not say.

    The least of what Linux has free (or can free), what is left of the limit of a container, and what `ulimit -v` leaves.
    """
    known = [size for size in (_free(), _left_in_container(), _left_of_limit()) if size is not None]
    return max(0, min(known)) if known else None


def release_memory() -> None:
    """Give freed memory back to the system, where the C library keeps it (glibc's does, for arrays of up to 32 MiB)."""
    library = _c_library()
    if library is not None:
        library.malloc_trim(0)


@lru_cache(maxsize=1)
def _c_library() -> Any:
    if sys.platform != "linux":
        return None
    with suppress(OSError):
        library = ctypes.CDLL(None)
        return library if hasattr(library, "malloc_trim") else None
    return None


def _free() -> int | None:
    return _entry("/proc/meminfo", "MemAvailable")


def _left_in_container() -> int | None:
    for limit, usage in _FILES:
        with suppress(OSError, ValueError):  # "max" is no number: no limit
            return int((_CGROUP / limit).read_text()) - int((_CGROUP / usage).read_text())
    return None


def _left_of_limit() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    taken = _entry("/proc/self/status", "VmSize")
    return None if limit == resource.RLIM_INFINITY or taken is None else limit - taken


def _entry(path: str, name: str) -> int | None:
    """Return a size from a table of the kernel, in bytes."""
    with suppress(OSError, ValueError):
        for line in Path(path).read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) << 10
    return None
