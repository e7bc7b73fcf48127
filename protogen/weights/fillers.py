"""Caffe's fillers: initial values of learnable blobs.

Formulas: Caffe's include/caffe/filler.hpp. Xavier: Glorot and Bengio, AISTATS 2010; MSRA: He et al., ICCV 2015. EdgeX and EdgeY:
filler.hpp of Ravi-Garg/Unsupervised_Depth_Estimation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from ..errors import ProtogenError, did_you_mean, excerpt

if TYPE_CHECKING:
    import numpy as np

Seed: TypeAlias = "Sequence[int] | int | np.random.Generator"
_VARIANCE_NORMS = ("FAN_IN", "FAN_OUT", "AVERAGE")


class Filler(Protocol):
    """The fields of Caffe's FillerParameter that `fill` reads, with Caffe's defaults where unset."""

    @property
    def type(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def min(self) -> float: ...
    @property
    def max(self) -> float: ...
    @property
    def mean(self) -> float: ...
    @property
    def std(self) -> float: ...
    @property
    def sparse(self) -> int: ...
    @property
    def variance_norm(self) -> str: ...


def fill(filler: Filler, shape: Sequence[int], seed: Seed) -> np.ndarray:
    """Return the initial values of a blob.

    The distributions are Caffe's; the random numbers are NumPy's, so a seed gives the same values on every machine.

    Args:
        filler: its `type` is one of constant (`value`), uniform (`min`, `max`), gaussian (`mean`, `std`, and `sparse`, the
            expected number of non-zero inputs per output, -1 for all), xavier and msra (`variance_norm`: "FAN_IN", "FAN_OUT"
            or "AVERAGE"), positive_unitball, bilinear, or EdgeX and EdgeY (differences of the rows and columns on both sides).
        shape: the blob's shape, such as (out, in, height, width); fan-in is count / shape[0], and fan-out is count / shape[1],
            or the count if there is only one axis.
        seed: a seed or generator, as for `numpy.random.default_rng`.

    Returns:
        A float32 array of that shape.

    Raises:
        ProtogenError: the type is unknown, a parameter is out of range, or the shape does not suit the filler (no elements; for
            bilinear, anything but (n, c, k, k), for edges, anything but (n, c, 3, 3)).

    >>> from types import SimpleNamespace
    >>> filler = SimpleNamespace(type="constant", value=0.5, sparse=-1)
    >>> fill(filler, (2,), seed=0)
    array([0.5, 0.5], dtype=float32)
    """
    check(filler, shape)
    return _FILLERS[filler.type](filler, tuple(int(dim) for dim in shape), seed)


def check(filler: Filler, shape: Sequence[int]) -> None:
    """Check that a filler can fill a blob of a shape, without filling one.

    Raises:
        ProtogenError: as `fill`.
    """
    dims = tuple(int(dim) for dim in shape)
    if filler.type not in _FILLERS:
        raise ProtogenError(
            f"unknown filler type {excerpt(filler.type)}{did_you_mean(filler.type, _FILLERS)} "
            f"(known: {', '.join(sorted(_FILLERS))})"
        )
    if any(dim <= 0 for dim in dims):
        raise ProtogenError(f"filler {filler.type!r} cannot fill a blob of shape {dims}: it has no elements")
    if filler.type != "gaussian" and filler.sparse != -1:
        raise ProtogenError(f"filler {filler.type!r} does not support sparse; only gaussian does")
    if filler.type in _CHECKS:
        _CHECKS[filler.type](filler, dims)


def _constant(filler: Filler, shape: tuple[int, ...], seed: Seed) -> np.ndarray:
    import numpy as np

    return np.full(shape, filler.value, np.float32)


def _check_uniform(filler: Filler, shape: tuple[int, ...]) -> None:
    if not filler.min <= filler.max or not math.isfinite(filler.max - filler.min):
        raise ProtogenError(f"filler 'uniform' needs min <= max, both finite, not {filler.min} and {filler.max}")


def _uniform(filler: Filler, shape: tuple[int, ...], seed: Seed) -> np.ndarray:
    return _uniform_values(filler.min, filler.max, shape, seed)


def _check_gaussian(filler: Filler, shape: tuple[int, ...]) -> None:
    if not 0 < filler.std < math.inf or not math.isfinite(filler.mean):
        raise ProtogenError(f"filler 'gaussian' needs a finite mean and std > 0, not {filler.mean} and {filler.std}")
    outputs = _first_axis(filler, shape) if filler.sparse != -1 else 0
    if filler.sparse != -1 and not 0 <= filler.sparse <= outputs:
        raise ProtogenError(
            f"filler 'gaussian' needs sparse between 0 and the {outputs} outputs (or -1 for none), not {filler.sparse}"
        )


def _gaussian(filler: Filler, shape: tuple[int, ...], seed: Seed) -> np.ndarray:
    import numpy as np

    rng = np.random.default_rng(seed)
    values = _gaussian_values(filler.mean, filler.std, shape, rng)
    if filler.sparse != -1:
        values *= rng.random(shape, np.float32) < filler.sparse / shape[0]
    return values


def _xavier(filler: Filler, shape: tuple[int, ...], seed: Seed) -> np.ndarray:
    scale = math.sqrt(3 / _fan(filler, shape))
    return _uniform_values(-scale, scale, shape, seed)


def _msra(filler: Filler, shape: tuple[int, ...], seed: Seed) -> np.ndarray:
    return _gaussian_values(0.0, math.sqrt(2 / _fan(filler, shape)), shape, seed)


def _positive_unitball(filler: Filler, shape: tuple[int, ...], seed: Seed) -> np.ndarray:
    import numpy as np

    rows = np.random.default_rng(seed).random((_first_axis(filler, shape), math.prod(shape[1:])), np.float32)
    # 1 - u is in (0, 1], so no row sums to zero.
    np.subtract(1, rows, out=rows)
    rows /= rows.sum(axis=1, keepdims=True)
    return rows.reshape(shape)


def _check_bilinear(filler: Filler, shape: tuple[int, ...]) -> None:
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ProtogenError(f"filler 'bilinear' needs a 4-D blob with a square kernel, not shape {shape}")


def _bilinear(filler: Filler, shape: tuple[int, ...], seed: Seed) -> np.ndarray:
    import numpy as np

    size = shape[3]
    factor = math.ceil(size / 2)
    center = (size - 1) / (2 * factor)
    line = 1 - np.abs(np.arange(size) / factor - center)
    return np.broadcast_to(np.outer(line, line), shape).astype(np.float32)


def _edge(filler: Filler, shape: tuple[int, ...], seed: Seed) -> np.ndarray:
    if len(shape) != 4 or shape[2:] != (3, 3):
        raise ProtogenError(f"filler {filler.type!r} needs a 4-D blob with a 3x3 kernel, not shape {shape}")
    kernel = np.zeros((3, 3), np.float32)
    kernel[:, 1] = -0.5, 0, 0.5
    return np.array(np.broadcast_to(kernel if filler.type == "EdgeX" else kernel.T, shape))


def _uniform_values(low: float, high: float, shape: tuple[int, ...], seed: Seed) -> np.ndarray:
    import numpy as np

    values = np.random.default_rng(seed).random(shape, np.float32)
    values *= np.float32(high - low)
    values += np.float32(low)
    return np.clip(values, np.float32(low), np.float32(high), out=values)


def _gaussian_values(mean: float, std: float, shape: tuple[int, ...], seed: Seed) -> np.ndarray:
    import numpy as np

    values = np.random.default_rng(seed).standard_normal(shape, np.float32)
    values *= np.float32(std)
    values += np.float32(mean)
    return values


def _fan(filler: Filler, shape: tuple[int, ...]) -> float:
    norm = filler.variance_norm
    if norm not in _VARIANCE_NORMS:
        raise ProtogenError(
            f"filler {filler.type!r}: unknown variance_norm {excerpt(str(norm))}{did_you_mean(str(norm), _VARIANCE_NORMS)}"
        )
    count = math.prod(shape)
    fan_in = count // _first_axis(filler, shape)
    fan_out = count // shape[1] if len(shape) > 1 else count
    return {"FAN_IN": fan_in, "FAN_OUT": fan_out, "AVERAGE": (fan_in + fan_out) / 2}[norm]


def _first_axis(filler: Filler, shape: tuple[int, ...]) -> int:
    if not shape:
        raise ProtogenError(f"filler {filler.type!r} needs a blob with at least one axis")
    return shape[0]


_FILLERS: dict[str, Callable[[Filler, tuple[int, ...], Seed], np.ndarray]] = {
    "constant": _constant,
    "uniform": _uniform,
    "gaussian": _gaussian,
    "xavier": _xavier,
    "msra": _msra,
    "positive_unitball": _positive_unitball,
    "bilinear": _bilinear,
    "EdgeX": _edge,
    "EdgeY": _edge,
}
_CHECKS: dict[str, Callable[[Filler, tuple[int, ...]], object]] = {
    "uniform": _check_uniform,
    "gaussian": _check_gaussian,
    "xavier": _fan,
    "msra": _fan,
    "positive_unitball": _first_axis,
    "bilinear": _check_bilinear,
}
