"""`protogen layers`: what is supported, in three forms, and every field."""

from __future__ import annotations

import json

from protogen.report.fields import fields_page
from protogen.report.layers import support_table
from tests.commands import Run


def test_the_command_prints_the_table_in_three_forms(run: Run) -> None:
    table = support_table()
    assert "Convolution" in run("layers").out
    assert run("layers", "--markdown").out == table.markdown()
    assert {row["type"] for row in json.loads(run("layers", "--json").out)} == {row.type for row in table.rows}


def test_the_fields_of_every_type(run: Run) -> None:
    assert run("layers", "--fields") == (0, fields_page(), "")
