"""The table of a summary: its columns, and its layers as a tree of groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ProtogenError, did_you_mean
from .table import BAR, Column, PlainTable, size_text

if TYPE_CHECKING:
    from ..graph.receptive_field import Field
    from ..layers.base import Shape
    from .summary import Summary, SummaryRow

_BLOCKS = 10  # of the longest bar
_LEVELS = 8  # of groups inside each other

# By name. `drop` is the order in which columns are left out of a narrow terminal; layer and output stay.
COLUMNS = {
    "layer": Column("layer", "text"),
    "type": Column("type", "text", drop=9),
    "kernel": Column("kernel", drop=8),
    "stride": Column("stride", drop=7),
    "input": Column("input", "words", drop=5),
    "output": Column("output", "words"),
    "memory": Column("memory", right=True, drop=4),
    "live": Column("live", right=True, drop=1),
    "field": Column("field", drop=3),
    "jump": Column("jump", drop=2),
    "parameters": Column("parameters", right=True, drop=11),
    "macs": Column("MACs", right=True, drop=10),
    "share": Column("share", drop=6),
}
DEFAULT = ("layer", "type", "kernel", "stride", "output", "parameters", "macs", "share")


@dataclass(frozen=True)
class Entry:
    """A line of the table.

    Attributes:
        label: the name of the layer, or of the group in brackets.
        type: of the layer; of a group, how many layers it has.
        depth: how many groups it lies in.
        first, last: the layer, or the first and the last of the group.
        params, macs, memory, live: of the layer, or their sums in the group; of `live`, the largest.
        is_layer: whether it is a layer.
        is_open: whether it is a group whose layers follow.
    """

    label: str
    type: str
    depth: int
    first: SummaryRow
    last: SummaryRow
    params: int
    macs: int
    memory: int
    live: int
    is_layer: bool = True
    is_open: bool = False


def summary_table(summary: Summary, columns: Sequence[str] | None = None, depth: int | None = None) -> PlainTable:
    """Return the table of a summary; see `Summary.table` for the arguments.

    Raises:
        ProtogenError: no such column.
    """
    names = check_columns(columns)
    total = summary.macs or 1
    largest = max((row.macs for row in summary.rows), default=0) / total
    cells: dict[str, Callable[[Entry], str]] = {
        **_CELLS,
        "share": lambda entry: _share(entry.macs / total, largest * entry.is_layer),
    }
    table = PlainTable(*(COLUMNS[name] for name in names))
    for entry in entries(summary.rows, depth):
        table.add_row(*(cells[name](entry) for name in names), bold=entry.is_open)
    return table


def check_columns(names: Sequence[str] | None) -> list[str]:
    """Return the columns to show: by default `DEFAULT`, and for "all" all of them.

    Raises:
        ProtogenError: no such column, or one twice.
    """
    if names is None:
        return list(DEFAULT)
    if list(names) == ["all"]:
        return list(COLUMNS)
    for i, name in enumerate(names):
        if name not in COLUMNS:
            raise ProtogenError(f"no column {name!r}{did_you_mean(name, COLUMNS)} (columns: {', '.join(COLUMNS)}; or all)")
        if name in names[:i]:
            raise ProtogenError(f"column {name!r} is named twice")
    return list(names)


def sizes_table(summary: Summary) -> PlainTable:
    """Return the totals of the layers of each height and width."""
    table = PlainTable(
        Column("output size"), Column("layers", right=True), COLUMNS["memory"], COLUMNS["parameters"], COLUMNS["macs"],
        COLUMNS["share"],
    )  # fmt: skip
    sizes, total = summary.by_size(), summary.macs or 1
    largest = max((part.macs for part in sizes), default=0) / total
    for part in sizes:
        size = "x".join(map(str, part.size)) or "-"
        share = _share(part.macs / total, largest)
        table.add_row(size, str(part.layers), size_text(part.memory), _number(part.params), _number(part.macs), share)
    return table


def entries(rows: Sequence[SummaryRow], depth: int | None = None) -> Iterator[Entry]:
    """Yield the lines of a tree: layers that follow each other under one prefix, or in one block of a builder, form a group.

    A prefix is what stands before a "/" in a layer's name; the layer called like the prefix itself belongs to it.

    Args:
        rows: the layers.
        depth: show groups below this depth as one line; None: all layers.
    """
    prefixes = {"/".join(parts[:n]) for row in rows for parts in [row.name.split("/", _LEVELS)] for n in range(1, len(parts))}
    yield from _tree(rows, [_path(row, prefixes) for row in rows], 0, len(rows), limit=depth)


def _path(row: SummaryRow, prefixes: set[str]) -> list[str]:
    parts = row.name.split("/", _LEVELS)
    path = parts if row.name in prefixes else parts[:-1]
    group = row.group.split("/", _LEVELS) if row.group else []
    return path if path[: len(group)] == group else group


def _tree(
    rows: Sequence[SummaryRow],
    paths: Sequence[list[str]],
    start: int,
    end: int,
    *,
    limit: int | None,
    depth: int = 0,
    level: int = 0,
) -> Iterator[Entry]:
    """Yield the lines of the rows from `start` to `end`, whose paths are the same up to `level`, below `depth` groups."""
    while start < end:
        stop = start + 1
        while stop < end and len(paths[start]) > level and paths[stop][: level + 1] == paths[start][: level + 1]:
            stop += 1
        if stop == start + 1:
            yield _layer(rows[start], depth)
        else:
            common = _common(paths[start:stop], level + 1)
            is_open = limit is None or depth + 1 < limit
            yield _group("/".join(paths[start][:common]), rows[start:stop], depth, is_open)
            if is_open:
                yield from _tree(rows, paths, start, stop, limit=limit, depth=depth + 1, level=common)
        start = stop


def _common(paths: Sequence[list[str]], level: int) -> int:
    """The number of parts that all paths begin with, at least `level`."""
    first, last = min(paths), max(paths)
    while level < len(first) and first[level : level + 1] == last[level : level + 1]:
        level += 1
    return level


def _layer(row: SummaryRow, depth: int) -> Entry:
    return Entry(row.name, row.type, depth, row, row, row.params, row.macs, row.memory, row.live)


def _group(name: str, rows: Sequence[SummaryRow], depth: int, is_open: bool) -> Entry:
    params, macs, memory = (sum(getattr(row, total) for row in rows) for total in ("params", "macs", "memory"))
    live = max(row.live for row in rows)
    return Entry(f"[{name}]", f"{len(rows)} layers", depth, rows[0], rows[-1], params, macs, memory, live, False, is_open)


def _share(share: float, largest: float) -> str:
    """A share as text, with a bar that is as long as can be for the largest; 0 for `largest`: without a bar."""
    if not share:
        return ""
    bar = BAR * max(round(_BLOCKS * share / largest), 1) if largest else ""
    return f"{share:6.1%} {bar}".rstrip()


def _shapes(shapes: Sequence[Shape | None]) -> str:
    return " ".join("x".join(map(str, shape)) if shape is not None else "?" for shape in shapes)


def _per_axis(numbers: Sequence[object]) -> str:
    """A number for each axis as text, or one for all if they are equal."""
    texts = [str(number) for number in numbers]
    return texts[0] if len(set(texts)) == 1 else "x".join(texts)


def _window(entry: Entry, name: str) -> str:
    numbers = entry.first.window.get(name) if entry.is_layer else None
    return _per_axis(numbers) if numbers else ""


def _fields(fields: Sequence[Field | None], what: str) -> str:
    """Sizes or jumps of the fields of a layer's tops, or one for all if they are equal."""
    texts = []
    for known in fields:
        axes = known.axes if known is not None else None
        if axes is None:
            texts.append("?" if known is not None else "")
        else:
            texts.append(_per_axis([axis.pixels if what == "field" else axis.jump for axis in axes]))
    return " ".join(texts if len(set(texts)) > 1 else texts[:1])


def _number(value: int) -> str:
    return f"{value:,}" if value else ""


# Groups whose layers follow have totals only.
_CELLS: dict[str, Callable[[Entry], str]] = {
    "layer": lambda entry: "  " * entry.depth + entry.label,
    "type": lambda entry: entry.type,
    "kernel": lambda entry: _window(entry, "kernel"),
    "stride": lambda entry: _window(entry, "stride"),
    "input": lambda entry: "" if entry.is_open else _shapes(entry.first.inputs),
    "output": lambda entry: "" if entry.is_open else _shapes(entry.last.shapes),
    "memory": lambda entry: size_text(entry.memory) if entry.memory else "",
    "live": lambda entry: size_text(entry.live) if entry.live else "",
    "field": lambda entry: "" if entry.is_open else _fields(entry.last.fields, "field"),
    "jump": lambda entry: "" if entry.is_open else _fields(entry.last.fields, "jump"),
    "parameters": lambda entry: _number(entry.params),
    "macs": lambda entry: _number(entry.macs),
}
