"""Names of layers and blobs: new ones, and ones that can be stored as UTF-8."""

from __future__ import annotations

from collections.abc import Container


def unused(name: str, taken: Container[str]) -> str:
    """Return `name`, with as many underscores behind it as make it a new one.

    Args:
        name: the name wished for.
        taken: the names that it must differ from.

    >>> unused("data", {"data", "data_"}), unused("conv", {"data"})
    ('data__', 'conv')
    """
    while name in taken:
        name += "_"
    return name


def as_utf8(text: str) -> str:
    r"""Return text with lone surrogates escaped: they stand for the bytes of a prototxt that are not UTF-8.

    >>> as_utf8(b"n\xff".decode("utf-8", "surrogateescape")), as_utf8("né")
    ('n\\udcff', 'né')
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")
