"""`protogen fold`: a new prototxt and caffemodel, never over the ones it read."""

from __future__ import annotations

from pathlib import Path

import pytest

import protogen
from tests.cli.nets import TRAINED
from tests.commands import exit_code
from tests.layers.nets import inputs_of
from tests.running import assert_same, by_torch


@pytest.mark.parametrize(
    ("given", "made"),
    [
        (["-o", "f.prototxt"], ["f.prototxt", "f.caffemodel"]),
        (["-o", "f"], ["f.prototxt", "f.caffemodel"]),
        (["-o", "f.caffemodel"], ["f.prototxt", "f.caffemodel"]),
        (["-o", "f.caffemodel.h5"], ["f.prototxt", "f.caffemodel.h5"]),
        (["-o", "f.txt", "--weights-out", "g.bin"], ["f.txt", "g.bin"]),
    ],
)
def test_fold(files: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], made: list[str]) -> None:
    monkeypatch.chdir(files)
    assert exit_code("fold", "net.prototxt", "net.caffemodel", *given) == 0
    net = protogen.load("net.prototxt", "net.caffemodel")
    other = protogen.load(*made)
    assert [layer.type for layer in other.layers] == ["Input", "Convolution", "ReLU", "InnerProduct"]
    x = inputs_of(net)
    assert_same(by_torch(other, x), by_torch(net, x))
    assert len(list(files.iterdir())) == 4


def test_fold_needs_all_weights_and_files(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("fold", files / "net.prototxt", files / "net.caffemodel", "-o", "-") == 2
    text = TRAINED.replace('name: "fc"', 'name: "fc2"')
    (files / "other.prototxt").write_text(text)
    assert exit_code("fold", files / "other.prototxt", files / "net.caffemodel", "-o", files / "f") == 1
    assert "layers without weights: 'fc2'" in capsys.readouterr().err
    assert not list(files.glob("f*"))


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("net.prototxt", ["-o", "net.prototxt"]),
        ("net.prototxt", ["-o", "net"]),
        ("net.prototxt", ["-o", "net.caffemodel"]),
        ("net.caffemodel", ["-o", "f.prototxt", "--weights-out", "./net.caffemodel"]),
        ("link.prototxt", ["-o", "link.prototxt"]),
        ("g.caffemodel", ["-o", "g"]),
    ],
)
def test_fold_keeps_its_inputs(
    files: Path, monkeypatch: pytest.MonkeyPatch, target: str, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(files)
    Path("link.prototxt").symlink_to("net.prototxt")
    Path("g.caffemodel").hardlink_to("net.caffemodel")
    before = {file.name: file.read_bytes() for file in files.iterdir()}
    assert exit_code("fold", "net.prototxt", "net.caffemodel", *options) == 2
    message = capsys.readouterr().err
    assert target in message and "would overwrite the input net." in message and message.count("\n") == 1
    assert {file.name: file.read_bytes() for file in files.iterdir()} == before
