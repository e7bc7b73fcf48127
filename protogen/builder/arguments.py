"""What calls of `NetBuilder` take: blobs, windows and fillers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import NetError
from ..prototxt.message import Message

Filler = Mapping[str, Any] | Message | None
Window = int | tuple[int, int]  # one side for both, or (height, width)


def not_a_blob(value: Any) -> str:
    """Return what to say of something that stands where a blob's name should.

    >>> not_a_blob(None)
    'None is not a blob: give its name, as the call that made it returned it (does your function return it?)'
    """
    if value is None:
        return "None is not a blob: give its name, as the call that made it returned it (does your function return it?)"
    if isinstance(value, (list, tuple)):
        return f"{value!r} is not a blob but several: give one of them, or each as an argument of its own"
    return f"{value!r} is not a blob: give its name, as the call that made it returned it"


def windows(label: str, kernel_size: Window | None, stride: Window | None, pad: Window | None) -> dict[str, Any]:
    """Return the fields of a sliding window; pairs are (height, width). `label` names the layer in messages.

    >>> windows("layer 'conv1'", (3, 5), 2, None)
    {'kernel_h': 3, 'kernel_w': 5, 'stride': 2, 'pad': None}
    """
    fields: dict[str, Any] = {}
    for name, whole, value in (("kernel", "kernel_size", kernel_size), ("stride", "stride", stride), ("pad", "pad", pad)):
        if isinstance(value, (tuple, list)):
            if len(value) != 2:
                raise NetError(f"{label}: {whole} takes one number or (height, width), not {value!r}")
            fields[f"{name}_h"], fields[f"{name}_w"] = value
        else:
            fields[whole] = value
    return fields


def filler_fields(filler: Filler | str) -> Filler:
    """Return a filler's fields; a string is its type."""
    return {"type": filler} if isinstance(filler, str) else filler
