"""Settings for the whole suite."""

from __future__ import annotations

import os

import pytest

# Tests run in several processes: one thread each, or they fight for the cores. Must be set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What models a test registers is gone after it."""
    from protogen.models import models, registry

    models()
    monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))
