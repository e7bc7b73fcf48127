"""Errors of a blob: relative to its largest value; no numbers, and other shapes."""

from __future__ import annotations

import numpy as np
import pytest

from protogen.verification import compare, verify
from protogen.verification.compare import row_of
from tests.nets import small_net
from tests.verification.engines import wrong


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_differ(monkeypatch: pytest.MonkeyPatch, bad: float) -> None:
    wrong(monkeypatch, "onnxruntime", lambda blobs: blobs["prob"].__setitem__((0, 0), bad))
    report = verify(small_net())
    assert report.first_difference is not None
    assert report.first_difference.blob == "prob"


def test_another_shape_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong(monkeypatch, "onnxruntime", lambda blobs: blobs.update(prob=blobs["prob"][:1]))
    report = verify(small_net())
    assert report.first_difference is not None
    assert report.first_difference.max_rel == float("inf")


def test_errors_are_relative_to_a_blobs_largest_value() -> None:
    row = row_of("a / b", "y", np.array([100.0, 1.01], np.float32), np.array([100.0, 1.0], np.float32), 1e-3)
    assert row.max_abs == pytest.approx(0.01, rel=1e-4)
    assert row.max_rel == pytest.approx(1e-4, rel=1e-4)
    assert row.ok
    assert not row_of("a / b", "y", np.full(2, 1e-9), np.zeros(2), 1e-3).ok, "a reference of zeros allows no difference"


def test_large_blobs_are_compared_in_pieces_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    expected = rng.standard_normal((5, 7)).astype(np.float32)
    actual = expected + rng.standard_normal((5, 7)).astype(np.float32)
    whole = row_of("", "y", actual, expected, 0)
    monkeypatch.setattr(compare, "_PIECE", 3)
    assert row_of("", "y", actual, expected, 0) == whole
    for place in (0, 17, 34):
        odd = actual.copy()
        odd.flat[place] = np.nan
        assert np.isnan(row_of("", "y", odd, expected, 0).max_rel)
    infinite = expected.copy()
    infinite[2, 3] = np.inf
    assert row_of("", "y", infinite, infinite, 0).ok, "equal infinities agree"
