"""Tables of plain text, fitted to the terminal: cells are wrapped, columns left out, and numbers never cut."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ..errors import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text

BAR = "█"  # a block of a bar, which becomes "#" where the terminal's encoding lacks it
_GAP = "   "
_NARROW = 16  # a column of text is wrapped to no less than this, unless nothing is left to leave out
_PIECE = re.compile(r"[^\s/_.,]*[/_.,]?\s*|.", re.DOTALL)  # text is best broken behind these


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        header: its head.
        wrap: "" for numbers and shapes, which stay whole; "words" to break cells between words; "text" to break them anywhere.
        right: align to the right.
        drop: rank among the columns that are left out where the terminal is too narrow, the lowest first; 0 stays.
    """

    header: str
    wrap: str = ""
    right: bool = False
    drop: int = 0


class Line(NamedTuple):
    """A line of a printed table; `bold` where it stands out."""

    text: str
    bold: bool = False


@dataclass(frozen=True)
class _Fit:
    """Columns that fit: their indices and widths."""

    indices: Sequence[int]
    widths: Sequence[int]


class PlainTable:
    """A table of text, with a line below its head, that shows cells literally: without markup or control sequences.

    `lines` fits it to a width. What is too wide is wrapped, in columns of text down to 16 characters; then columns are left out,
    whole, in the order of `Column.drop`, and a last line names them. `str` gives the table at its natural width, and a `rich`
    console prints it, too.

    Args:
        columns: the columns.

    >>> table = PlainTable(Column("layer", "text"), Column("MACs", right=True, drop=1))
    >>> table.add_row("conv1", "288,000")
    >>> print(str(table).strip())
    layer      MACs
     ───────────────
     conv1   288,000
    """

    def __init__(self, *columns: Column) -> None:
        self.columns = columns
        self._rows: list[tuple[Sequence[str], bool]] = []

    def add_row(self, *cells: str, bold: bool = False) -> None:
        """Add a row, one cell for each column."""
        self._rows.append((cells, bold))

    def lines(self, width: int | None = None, encoding: str = "utf-8") -> Iterator[Line]:
        """Yield the lines, an empty one before and after, without spaces at their ends.

        Args:
            width: columns of the terminal; None: the table's natural width.
            encoding: that of the terminal; characters that it lacks are escaped.
        """
        natural = [max(widths) for widths in zip(*self._widths(encoding))]
        fit = self._fit(natural, width, encoding)
        yield Line("")
        yield from self._row([column.header for column in self.columns], fit, True, encoding)
        rule = "─" if printable("─", encoding) == "─" else "-"
        yield Line(f" {rule * (sum(fit.widths) + len(_GAP) * (len(fit.widths) - 1))}")
        for cells, bold in self._rows:
            yield from self._row(cells, fit, bold, encoding)
        yield Line("")
        dropped = [column.header for i, column in enumerate(self.columns) if i not in fit.indices]
        if dropped:
            note = f" Left out, as {width} columns are too few: {', '.join(dropped)}"
            yield from (Line(text) for text in _wrapped(note, "words", max(width or 0, _NARROW)))
            yield Line("")

    def _widths(self, encoding: str) -> Iterable[list[int]]:
        """The widths of the cells of each row, the head first."""
        yield [len(column.header) for column in self.columns]
        for cells, _ in self._rows:
            yield [_width(cell, encoding) for cell in cells]

    def _fit(self, natural: Sequence[int], width: int | None, encoding: str) -> _Fit:
        indices = list(range(len(self.columns)))
        if width is None or _total(natural) <= width:
            return _Fit(indices, natural)
        least = self._least(natural, encoding)
        good = [max(least[i], min(size, _NARROW)) if self.columns[i].wrap else size for i, size in enumerate(natural)]
        droppable = sorted((column.drop, i) for i, column in enumerate(self.columns) if column.drop)
        for _, i in droppable:
            if _total([good[j] for j in indices]) <= width:
                break
            indices.remove(i)
        return _Fit(indices, self._shrunk([natural[i] for i in indices], [least[i] for i in indices], width))

    def _least(self, natural: Sequence[int], encoding: str) -> list[int]:
        """The width below which each column would cut a number or a word that must stay whole."""
        least = list(natural)
        for i, column in enumerate(self.columns):
            if column.wrap == "text":
                least[i] = max(len(column.header), 4)
            elif column.wrap == "words":
                words = (word for cells, _ in self._rows for word in cells[i].split())
                least[i] = max([len(column.header), *(_width(word, encoding) for word in words)])
        return least

    @staticmethod
    def _shrunk(widths: list[int], least: Sequence[int], width: int) -> list[int]:
        """The widths, with the widest columns that may wrap made narrower until all fit, or until nothing can be."""
        while _total(widths) > width:
            size, i = max(((size, i) for i, size in enumerate(widths) if size > least[i]), default=(0, -1))
            if i < 0:
                break  # lines longer than the terminal, which breaks them itself, rather than numbers cut
            widths[i] = size - 1
        return widths

    def _row(self, cells: Sequence[str], fit: _Fit, bold: bool, encoding: str) -> Iterator[Line]:
        shown = []
        for i, width in zip(fit.indices, fit.widths):
            text = _shown(cells[i], encoding)
            shown.append([text] if _width(text) <= width else _wrapped(text, self.columns[i].wrap, width))
        for n in range(max(map(len, shown))):
            texts = [lines[n] if n < len(lines) else "" for lines in shown]
            padded = [_padded(text, fit.widths[j], self.columns[fit.indices[j]].right) for j, text in enumerate(texts)]
            yield Line(f" {_GAP.join(padded)}".rstrip(), bold)

    def __str__(self) -> str:
        return "\n".join(line.text for line in self.lines())

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        from rich.text import Text

        for text, bold in self.lines(options.max_width, options.encoding):
            yield Text(text, "bold" if bold else "", no_wrap=True, overflow="ignore")


