"""Tables of plain text: whatever cells hold is shown as it is, in columns that stay in line and fit the terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from protogen.report.table import BAR, Column, PlainTable, size_text


def shown(table: PlainTable, width: int | None = None, encoding: str = "utf-8") -> list[str]:
    """The lines of a table below its head."""
    return [line.text for line in table.lines(width, encoding)][3:-1]


def of(*cells: str) -> PlainTable:
    """A table whose only column holds these cells."""
    table = PlainTable(Column(""))
    for cell in cells:
        table.add_row(cell)
    return table


def test_markup_and_what_drives_a_terminal_are_text() -> None:
    assert shown(of("[red]x[/red]", "\x1b[31mred\n\u202e")) == [" [red]x[/red]", " \\x1b[31mred\\n\\u202e"]


@pytest.mark.parametrize(("encoding", "text"), [("utf-8", "é名"), ("latin-1", "é\\u540d"), ("ascii", "\\xe9\\u540d")])
def test_what_the_terminals_encoding_lacks_is_escaped(encoding: str, text: str) -> None:
    assert shown(of("é名"), encoding=encoding) == [f" {text}"]


def test_bars_and_rules_have_a_form_in_ascii() -> None:
    lines = [line.text for line in of(BAR * 3).lines(encoding="ascii")]
    assert lines == ["", "", " ---", " ###", ""]


def test_columns_are_as_wide_as_what_is_shown() -> None:
    """An escape takes more room than the character it stands for, and a Chinese character the room of two."""
    table = PlainTable(Column("a"), Column("b"))
    for cell in ("\x1b", "long", "名"):
        table.add_row(cell, "b")
    assert shown(table) == [" \\x1b   b", " long   b", " 名     b"]


def numbers() -> PlainTable:
    table = PlainTable(Column("layer", "text"), Column("shape"), Column("note", "words"), Column("count", right=True, drop=1))
    table.add_row("inception_3a/relu_3x3_reduce", "1x96x28x28", "a loss is for training only", "1,234,567")
    return table


def test_text_is_wrapped_before_columns_are_left_out() -> None:
    lines = shown(numbers(), 68)
    assert max(map(len, lines)) <= 68
    assert lines[0].split()[-1] == "1,234,567" and "1x96x28x28" in lines[0]
    assert "".join(line[1:19].strip() for line in lines).startswith("inception_3a/")
    assert not any("Left out" in line for line in lines)


def test_a_narrow_terminal_gets_fewer_columns_and_is_told_which() -> None:
    lines = shown(numbers(), 50)
    assert max(map(len, lines)) <= 50
    assert "1,234,567" not in "".join(lines) and "1x96x28x28" in lines[0]
    assert lines[-1] == " Left out, as 50 columns are too few: count"


@pytest.mark.parametrize("width", [1, 10, 20, 30, 40, 60, 80, 100])
def test_no_number_is_cut_and_no_text_lost_at_any_width(width: int) -> None:
    table = numbers()
    lines = shown(table, width)
    cells = [line.split() for line in lines]
    assert "1x96x28x28" in cells[0]
    assert "1,234,567" in cells[0] or lines[-1].endswith("count")
    text = "".join("".join(row) for row in cells).replace("1x96x28x28", "").replace("1,234,567", "")
    assert sorted("inception_3a/relu_3x3_reducealossisfortrainingonly") == sorted(text.split("Left")[0])


def test_a_name_of_a_million_letters_is_wrapped_in_no_time() -> None:
    table = PlainTable(Column("layer", "text"))
    table.add_row("x" * 1_000_000)
    assert sum(map(len, shown(table, 80))) == 1_000_000 + len(shown(table, 80))


def test_rich_prints_it_too() -> None:
    out = io.StringIO()
    Console(file=out, width=50).print(numbers())
    assert out.getvalue().splitlines()[3:] == [line.text for line in numbers().lines(50)][3:]


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1 << 30, "1.0 GiB"), (5 << 50, "5,120.0 TiB")]
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text
