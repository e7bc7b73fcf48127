"""`protogen summary`: the table, the same for machines, and what is not known."""

from __future__ import annotations

import json
from pathlib import Path

import protogen
from tests.cli.nets import SMALL
from tests.commands import Run


def test_summary_table(run: Run, small: Path) -> None:
    result = run("summary", small)
    assert result.code == 0
    lines = result.out.splitlines()
    (conv,) = [line for line in lines if line.split()[:1] == ["conv"]]
    assert conv.split() == ["conv", "Convolution", "1x4x6x6", "112", "3,888"]
    assert lines[-1] == "5 layers, 837 parameters, 4,608 multiply-accumulates"
    assert "\x1b" not in result.out, "no colours into a pipe"


def test_summary_for_machines(run: Run, small: Path) -> None:
    found = json.loads(run("summary", small, "--json").out)
    assert (found["name"], found["phase"], found["inputs"], found["outputs"]) == ("small", "TEST", ["data"], ["fc"])
    assert (found["params"], found["macs"], found["complete"]) == (837, 4608, True)
    assert [row["name"] for row in found["rows"]] == ["data", "conv", "bn", "relu", "fc"]
    assert found["rows"][1]["shapes"] == [[1, 4, 6, 6]]


def test_summary_with_input_shape_and_phase(run: Run, small: Path, tmp_path: Path) -> None:
    assert "2x4x14x22" in run("summary", small, "--input", "data=2,3,16,24").out
    assert "2x4x14x22" in run("summary", small, "--input", "data=2x3x16x24").out
    path = tmp_path / "train.prototxt"
    path.write_text(protogen.models.peleenet(phase="TRAIN").to_prototxt())
    assert "SoftmaxWithLoss" in run("summary", path, "--phase", "train").out


def test_summary_without_shapes(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text('input: "x" layer { name: "r" type: "ReLU" bottom: "x" top: "y" }')
    result = run("summary", path)
    assert result.code == 0
    assert "?" in result.out
    assert "unknown" in result.out


def test_names_cannot_drive_the_terminal(run: Run, small: Path) -> None:
    small.write_text(SMALL.replace('"relu"', '"re\\033[31mlu [bold]x[/bold]"'))
    out = run("summary", small).out
    assert "\x1b" not in out
    assert "re\\x1b[31mlu [bold]x[/bold]" in out
