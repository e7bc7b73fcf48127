"""Terminal tables whose cells are plain text."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ..errors import printable


class PlainTable(Table):
    """A `rich` table with a line below its head, that shows cells literally: without markup or control sequences."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"box": SIMPLE_HEAD, "pad_edge": False, **settings})

    def add_row(self, *cells: str, style: str = "", **settings: Any) -> None:  # type: ignore[override]
        """Add a row of text; `style` applies to all its cells."""
        super().add_row(*(_cell(cell, style) for cell in cells), **settings)

    def __str__(self) -> str:
        """The table at its natural width, without spaces at the ends of lines."""
        text = StringIO()
        Console(file=text, width=4096).print(self)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def _cell(text: str, style: str) -> Text | _Cell:
    """Return text for a cell: as it is, where every terminal can print it."""
    return Text(text, style) if text.isascii() and text.isprintable() else _Cell(text, style)


class _Cell:
    """Text that becomes `printable` when it is measured or drawn, because only then the terminal's encoding is known."""

    def __init__(self, text: str, style: str) -> None:
        self.text, self.style = text, style

    def _shown(self, options: ConsoleOptions) -> Text:
        return Text(printable(self.text, options.encoding), self.style)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._shown(options)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement.get(console, options, self._shown(options))
