"""What Caffe's fillers check: types, parameters, shapes that they can fill. Without NumPy, which builders do not import."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from ..errors import ProtogenError, did_you_mean, excerpt

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
    @property
    def diag_val(self) -> Sequence[float]: ...


def check(filler: Filler, shape: Sequence[int]) -> None:
    """Check that a filler can fill a blob of a shape, without filling one.

    Raises:
        ProtogenError: as `fill`.
    """
    dims = tuple(int(dim) for dim in shape)
    if filler.type not in _CHECKS:
        raise ProtogenError(
            f"unknown filler type {excerpt(filler.type)}{did_you_mean(filler.type, _CHECKS)} "
            f"(known: {', '.join(sorted(_CHECKS))})"
        )
    if any(dim <= 0 for dim in dims):
        raise ProtogenError(f"filler {filler.type!r} cannot fill a blob of shape {dims}: it has no elements")
    if filler.type != "gaussian" and filler.sparse != -1:
        raise ProtogenError(f"filler {filler.type!r} does not support sparse; only gaussian does")
    _CHECKS[filler.type](filler, dims)


def _check_uniform(filler: Filler, shape: tuple[int, ...]) -> None:
    if not filler.min <= filler.max or not math.isfinite(filler.max - filler.min):
        raise ProtogenError(f"filler 'uniform' needs min <= max, both finite, not {filler.min} and {filler.max}")


def _check_gaussian(filler: Filler, shape: tuple[int, ...]) -> None:
    if not 0 < filler.std < math.inf or not math.isfinite(filler.mean):
        raise ProtogenError(f"filler 'gaussian' needs a finite mean and std > 0, not {filler.mean} and {filler.std}")
    outputs = first_axis(filler, shape) if filler.sparse != -1 else 0
    if filler.sparse != -1 and not 0 <= filler.sparse <= outputs:
        raise ProtogenError(
            f"filler 'gaussian' needs sparse between 0 and the {outputs} outputs (or -1 for none), not {filler.sparse}"
        )


def _check_edge(filler: Filler, shape: tuple[int, ...]) -> None:
    if len(shape) != 4 or shape[2:] != (3, 3):
        raise ProtogenError(f"filler {filler.type!r} needs a 4-D blob with a 3x3 kernel, not shape {shape}")


def _check_diagonal(filler: Filler, shape: tuple[int, ...]) -> None:
    if not 2 <= len(shape) <= 4:
        raise ProtogenError(f"filler 'diagonal' needs a blob with 2 to 4 axes, not shape {shape}")


def _check_bilinear(filler: Filler, shape: tuple[int, ...]) -> None:
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ProtogenError(f"filler 'bilinear' needs a 4-D blob with a square kernel, not shape {shape}")


def fan(filler: Filler, shape: tuple[int, ...]) -> float:
    """Return the number of inputs, outputs, or their mean, that a filler divides by (`variance_norm`)."""
    norm = filler.variance_norm
    if norm not in _VARIANCE_NORMS:
        raise ProtogenError(
            f"filler {filler.type!r}: unknown variance_norm {excerpt(str(norm))}{did_you_mean(str(norm), _VARIANCE_NORMS)}"
        )
    count = math.prod(shape)
    fan_in = count // first_axis(filler, shape)
    fan_out = count // shape[1] if len(shape) > 1 else count
    return {"FAN_IN": fan_in, "FAN_OUT": fan_out, "AVERAGE": (fan_in + fan_out) / 2}[norm]


def first_axis(filler: Filler, shape: tuple[int, ...]) -> int:
    """Return the size of a blob's first axis."""
    if not shape:
        raise ProtogenError(f"filler {filler.type!r} needs a blob with at least one axis")
    return shape[0]


_CHECKS: dict[str, Callable[[Filler, tuple[int, ...]], object]] = {
    "constant": lambda filler, shape: None,
    "uniform": _check_uniform,
    "gaussian": _check_gaussian,
    "xavier": fan,
    "msra": fan,
    "positive_unitball": first_axis,
    "bilinear": _check_bilinear,
    "diagonal": _check_diagonal,
    "gaussian_unitball": first_axis,
    "EdgeX": _check_edge,
    "EdgeY": _check_edge,
}
