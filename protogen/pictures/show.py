"""Results as text, and as files."""

from __future__ import annotations

import math
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ProtogenError
from ..files import replacing
from ..prototxt.names import as_utf8
from ..report.table import Column, PlainTable
from .draw import drawn_detections, drawn_map
from .picture import write_picture
from .result import CLASSES, DETECTIONS, MAPS, NUMBERS, Result

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

_SHOWN = 5  # classes of a map


def tables(result: Result, top: int = 5, threshold: float = 0.5) -> Iterator[tuple[str, PlainTable | None]]:
    """Yield for each output a line about it, and its table if it has one.

    Args:
        result: the result.
        top: number of classes to show.
        threshold: lowest score of a detection.

    Raises:
        ProtogenError: a class has no name in the labels.
    """
    for name, kind in kinds(result).items():
        value = result.outputs[name]
        shape = "x".join(map(str, value.shape))
        if kind == CLASSES:
            yield f"{name}: the best of {value.size} classes", _classes(result, name, top)
        elif kind == DETECTIONS:
            count = len(result.detections(threshold, name))
            many = f"{count} detection{'s' if count != 1 else ''}"
            yield f"{name}: {many} with a score of at least {threshold:g}", _boxes(result, name, threshold) if count else None
        elif kind == MAPS and value.shape[1] > 1:
            line, table = _shares(result, name)
            yield f"{name}: {shape}, {line}", table
        else:
            yield f"{name}: {shape}, {_statistics(value)}", None


def kinds(result: Result) -> dict[str, str]:
    """The kinds of the outputs; a vector counts as scores of classes if there are names for just as many."""
    vectors = {name for name, value in result.outputs.items() if value.size == len(result.labels) and value.size > 1}
    return {name: CLASSES if kind == NUMBERS and name in vectors else kind for name, kind in result.kinds.items()}


def as_dict(result: Result, top: int = 5, threshold: float = 0.5) -> dict[str, Any]:
    """Return what `tables` shows as plain data for JSON, which has no NaN and no infinity: None stands for them."""
    outputs: dict[str, Any] = {}
    for name, kind in kinds(result).items():
        value = result.outputs[name]
        entry: dict[str, Any] = {"kind": kind, "shape": list(value.shape)}
        if kind == CLASSES:
            entry["classes"] = [row._asdict() for row in result.classes(top, name)]
        elif kind == DETECTIONS:
            entry["detections"] = [row._asdict() for row in result.detections(threshold, name)]
        else:
            entry |= {what: float(getattr(value, what)()) for what in ("min", "mean", "max")} if value.size else {}
        outputs[name] = _finite(entry)
    height, width = result.picture.shape[:2]
    return {"picture": {"height": height, "width": width}, "outputs": outputs}


def _finite(data: Any) -> Any:
    """Plain data with None for numbers that are not finite."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def _classes(result: Result, name: str, top: int) -> PlainTable:
    table = _table(result, "score")
    for number, score, label in result.classes(top, name):
        table.add_row(f"{score:.4f}", str(number), *([label] if result.labels else []))
    return table


def _table(result: Result, score: str, *numbers: str) -> PlainTable:
    """An empty table of classes, with their labels if there are any."""
    labels = [Column("label", "words")] if result.labels else []
    heads = (Column(name, right=True) for name in numbers)
    return PlainTable(Column(score, right=True), Column("class", right=True), *labels, *heads)


def _boxes(result: Result, name: str, threshold: float) -> PlainTable:
    sides = ("left", "top", "right", "bottom")
    table = _table(result, "score", *sides)
    for box in result.detections(threshold, name):
        label = [box.label] if result.labels else []
        table.add_row(f"{box.score:.4f}", str(box.number), *label, *(f"{getattr(box, side):.0f}" for side in sides))
    return table


def _shares(result: Result, name: str) -> tuple[str, PlainTable | None]:
    """A line and the table of the most frequent classes of a map; positions whose values are NaN have none."""
    import numpy as np

    maps = result.maps(name)
    valid = ~np.isnan(maps).any(0)
    if not valid.any():
        return "values are NaN at all positions: no classes", None
    line = "the classes with the highest value at the most positions"
    if not valid.all():
        line += f", leaving out {valid.size - valid.sum()} of {valid.size}, whose values are NaN"
    counts = np.bincount(maps.argmax(0)[valid])
    table = _table(result, "share")
    for number in np.argsort(-counts, kind="stable")[:_SHOWN].tolist():
        if counts[number]:
            table.add_row(
                f"{counts[number] / counts.sum():.1%}", str(number), *([result.labels.get(number, "")] if result.labels else [])
            )
    return line, table


def _statistics(value: np.ndarray) -> str:
    return f"from {value.min():.4g} to {value.max():.4g}, mean {value.mean():.4g}" if value.size else "no values"


def write_pictures(result: Result, path: str, threshold: float = 0.5) -> list[str]:
    """Write what can be drawn as PNG: the picture with its detections, and maps; return the files' names.

    Several of them are called after their outputs: `out.png` stands for `out-fuse.png` and `out-side.png`.

    Raises:
        ProtogenError: nothing can be drawn, or as `files.replacing`.
    """
    drawn: dict[str, Image.Image] = {}
    for name, kind in result.kinds.items():
        if kind == DETECTIONS:
            drawn[name] = drawn_detections(result, threshold, name)
        elif kind == MAPS:
            drawn[name] = drawn_map(result, name)
    if not drawn:
        listed = ", ".join(f"{name!r}: {kind}" for name, kind in result.kinds.items())
        raise ProtogenError(f"{path}: there is nothing to draw ({listed}); a file ending in .npz gets the values")
    start, ending = os.path.splitext(path)
    names = {name: path if len(drawn) == 1 else f"{start}-{re.sub(r'[^A-Za-z0-9._-]', '_', name)}{ending}" for name in drawn}
    if len(set(names.values())) < len(names):
        names = {name: f"{start}-{place}{ending}" for place, name in enumerate(drawn)}
    for name, image in drawn.items():
        write_picture(names[name], image)
    return list(names.values())


def write_values(outputs: Mapping[str, np.ndarray], path: str) -> None:
    """Write arrays by name as .npz, as `numpy.load` reads it.

    Raises:
        ProtogenError: as `files.replacing`.
    """
    import numpy as np

    # numpy.savez would take a blob called "file" for its own argument, and adds .npz to the temporary name.
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, value in outputs.items():
            with archive.open(f"{as_utf8(name)}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(value), allow_pickle=False)