def _total(widths: Sequence[int]) -> int:
    return 1 + sum(widths) + len(_GAP) * (len(widths) - 1)


def _width(text: str, encoding: str = "utf-8") -> int:
    """Columns that a terminal needs for text, once it is printable."""
    return len(text) if text.isascii() and text.isprintable() else _wide(text, encoding)


@lru_cache(maxsize=1024)
def _wide(text: str, encoding: str) -> int:
    from rich.cells import cell_len

    return cell_len(_shown(text, encoding))


def _shown(text: str, encoding: str) -> str:
    """Text as every terminal of an encoding can print it."""
    if BAR in text and printable(BAR, encoding) != BAR:
        text = text.replace(BAR, "#")
    return printable(text, encoding)


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space


def _wrapped(text: str, wrap: str, width: int) -> list[str]:
    """Break text into lines of at most this width: where words end or, for `wrap="text"`, behind a separator or anywhere."""
    pieces = _PIECE.findall(text) if wrap == "text" else re.findall(r"\s*\S+", text)
    if wrap == "text":
        most = width if text.isascii() else max(width // 2, 1)  # a character takes at most two columns
        pieces = [piece[i : i + most] for piece in pieces for i in range(0, len(piece), most)]
    lines = [""]
    for piece in pieces:
        if lines[-1] and _width(lines[-1] + piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece if lines[-1] or len(lines) == 1 else piece.lstrip()
    return [line.rstrip() for line in lines]


def size_text(size: int) -> str:
    """Bytes as text.

    >>> size_text(512), size_text(3136), size_text(5 << 20)
    ('512 B', '3.1 KiB', '5.0 MiB')
    """
    if size < 1024:
        return f"{size} B"
    power = min((size.bit_length() - 1) // 10, 4)
    return f"{size / 1024**power:,.1f} {('KiB', 'MiB', 'GiB', 'TiB')[power - 1]}"
