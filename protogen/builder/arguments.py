"""Arguments of the builder's methods: bottoms that may be left out, sizes of windows, fillers; and what is said of wrong ones."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..errors import NetError
from ..prototxt.message import Message

if TYPE_CHECKING:
    from .composer import Composer

_POOLINGS = {"MAX", "AVE", "STOCHASTIC", "max", "ave", "stochastic"}
_F = TypeVar("_F", bound=Callable[..., Any])
Filler = Mapping[str, Any] | Message | None
Window = int | tuple[int, int]  # one side for both, or (height, width)


def bottom_first(method: _F) -> _F:
    """Make a method's leading bottom optional: `b.conv(32, 3)` and `b.pool("MAX", 3)` continue from `b.last`."""

    @functools.wraps(method)
    def call(self: Composer, *args: Any, **kwargs: Any) -> Any:
        if (args and args[0] is None) or kwargs.get("bottom", "") is None:
            raise NetError(f"{method.__name__}(): its bottom {not_a_blob(None)}; leave it out to continue from the latest blob")
        if args and isinstance(args[0], (tuple, list)) and any(isinstance(item, str) for item in args[0]):
            raise NetError(f"{method.__name__}(): its bottom {not_a_blob(args[0])}")
        names_method = bool(args) and isinstance(args[0], str) and args[0] in _POOLINGS and not self.has_blob(args[0])
        if not args or not isinstance(args[0], str) or "bottom" in kwargs or names_method:
            args = (kwargs.pop("bottom", None) or self.last, *args)
        return method(self, *args, **kwargs)

    return cast(_F, call)


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
    """Return the fields of a sliding window; pairs are (height, width). `label` names the layer in messages."""
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
