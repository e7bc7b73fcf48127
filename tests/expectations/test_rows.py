"""Each row of the tables of this folder holds."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from .table import Row

ROWS: list[Row] = [
    row
    for path in sorted(Path(__file__).parent.glob("*.py"))
    if not path.stem.startswith(("_", "test_")) and path.stem != "table"
    for row in import_module(f"{__package__}.{path.stem}").ROWS
]


@pytest.mark.parametrize("row", [pytest.param(row, id=f"{i}: {row.source}") for i, row in enumerate(ROWS)])
def test_what_caffes_tests_expect(row: Row) -> None:
    row.check()
