"""Comparing the blobs of two runs."""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

from .report import Row

if TYPE_CHECKING:
    import numpy as np


_PIECE = 1 << 20  # values


def row_of(comparison: str, blob: str, actual: np.ndarray, expected: np.ndarray, tolerance: float) -> Row:
    """Compare one blob: the row for the report."""

    shape = tuple(int(dim) for dim in expected.shape)
    if actual.shape != expected.shape:
        return Row(comparison, blob, shape, float("inf"), float("inf"), False, other_shape=tuple(actual.shape))
    if not expected.size:
        return Row(comparison, blob, shape, 0.0, 0.0, True)
    max_abs, largest = _largest(actual, expected)
    max_rel = max_abs / largest if largest else (0.0 if max_abs == 0 else float("inf"))
    constant = bool(expected.size > 1 and expected.min() == expected.max())
    return Row(comparison, blob, shape, max_abs, max_rel, bool(max_rel <= tolerance), constant=constant)


def _largest(actual: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Return the largest absolute difference, and the largest absolute value expected, piece by piece to save memory."""
    import numpy as np

    differences, values = [0.0], [0.0]
    flat, other = actual.reshape(-1), expected.reshape(-1)
    for start in range(0, flat.size, _PIECE):
        piece, wanted = flat[start : start + _PIECE], other[start : start + _PIECE]
        with np.errstate(invalid="ignore"):
            difference = np.subtract(piece, wanted, dtype=np.float64)
        max_abs, largest = _magnitude(difference), _magnitude(wanted)
        if not (isfinite(max_abs) and isfinite(largest)):
            max_abs = _magnitude(np.where(piece == wanted, 0.0, difference))  # inf - inf is NaN, but equal infinities agree
            largest = _magnitude(wanted[np.isfinite(wanted)])
        differences.append(max_abs)
        values.append(largest)
    return float(np.max(differences)), max(values)  # np.max keeps NaN


def _magnitude(values: np.ndarray) -> float:
    """Return the largest absolute value, 0 of no values, NaN if there is one."""
    return max(float(values.max()), -float(values.min())) if values.size else 0.0
