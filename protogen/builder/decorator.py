"""`@block`, which turns a function of a builder into a building block."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, overload

from .net_builder import NetBuilder

R = TypeVar("R")


@overload
def block(function: Callable[..., R]) -> Callable[..., R]: ...


@overload
def block(function: None = None, *, prefix: bool) -> Callable[[Callable[..., R]], Callable[..., R]]: ...


def block(
    function: Callable[..., R] | None = None, *, prefix: bool = True
) -> Callable[..., R] | Callable[[Callable[..., R]], Callable[..., R]]:
    """Turn a function `f(builder, bottom, ...)` into a block, which prefixes names, is a group in summaries and can nest.

    Call the block with the builder, the bottom (by default the builder's last blob), the function's other arguments, and
    `name=`, the prefix of the names inside; by default it is the function's name with a number.

    Args:
        function: the function; the block returns its result.
        prefix: prefix names inside with the block's name.

    >>> from protogen import NetBuilder, block
    >>> @block
    ... def bottleneck(b, x, channels):
    ...     x = b.conv_block(x, channels, 1, name="reduce")
    ...     return b.conv_block(x, channels, 3, name="conv")
    >>> b = NetBuilder()
    >>> _ = b.input("data", (1, 3, 8, 8))
    >>> bottleneck(b, b.last, 4), bottleneck(b, b.last, 4, name="neck")
    ('bottleneck1/conv', 'neck/conv')
    """
    return _as_block(function, prefix) if function is not None else functools.partial(_as_block, prefix=prefix)


def _as_block(function: Callable[..., R], prefix: bool) -> Callable[..., R]:
    @functools.wraps(function)
    def call(builder: NetBuilder, *args: Any, name: str | None = None, **kwargs: Any) -> R:
        if not args or not isinstance(args[0], str):
            args = (builder.last, *args)
        with builder.scope(name or builder.unused_scope(function.__name__), prefix=prefix):
            return function(builder, *args, **kwargs)

    return call
