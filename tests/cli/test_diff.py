"""`protogen diff`: its exit codes, and weights side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import protogen
from tests.cli.nets import TRAINED
from tests.commands import exit_code
from tests.weights.saved import TEXT, net_file


def test_diff_ends_as_diff_does(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "other.prototxt").write_text(TRAINED.replace("num_output: 4", "num_output: 6"))
    assert exit_code("diff", files / "net.prototxt", files / "net.prototxt") == 0
    assert capsys.readouterr().out == ""
    assert exit_code("diff", files / "net.prototxt", files / "other.prototxt") == 1
    assert "convolution_param.num_output: 4 -> 6" in capsys.readouterr().out
    assert exit_code("diff", files / "net.prototxt", files / "nowhere.prototxt") == 2
    assert exit_code("diff", files / "net.prototxt") == 2


def test_diff_of_weights(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = protogen.load(files / "net.prototxt", files / "net.caffemodel")
    weight, bias = net.weights["fc"]
    net.weights["fc"] = [weight, bias + 0.5]
    net.save_caffemodel(files / "other.caffemodel")
    both = [files / "net.prototxt"] * 2
    assert exit_code("diff", *both, "--weights", files / "net.caffemodel", files / "net.caffemodel") == 0
    assert exit_code("diff", *both, "--weights", files / "net.caffemodel", files / "other.caffemodel", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["weights"] == [{"layer": "fc", "blob": 1, "before": [5], "after": [5], "max_abs": 0.5}]


def test_diff_of_a_net_and_its_folded_form(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, folded = (files / "net.prototxt", files / "net.caffemodel"), (files / "f.prototxt", files / "f.caffemodel")
    assert exit_code("fold", *net, "-o", files / "f") == 0
    capsys.readouterr()
    assert exit_code("diff", net[0], folded[0], "--weights", net[1], folded[1]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["- layer 'bn' (BatchNorm)", "- layer 'scale' (Scale)"]
    assert lines[-1] == "0 layers added, 2 gone, 1 changed; weights differ in 2 blobs of 1 layer"


def test_a_net_and_weights_side_by_side(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, weights = files / "net.prototxt", files / "net.caffemodel"
    assert exit_code("diff", net, weights) == 0
    assert exit_code("diff", weights, net) == 0
    assert capsys.readouterr().err == f"Note: {net} is the net and {weights} its weights; read in this order\n"
    net.write_text(TRAINED.replace("num_output: 4", "num_output: 6"))
    assert exit_code("diff", net, weights) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "~ layer 'conv' (Convolution): blob 0: (6, 3, 3, 3) -> (4, 3, 3, 3); blob 1: (6,) -> (4,)"
    assert lines[-1].startswith("0 layers without weights, 0 only in the file, 4 do not fit")
    assert exit_code("diff", net, weights, "--json") == 1
    assert [row["layer"] for row in json.loads(capsys.readouterr().out)["misfits"]] == ["conv", "bn", "scale", "fc"]


def test_two_caffemodels_are_nets_with_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = net_file(tmp_path, TEXT), net_file(tmp_path, TEXT.replace("0.25", "0.5"), "other.caffemodel", fill=2)
    assert exit_code("diff", one, one) == 0
    assert exit_code("diff", one, other) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "    relu_param.negative_slope: 0.25 -> 0.5"
    assert lines[-1].endswith("weights differ in 1 blob of 1 layer")
