"""Engines that go wrong, to see what is made of it."""

from __future__ import annotations

from typing import Any

import pytest

from protogen.backends import BACKENDS


def wrong(monkeypatch: pytest.MonkeyPatch, backend: str, change: Any) -> None:
    """Let a backend's results be changed by a function of the blobs."""
    right = BACKENDS[backend]

    def run(*args: Any, **options: Any) -> Any:
        blobs = dict(right(*args, **options))
        change(blobs)
        yield from blobs.items()

    monkeypatch.setitem(BACKENDS, backend, run)
