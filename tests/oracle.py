"""Reference results of real Caffe in `tests/data`, and how a net is held against them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent / "data" / "layers"
LEGACY = Path(__file__).parent / "data" / "legacy"  # files of older dialects, and what Caffe made of them
FORWARD, BACKWARD = 1e-5, 1e-4  # of max(1, largest reference value)


@dataclass(frozen=True)
class Case:
    """One small net with what Caffe made of it; `values` is keyed "out/<blob>", "param/<layer>/<i>", ..."""

    family: str
    name: str
    values: dict[str, np.ndarray]

    @property
    def prototxt(self) -> str:
        return str(self.values["prototxt"])

    @property
    def phase(self) -> str:
        return str(self.values["phase"])

    def of(self, kind: str) -> dict[str, np.ndarray]:
        """Values of one kind ("in", "out", "top_diff", ...) by blob name."""
        return {key[len(kind) + 1 :]: value for key, value in self.values.items() if key.startswith(kind + "/")}

    def per_layer(self, kind: str) -> dict[str, list[np.ndarray]]:
        """Values of a kind keyed "<layer>/<index>", as lists by layer."""
        result: dict[str, list[np.ndarray]] = {}
        for key, value in sorted(self.of(kind).items(), key=lambda item: int(item[0].rpartition("/")[2])):
            result.setdefault(key.rpartition("/")[0], []).append(value)
        return result


def families() -> list[str]:
    """Names of the families at hand."""
    return sorted(path.stem for path in DATA.glob("*.npz"))


@lru_cache(maxsize=4)
def cases(family: str) -> dict[str, Case]:
    """The cases of a family by name."""
    collected: dict[str, dict[str, np.ndarray]] = {}
    with np.load(DATA / f"{family}.npz", allow_pickle=False) as data:
        for key in data.files:
            case, _, what = key.partition("/")
            collected.setdefault(case, {})[what] = data[key]
    return {name: Case(family, name, values) for name, values in collected.items()}


def case_ids() -> list[tuple[str, str]]:
    """(family, case) of every case."""
    return [(family, name) for family in families() for name in cases(family)]


def assert_close(actual: np.ndarray, expected: np.ndarray, tolerance: float, what: str) -> None:
    """Equal shapes, and max|a - b| at most `tolerance` times max(1, max|b|)."""
    assert tuple(actual.shape) == tuple(expected.shape), f"{what}: shape {actual.shape}, Caffe's {expected.shape}"
    if not expected.size:
        return
    # Empty windows hold -FLT_MAX: equal infinities and extremes would overflow in the difference.
    error = np.max(np.abs(actual.astype(np.float64) - expected.astype(np.float64)))
    bound = tolerance * max(1.0, float(np.max(np.abs(expected))))
    assert error <= bound, f"{what}: off by {error:.3g}, allowed {bound:.3g}"
