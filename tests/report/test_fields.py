"""The page of fields: what it says of each, and that it is written anew when types change."""

from __future__ import annotations

import re

from protogen.report.fields import COMPUTED, field_uses, fields_page
from tests.commands import ROOT


def test_page_lists_what_the_types_declare() -> None:
    written = (ROOT / "examples/fields.md").read_text(encoding="utf-8")
    assert written == fields_page(), "write it anew: protogen layers --fields > examples/fields.md"


def test_each_field_has_one_use() -> None:
    uses = field_uses()
    assert len({(use.type, use.path) for use in uses}) == len(uses)
    by_field = {(use.type, use.path): use for use in uses}
    assert by_field["Convolution", "convolution_param.stride"].use == COMPUTED
    assert by_field["Convolution", "convolution_param.engine"].inert
    assert not by_field["Convolution", "convolution_param.shape_offset"].inert
    assert not [use for use in uses if use.type in ("Data", "Input")], "what feeds a net computes nothing here"


def test_the_counts_at_its_head_add_up() -> None:
    line = next(line for line in fields_page().splitlines() if "fields:" in line)
    total, computed, inert, refused = map(int, re.findall(r"\d+", line))
    uses = field_uses()
    assert total == len(uses) == computed + inert + refused
    assert inert == sum(use.inert for use in uses)
