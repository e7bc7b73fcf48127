"""Formatting of messages as prototxt fields: quoting, shortest floats, two-space indent."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any

from .message import Message, Word, to_float32

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def quote(text: str) -> str:
    r"""Quote a string for prototxt, escaping quotes, backslashes and control characters.

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
    try:
        return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:  # a lone surrogate, which UTF-8 cannot encode
        return "\ufffd"


def number(value: float, double: bool = False) -> str:
    """Return the shortest text that reads back as the same float32 (or double).

    >>> number(0.0010000000474974513), number(1.0), number(1e-5)
    ('0.001', '1', '1e-5')
    """
    if not math.isfinite(value):
        return str(float(value))
    if value == int(value) and abs(value) < 1 << 24:
        return "-0" if value == 0 and math.copysign(1, value) < 0 else str(int(value))
    return _fraction(value, double)


@lru_cache(maxsize=4096)
def _fraction(value: float, double: bool) -> str:
    text = repr(value) if double else _shortest(value)
    mantissa, mark, exponent = text.partition("e")
    if mantissa.endswith(".0"):
        mantissa = mantissa[:-2]
    return f"{mantissa}e{int(exponent)}" if mark else mantissa


def _shortest(value: float) -> str:
    exact = to_float32(value)
    candidates = (f"{value:.{digits}g}" for digits in range(1, 9))
    return next((text for text in candidates if to_float32(float(text)) == exact), f"{value:.9g}")


def fields(message: Message, indent: int = 0, skip: Collection[str] = ()) -> str:
    """Return the fields of a message as prototxt lines, each ending with a newline.

    Args:
        message: the message.
        indent: levels of indentation (two spaces each).
        skip: names of fields to omit.

    >>> print(fields(Message.of("PoolingParameter", pool="AVE", kernel_size=2)), end="")
    pool: AVE
    kernel_size: 2
    """
    lines: list[str] = []
    pairs = message.fields()
    if skip:
        pairs = [pair for pair in pairs if pair[0] not in skip]
    _append_lines(lines, message, pairs, "  " * indent)
    return "".join(lines)


def _append_lines(lines: list[str], message: Message, pairs: Iterable[tuple[str, Any]], pad: str) -> None:
    schema = message.descriptor.fields if message.descriptor is not None else {}
    for name, value in pairs:
        field = schema.get(name)
        kind = field.kind if field is not None else ""
        for item in value if isinstance(value, list) else (value,):
            if isinstance(item, Message):
                lines.append(f"{pad}{name} {{\n")
                _append_lines(lines, item, item.fields(), pad + "  ")
                lines.append(f"{pad}}}\n")
            else:
                lines.append(f"{pad}{name}: {scalar(item, kind)}\n")


def scalar(value: Any, kind: str = "") -> str:
    """Return a scalar as prototxt; `kind` is its field's, "" for an unknown field (whose `Word`s stay bare)."""
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, str):
        return value if kind == "enum" or isinstance(value, Word) else quote(value)
    if isinstance(value, float):
        return number(value, kind != "float")
    return str(value)
