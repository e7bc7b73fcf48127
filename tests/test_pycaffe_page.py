"""Every line of examples/pycaffe.md runs, in order, and gives what the page says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.commands import ROOT

PAGE = ROOT / "examples" / "pycaffe.md"
OPTIONS = "## io.Transformer"  # the table below this heading has options in its cells
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
ROW = re.compile(r"^\| [^|]* \| `([^|`]+)` \| (?:`([^|`]+)` )?\|$", re.MULTILINE)


def pieces() -> Iterator[tuple[str, str]]:
    """The page's blocks and rows in order: code, and the repr of its last expression ("" where the page shows none)."""
    text = PAGE.read_text(encoding="utf-8")
    matches = [*BLOCK.finditer(text), *ROW.finditer(text, 0, text.index(OPTIONS))]
    for match in sorted(matches, key=lambda match: match.start()):
        yield match[1], (match[2] or "") if match.re is ROW else ""


def result_of(code: str, names: dict[str, Any]) -> Any:
    """Run `code`; the value of its last statement, if that is an expression."""
    body = ast.parse(code).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), str(PAGE), "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), str(PAGE), "eval"), names)


@pytest.mark.filterwarnings("ignore:.*:protogen.ProtogenWarning")
def test_the_page_runs_and_gives_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    wrong = []
    for code, shown in pieces():
        result = result_of(code, names)
        if shown and repr(result) != shown:
            wrong.append(f"{code} gives {result!r}, not {shown}")
    assert not wrong


def test_every_row_is_found() -> None:
    """A row that the patterns miss would not be tried: all rows but the tables' heads."""
    text = PAGE.read_text(encoding="utf-8").split(OPTIONS)[0]
    rows = [line for line in text.split("\n") if line.startswith("| ") and not line.endswith("| gives |")]
    assert len(ROW.findall(text)) == len(rows) > 40
