"""Tables of plain text: whatever cells hold is shown as it is, in columns that stay in line."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from protogen.report.table import PlainTable


def shown(*cells: str, encoding: str = "utf-8", style: str = "") -> list[str]:
    """Lines of a table whose only column holds these cells."""
    table = PlainTable(show_header=False, box=None)
    table.add_column()
    for cell in cells:
        table.add_row(cell, style=style)
    out = io.TextIOWrapper(io.BytesIO(), encoding)
    Console(file=out, width=60).print(table)
    out.seek(0)
    return [line.strip() for line in out.read().splitlines()]


def test_markup_and_what_drives_a_terminal_are_text() -> None:
    assert shown("[red]x[/red]", "\x1b[31mred\n\u202e") == ["[red]x[/red]", "\\x1b[31mred\\n\\u202e"]


@pytest.mark.parametrize(("encoding", "text"), [("utf-8", "é名"), ("latin-1", "é\\u540d"), ("ascii", "\\xe9\\u540d")])
def test_what_the_terminals_encoding_lacks_is_escaped(encoding: str, text: str) -> None:
    assert shown("é名", encoding=encoding) == [text]


def test_columns_are_as_wide_as_what_is_shown() -> None:
    """An escape takes more room than the character it stands for."""
    table = PlainTable(show_header=False, box=None, pad_edge=True)
    table.add_row("\x1b", "b")
    table.add_row("long", "b")
    out = io.StringIO()
    Console(file=out, width=60).print(table)
    assert len({line.index("b ", 5) for line in out.getvalue().splitlines()} | {-1}) == 2
