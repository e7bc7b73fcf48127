"""Caffe's fillers: initial values of learnable blobs.

Formulas: Caffe's include/caffe/filler.hpp. Xavier: Glorot and Bengio, AISTATS 2010; MSRA: He et al., ICCV 2015. EdgeX and EdgeY:
filler.hpp of Ravi-Garg/Unsupervised_Depth_Estimation; diagonal: of lmb-freiburg/flownet2; gaussian_unitball: of
happynear/caffe-windows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from .filler_rules import Filler, check, fan, first_axis

Seed = Sequence[int] | int | np.random.Generator


def fill(filler: Filler, shape: Sequence[int], seed: Seed) -> np.ndarray:
    """Return the initial values of a blob.

    The distributions are Caffe's; the random numbers are NumPy's, so a seed gives the same values on every machine.

    Args:
        filler: its `type` is one of constant (`value`), uniform (`min`, `max`), gaussian (`mean`, `std`, and `sparse`, the
            expected number of non-zero inputs per output, -1 for all), xavier and msra (`variance_norm`: "FAN_IN", "FAN_OUT"
            or "AVERAGE"), positive_unitball, bilinear, EdgeX and EdgeY (differences of the rows and columns on both sides),
            diagonal (`diag_val`, 1 where there are none, over the kernel's area, from input i to output i) or gaussian_unitball
            (vectors of length 1 in every direction, one per output).
        shape: the blob's shape, such as (out, in, height, width); fan-in is count / shape[0], and fan-out is count / shape[1],
            or the count if there is only one axis.
        seed: a seed or generator, as for `numpy.random.default_rng`.

    Returns:
        A float32 array of that shape.

    Raises:
        ProtogenError: the type is unknown, a parameter is out of range, or the shape does not suit the filler (no elements; for
            bilinear, anything but (n, c, k, k); for edges, anything but (n, c, 3, 3)).

    >>> from types import SimpleNamespace
    >>> filler = SimpleNamespace(type="constant", value=0.5, sparse=-1)
    >>> fill(filler, (2,), seed=0)
    array([0.5, 0.5], dtype=float32)
    """
    check(filler, shape)
    return _FILLERS[filler.type](filler, tuple(int(dim) for dim in shape), seed)


def _constant(filler: Filler, shape: tuple[int, ...], seed: Seed) -> np.ndarray:
    return np.full(shape, filler.value, np.float32)


def _uniform(filler: Filler, shape: tuple[int, ...], seed: Seed) -> np.ndarray:
    return _uniform_values(filler.min, filler.max, shape, seed)


def _gaussian(filler: Filler, shape: tuple[int, ...], seed: Seed) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = _gaussian_values(filler.mean, filler.std, shape, rng)
    if filler.sparse != -1:
        values *= rng.random(shape, np.float32) < filler.sparse / shape[0]
    return values


def _xavier(filler: Filler, shape: tuple[int, ...], seed: Seed) -> np.ndarray:
    scale = math.sqrt(3 / fan(filler, shape))
    return _uniform_values(-scale, scale, shape, seed)


def _msra(filler: Filler, shape: tuple[int, ...], seed: Seed) -> np.ndarray:
    return _gaussian_values(0.0, math.sqrt(2 / fan(filler, shape)), shape, seed)


def _positive_unitball(filler: Filler, shape: tuple[int, ...], seed: Seed) -> np.ndarray:
    rows = np.random.default_rng(seed).random((first_axis(filler, shape), math.prod(shape[1:])), np.float32)
    # 1 - u is in (0, 1], so no row sums to zero.
    np.subtract(1, rows, out=rows)
    rows /= rows.sum(axis=1, keepdims=True)
    return rows.reshape(shape)


def _bilinear(filler: Filler, shape: tuple[int, ...], seed: Seed) -> np.ndarray:
    size = shape[3]
    factor = math.ceil(size / 2)
    center = (size - 1) / (2 * factor)
    line = 1 - np.abs(np.arange(size) / factor - center)
    return np.broadcast_to(np.outer(line, line), shape).astype(np.float32)


def _diagonal(filler: Filler, shape: tuple[int, ...], seed: Seed) -> np.ndarray:
    values = np.zeros(shape, np.float32)
    for i in range(min(shape[:2])):
        value = filler.diag_val[i] if i < len(filler.diag_val) else 1.0
        values[i, i] = value / math.prod(shape[2:])
    return values


def _gaussian_unitball(filler: Filler, shape: tuple[int, ...], seed: Seed) -> np.ndarray:
    rows = _gaussian_values(0.0, 1.0, shape, seed).reshape(shape[0], -1)
    rows /= np.sqrt(np.square(rows).sum(1, keepdims=True) + np.float32(1e-12))
    return rows.reshape(shape)


def _edge(filler: Filler, shape: tuple[int, ...], seed: Seed) -> np.ndarray:
    kernel = np.zeros((3, 3), np.float32)
    kernel[:, 1] = -0.5, 0, 0.5
    return np.array(np.broadcast_to(kernel if filler.type == "EdgeX" else kernel.T, shape))


def _uniform_values(low: float, high: float, shape: tuple[int, ...], seed: Seed) -> np.ndarray:
    values = np.random.default_rng(seed).random(shape, np.float32)
    values *= np.float32(high - low)
    values += np.float32(low)
    return np.clip(values, np.float32(low), np.float32(high), out=values)


def _gaussian_values(mean: float, std: float, shape: tuple[int, ...], seed: Seed) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal(shape, np.float32)
    values *= np.float32(std)
    values += np.float32(mean)
    return values


_FILLERS: dict[str, Callable[[Filler, tuple[int, ...], Seed], np.ndarray]] = {
    "constant": _constant,
    "uniform": _uniform,
    "gaussian": _gaussian,
    "xavier": _xavier,
    "msra": _msra,
    "positive_unitball": _positive_unitball,
    "bilinear": _bilinear,
    "diagonal": _diagonal,
    "gaussian_unitball": _gaussian_unitball,
    "EdgeX": _edge,
    "EdgeY": _edge,
}
