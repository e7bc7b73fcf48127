"""Layer types from outside the package: an exception in one names the layer and the class, instead of showing a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import LayerError, ProtogenError

if TYPE_CHECKING:
    from .base import LayerType


def is_built_in(cls: type) -> bool:
    """Return whether a class is one of this package's."""
    return cls.__module__.startswith(f"{__package__}.")


def class_name(op: LayerType) -> str:
    """Return the full name of a layer's class, as Python would import it."""
    return f"{type(op).__module__}.{type(op).__qualname__}"


@contextmanager
def blaming(op: LayerType, method: str) -> Iterator[None]:
    """Run a method of a layer; an exception in a class from outside the package becomes a `LayerError` that names it.

    An exception in a class of this package is our bug, and stays as it is.

    Args:
        op: the layer.
        method: the name of the method.

    Raises:
        LayerError: the method failed.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, ProtogenError) or is_built_in(type(op)):
            raise
        raise _failure(op, method, error) from error


def _failure(op: LayerType, method: str, error: Exception) -> LayerError:
    text = " ".join(str(error).split())
    return op.error(f"{class_name(op)}.{method} fails: {type(error).__name__}{': ' if text else ''}{text}")
