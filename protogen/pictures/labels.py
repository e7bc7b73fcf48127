"""Names of classes, from the files that come with Caffe's models."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..errors import ProtogenError
from ..files import reason
from ..prototxt.parser import parse

_LABEL_MAP = re.compile(r"(?:\s|#[^\n]*\n)*item(?:\s*:?\s*\{|[ \t]*:?[ \t]*<)")  # rather than a class called "item"
_LINE_END = re.compile(r"\r\n|\r|\n")  # str.splitlines would also split names at form feeds and Unicode's separators


def read_labels(path: str | os.PathLike[str]) -> dict[int, str]:
    """Return the names of classes by number.

    Args:
        path: a text with a line for each class, the first for class 0 ("n01440764 tench, Tinca tinca"); or a label map of SSD,
            `item { name: "none" label: 0 display_name: "background" }`.

    Raises:
        ProtogenError: the file cannot be read, has no names, or a label map has a label twice.
    """
    source = os.fspath(path)
    text = _text(source)
    if _LABEL_MAP.match(text):
        return _label_map(text, source)
    return {number: line.strip() for number, line in enumerate(_LINE_END.split(text.rstrip()))}


def _label_map(text: str, source: str) -> dict[int, str]:
    names: dict[int, str] = {}
    for item in parse(text, "LabelMap", source).item:
        number, name = int(item.label), str(item.get("display_name", "") or item.name)
        if number in names:
            raise ProtogenError(f"{source}: the label map has label {number} twice: for {names[number]!r} and for {name!r}")
        names[number] = name
    return names


def _text(path: str) -> str:
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise ProtogenError(f"{path}: cannot read: {reason(error)}") from error
    if b"\0" in data or not data.strip():
        raise ProtogenError(f"{path}: not a text with names of classes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def check_labels(labels: dict[int, str], classes: int, blob: str) -> None:
    """Check that every class has a name, and every name a class.

    Args:
        labels: the names.
        classes: the number of classes.
        blob: the output that they belong to, for the message.

    Raises:
        ProtogenError: there are too few names, or too many.
    """
    missing = next((number for number in range(classes) if number not in labels), None)
    extra = next((number for number in labels if number not in range(classes)), None)
    names = f"the labels name {len(labels)} classes, but output {blob!r} has {classes}"
    if missing is not None:
        raise ProtogenError(f"{names}: there is none for class {missing}")
    if extra is not None:
        raise ProtogenError(f"{names}: it has no class {extra} for {labels[extra]!r}")
