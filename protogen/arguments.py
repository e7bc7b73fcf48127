"""Checks of what programs pass to protogen: numbers, names and arrays of the wrong type are refused in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from .errors import ProtogenError

if TYPE_CHECKING:
    import numpy as np


def whole(number: Any, what: str) -> int:
    """Return a whole number as an int.

    Args:
        number: an int of Python or NumPy; True and False are none.
        what: the argument, for the message.

    Raises:
        ProtogenError: it is something else.
    """
    if isinstance(number, bool) or not hasattr(number, "__index__"):
        raise ProtogenError(f"{what} takes a whole number, not {number!r}")
    return int(number.__index__())


def mapping(value: Any, what: str, example: str) -> Mapping[str, Any]:
    """Return a mapping.

    Args:
        value: a mapping.
        what: the argument, for the message.
        example: of such a mapping, for the message.

    Raises:
        ProtogenError: it is something else.
    """
    if not isinstance(value, Mapping):
        raise ProtogenError(f"{what} takes a mapping such as {example}, not {value!r}")
    return value


def shapes_of(value: Any) -> dict[str, tuple[int, ...]]:
    """Return shapes of inputs by blob name, {} for None.

    >>> shapes_of({"data": [1, 3, 8, 8]})
    {'data': (1, 3, 8, 8)}

    Raises:
        ProtogenError: it is no mapping, or a shape is not made of whole numbers.
    """
    result = {}
    for name, shape in mapping({} if value is None else value, "inputs=", "{'data': (1, 3, 224, 224)}").items():
        if isinstance(shape, str) or not isinstance(shape, Iterable):
            raise ProtogenError(f"input {name!r} takes a shape such as (1, 3, 224, 224), not {shape!r}")
        result[name] = tuple(whole(size, f"the shape of input {name!r}") for size in shape)
    return result


def names_of(value: Any, what: str) -> list[str]:
    """Return a list of names, of which there is at least one.

    Args:
        value: the names.
        what: the argument, for the message.

    Raises:
        ProtogenError: it is a single text or has no names.
    """
    if isinstance(value, str) or not isinstance(value, Iterable):
        example = [value] if isinstance(value, str) else ["fc"]
        raise ProtogenError(f"{what} takes a list of names such as {example!r}, not {value!r}")
    result = list(value)
    if not result:
        raise ProtogenError(f"{what} is empty: name at least one, or leave it out")
    return result


def float32(values: Any, what: str, error: type[ProtogenError] = ProtogenError) -> np.ndarray:
    """Return an array as float32, as nets compute.

    Args:
        values: real numbers.
        what: the argument, for the message.
        error: the kind of error to raise.

    Raises:
        ProtogenError: they are no real numbers, or finite ones that are too large for float32.
    """
    import numpy as np

    try:
        array = np.asarray(values)
        if array.dtype.kind == "c":
            raise error(f"{what}: complex values; nets compute with real numbers: pass .real or .imag, whichever is meant")
        with np.errstate(over="ignore"):
            result = np.asarray(array, np.float32)
    except (TypeError, ValueError, OverflowError, RuntimeError) as reason:
        raise error(f"{what}: no array of numbers: {reason}") from reason
    if array.dtype.kind == "f" and array.dtype.itemsize > result.itemsize and (np.isinf(result) & np.isfinite(array)).any():
        raise error(f"{what}: {np.abs(array[np.isfinite(array)]).max():g} is too large for float32, with which nets compute")
    return result
