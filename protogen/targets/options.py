"""Options of a conversion: each target has a dataclass of those it takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from ..errors import ConversionError, did_you_mean

T = TypeVar("T")


def settings_of(kind: type[T], options: Mapping[str, Any], what: str) -> T:
    """Options by name as a dataclass.

    Args:
        kind: the dataclass.
        options: values by the names of its fields; the others keep their defaults.
        what: what takes these options, for the message.

    Raises:
        ConversionError: it takes no such option, or not such a value.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for name in options:
        if name not in known:
            raise ConversionError(f"{what} takes no option {name!r}{did_you_mean(name, known)} (it takes: {', '.join(known)})")
    return kind(**options)
