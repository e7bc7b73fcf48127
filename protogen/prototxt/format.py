"""Messages to prototxt fields: quoting, shortest floats, two-space indent."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any

from .message import Message, Word

_FLOAT32 = struct.Struct("<f")
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def quote(text: str) -> str:
    r"""A string as prototxt: in double quotes; quotes, backslashes and control characters escaped.

    >>> print(quote('a "b"\n'))
    "a \"b\"\n"
    """
    if text.isidentifier() or (text.isprintable() and '"' not in text and "\\" not in text):
        return f'"{text}"'
    return '"' + "".join(_escape(character) for character in text) + '"'


def _escape(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))


@lru_cache(maxsize=4096)
def number(value: float, double: bool = False) -> str:
    """The shortest text that reads back as the same float32 (or double).

    >>> number(0.0010000000474974513), number(1.0), number(1e-5)
    ('0.001', '1', '1e-5')
    """
    if value != value or value in (float("inf"), float("-inf")):
        return str(value)
    text = repr(value) if double else _shortest(value)
    mantissa, mark, exponent = text.partition("e")
    if mantissa.endswith(".0"):
        mantissa = mantissa[:-2]
    return f"{mantissa}e{int(exponent)}" if mark else mantissa


def _shortest(value: float) -> str:
    try:
        wanted = _FLOAT32.pack(value)
    except OverflowError:
        return repr(value)
    for digits in range(1, 9):
        text = f"{value:.{digits}g}"
        if _FLOAT32.pack(float(text)) == wanted:
            return text
    return f"{value:.9g}"


def fields(message: Message, indent: int = 0, skip: Collection[str] = ()) -> str:
    """The fields of a message as prototxt lines, each ended by a newline.

    Args:
        message: the message.
        indent: levels of indentation (two spaces each).
        skip: names of fields to leave out.

    >>> print(fields(Message.of("PoolingParameter", pool="AVE", kernel_size=2)), end="")
    pool: AVE
    kernel_size: 2
    """
    return "".join(_lines(message, "  " * indent, skip))


def _lines(message: Message, pad: str, skip: Collection[str] = ()) -> Iterator[str]:
    known = message.descriptor.fields if message.descriptor else {}
    for name, value in message.fields():
        if name in skip:
            continue
        field = known.get(name)
        kind = field.kind if field is not None else ""
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, Message):
                yield f"{pad}{name} {{\n"
                yield from _lines(item, pad + "  ")
                yield f"{pad}}}\n"
            else:
                yield f"{pad}{name}: {scalar(item, kind)}\n"


def scalar(value: Any, kind: str = "") -> str:
    """One scalar as prototxt; `kind` is its field's, "" for an unknown field (where a `Word` stays bare)."""
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, str):
        return value if kind == "enum" or isinstance(value, Word) else quote(value)
    if isinstance(value, float):
        return number(value, kind != "float")
    return str(value)
