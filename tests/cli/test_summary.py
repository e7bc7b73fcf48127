"""`protogen summary`: the table, the same for machines, and what is not known."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import protogen
from tests.cli.nets import SMALL
from tests.commands import Run, process
from tests.weights.saved import TEXT, net_file


def test_summary_table(run: Run, small: Path) -> None:
    result = run("summary", small)
    assert result.code == 0
    lines = result.out.splitlines()
    (conv,) = [line for line in lines if line.split()[:1] == ["conv"]]
    assert conv.split() == ["conv", "Convolution", "3", "1", "1x4x6x6", "112", "3,888", "84.4%", "██████████"]
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


def test_a_caffemodel_alone_gives_layers_and_statistics(run: Run, tmp_path: Path) -> None:
    result = run("summary", net_file(tmp_path, TEXT))
    assert result.code == 0
    rows = [line.split() for line in result.out.splitlines()]
    assert ["conv", "Convolution", "3", "2", "1x4x3x3", "112", "972", "100.0%", "██████████"] in rows
    assert ["conv", "Convolution", "1", "4", "0", "0", "0", "100.0%"] in rows
    assert rows[-1] == ["2", "blobs", "of", "1", "layers,", "112", "values"]
    found = json.loads(run("summary", tmp_path / "model.caffemodel", "--json").out)
    assert [row["shape"] for row in found["weights"]] == [[4, 3, 3, 3], [4]]
    assert found["name"] == "alone"


def test_weights_of_no_known_net_still_give_statistics(run: Run, files: Path) -> None:
    result = run("summary", files / "net.caffemodel")
    assert result.code == 0
    assert "Note: no table of layers: " in result.err and "no parameters of any layer" in result.err
    assert result.out.splitlines()[-1] == "9 blobs of 4 layers, 854 values"
    assert run("summary", files / "nowhere.caffemodel").code == 1


def test_statistics_beside_a_net_in_either_order(run: Run, files: Path) -> None:
    both = [files / "net.prototxt", files / "net.caffemodel"]
    right, swapped = run("summary", *both), run("summary", *reversed(both))
    assert right.out == swapped.out and right.out.count("scale") == 3
    assert swapped.err.startswith("Note: ") and not right.err


def test_weights_that_are_no_numbers_or_do_not_fit(run: Run, files: Path) -> None:
    net = protogen.load(files / "net.prototxt", files / "net.caffemodel")
    net.weights["fc"] = [net.weights["fc"][0] * np.nan, net.weights["fc"][1]]
    net.save_caffemodel(files / "broken.caffemodel")
    (files / "net.prototxt").write_text((files / "net.prototxt").read_text().replace("num_output: 4", "num_output: 6"))
    result = run("summary", files / "net.prototxt", files / "broken.caffemodel")
    assert result.code == 0
    assert "Warning: layer 'fc', blob 0: 720 NaN and 0 infinite of 720 values" in result.err
    assert "the net's shape is (6, 3, 3, 3), the weights' (4, 3, 3, 3)" in result.err
    assert "1x6x6x6" in result.out


def test_columns_depth_and_sizes(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(protogen.models.peleenet().to_prototxt())
    head, _, first, *_ = run("summary", path, "--columns", "layer,field,jump", "--depth", "1").out.splitlines()[1:]
    assert (head.split(), first.split()) == (["layer", "field", "jump"], ["data", "1", "1"])
    assert len(run("summary", path, "--depth", "1").out.splitlines()) < len(run("summary", path, "--depth", "2").out.splitlines())
    assert run("summary", path, "--by-size").out.splitlines()[3].split()[:2] == ["224x224", "1"]
    result = run("summary", path, "--columns", "layer,heads")
    assert (result.code, result.out) == (2, "")
    assert "no column 'heads'" in result.err and "receptive" not in result.err


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals on Windows")
@pytest.mark.parametrize("width", [40, 80])
def test_a_narrow_terminal_shows_whole_numbers(small: Path, width: int) -> None:
    import fcntl
    import pty
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    done = process("summary", small, stdout=theirs, env=environment)
    os.close(theirs)
    text = os.read(ours, 1 << 16).decode().replace("\r\n", "\n")
    os.close(ours)
    assert done.returncode == 0
    table = re.sub("\x1b\\[[0-9;]*m", "", text.split(" of blobs")[0]).splitlines()[:-1]
    assert "1x4x6x6" in text.split() and "…" not in text
    assert max(map(len, table)) <= width
    assert ("Left out, as 40 columns" in text) == (width == 40)
