"""Terminal tables whose cells are plain text."""

from __future__ import annotations

from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ..errors import printable


class PlainTable(Table):
    """A `rich` table that shows cells literally: without markup or control sequences for the terminal."""

    def add_row(self, *cells: str, style: str = "", **settings: Any) -> None:  # type: ignore[override]
        """Add a row of text; `style` applies to all its cells."""
        super().add_row(*(_cell(cell, style) for cell in cells), **settings)


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
