"""The rules for reading as options of the command line, and what tells users of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from protogen.cli.options import ReadOptions
from protogen.rules import RULES, ReadingRules
from tests.commands import Run
from tests.graph.test_pooling_hint import INPUT, joined, pool


@pytest.mark.parametrize(("rule", "value"), [(rule, value) for rule in RULES for value in RULES[rule].values])
def test_the_command_line_has_an_option_for_each(run: Run, small: Path, rule: str, value: str) -> None:
    assert run("summary", small, f"--{rule.replace('_', '-')}", value.upper()).code == 0
    assert ReadOptions(rules=ReadingRules(**{rule: value})).load(str(small)).rules == ReadingRules(**{rule: value})


def test_a_net_that_is_read_leniently_keeps_the_hint_for_later(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(INPUT.format(8) + pool("p", "data", 2, 1) + joined("Concat", "data", "p"))
    assert "--pooling same" in run("summary", path).err
    assert re.search(r"join +Concat +1x8x8x8", run("summary", path, "--pooling", "same").out)
    failed = run("convert", path, "-o", tmp_path / "net.onnx")
    assert failed.code == 1
    assert "--pooling same" in failed.err
    assert run("convert", path, "-o", tmp_path / "net.onnx", "--pooling", "same").code == 0
