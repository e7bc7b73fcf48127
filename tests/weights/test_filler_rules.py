"""Checks of fillers: what filling refuses, they refuse without filling."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from protogen.errors import ProtogenError
from protogen.weights.filler_rules import check
from protogen.weights.fillers import fill

SHAPE = (64, 48, 5, 5)


def test_checking_refuses_what_filling_refuses_and_fills_nothing() -> None:
    def filler(**fields: Any) -> Any:
        defaults = {"value": 0.0, "min": 0.0, "max": 1.0, "mean": 0.0, "std": 1.0, "sparse": -1, "variance_norm": "FAN_IN"}
        return SimpleNamespace(**{**defaults, **fields})

    huge = (1 << 20, 1 << 20, 64, 64)
    for type in ("constant", "uniform", "gaussian", "xavier", "msra", "positive_unitball", "bilinear"):
        check(filler(type=type), huge)
    for wrong in (
        {"type": "kaiming"}, {"type": "uniform", "min": 2.0}, {"type": "gaussian", "std": 0.0}, {"type": "xavier", "sparse": 1},
        {"type": "gaussian", "sparse": 65}, {"type": "msra", "variance_norm": "FAN"},
    ):  # fmt: skip
        for function in (check, lambda *args: fill(*args, seed=0)):
            with pytest.raises(ProtogenError):
                function(filler(**wrong), SHAPE)
