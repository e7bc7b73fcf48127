"""Options of a conversion; each target has a dataclass for its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from ..errors import ConversionError, did_you_mean

T = TypeVar("T")


def settings_of(kind: type[T], options: Mapping[str, Any], what: str) -> T:
    """Convert options by name to a dataclass.

    Args:
        kind: the dataclass.
        options: values by field name; other fields keep their defaults.
        what: the target, for the error message.

    Raises:
        ConversionError: no such option, or an invalid value.
    """
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for name in options:
        if name not in names:
            raise ConversionError(f"{what} takes no option {name!r}{did_you_mean(name, names)} (it takes: {', '.join(names)})")
    return kind(**options)
