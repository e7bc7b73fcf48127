"""Names of classes, from the files that come with Caffe's models."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import ProtogenError
from ..files import reason
from ..prototxt.parser import parse


def read_labels(path: str | os.PathLike[str]) -> dict[int, str]:
    """Return the names of classes by number.

    Args:
        path: a text with a line for each class, the first for class 0 ("n01440764 tench, Tinca tinca"); or a label map of SSD,
            `item { name: "none" label: 0 display_name: "background" }`.

    Raises:
        ProtogenError: the file cannot be read, or has no names.
    """
    source = os.fspath(path)
    text = _text(source)
    if text.lstrip().startswith("item"):
        items = parse(text, "LabelMap", source).item
        return {int(item.label): str(item.get("display_name", "") or item.name) for item in items}
    return {number: line.strip() for number, line in enumerate(text.rstrip().splitlines())}


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
    """Check that every class has a name.

    Args:
        labels: the names.
        classes: the number of classes.
        blob: the output that they belong to, for the message.

    Raises:
        ProtogenError: there are too few names.
    """
    missing = next((number for number in range(classes) if number not in labels), None)
    if missing is not None:
        raise ProtogenError(
            f"the labels name {len(labels)} classes, but output {blob!r} has {classes}: there is none for class {missing}"
        )
