"""`protogen convert` of a folder: what is printed, exit codes, and options that go with it or do not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.batch.nets import save_weights, text, write
from tests.cli.nets import BROKEN
from tests.commands import Run


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two nets, one with weights, and a solver."""
    write(tmp_path / "models", a__net=text(), b__deploy=text(), a__solver='net: "net.prototxt" base_lr: 1')
    save_weights(tmp_path / "models" / "a" / "net.caffemodel", text())
    monkeypatch.chdir(tmp_path)
    return tmp_path / "models"


def test_a_folder_of_nets(run: Run, models: Path) -> None:
    result = run("convert", "models", "-o", "out", "-j", "2")
    assert (result.code, result.err) == (0, "")
    shown = [" ".join(line.split()) for line in result.out.splitlines()]
    assert shown[1] == "files"
    assert shown[3:8] == ["2 converted", "1 with weights", "0 with warnings", "1 not a net", "0 refused"]
    assert shown[-1].startswith("3 files in ")
    assert shown[-1].endswith(f" s; {os.path.join('out', 'report.json')} has the details")
    assert sorted(path.name for path in Path("out").rglob("*.onnx")) == ["deploy.onnx", "net.onnx"]


def test_failures_are_listed_and_make_the_exit_code(run: Run, models: Path) -> None:
    write(models, bad=BROKEN)
    result = run("convert", models, "-o", "out", "--to", "prototxt")
    assert (result.code, result.err) == (1, "")
    (line,) = (line for line in result.out.splitlines() if "bad.prototxt" in line)
    assert " ".join(line.split()).startswith("bad.prototxt refused 4:43: unknown field 'kernal_size' in ConvolutionParameter")
    assert sorted(path.name for path in Path("out").rglob("*.*")) == ["deploy.prototxt", "net.prototxt", "report.json"]


def test_options_apply_to_every_file(run: Run, models: Path) -> None:
    import onnx

    assert run("convert", models, "-o", "out", "--opset", "13", "--input", "data=2,3,8,8").code == 0
    for path in Path("out").rglob("*.onnx"):
        model = onnx.load(path)
        assert model.opset_import[0].version == 13
        assert [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim] == [2, 3, 8, 8]


def test_an_input_that_no_file_has_is_warned_of(run: Run, models: Path) -> None:
    result = run("convert", models, "-o", "out", "--to", "prototxt", "--input", "dta=2,3,8,8")
    assert result.code == 0
    assert result.err.startswith("Warning: no net in ")
    assert "input 'dta'" in result.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["models", "models/a/net.caffemodel", "-o", "out"], "WEIGHTS is for one net"),
        (["models", "-o", "out.onnx"], "-o names a folder, too, not 'out.onnx'; --to selects the format"),
        (["models", "-o", "-"], "-o names a folder, too, not '-'"),
        (["models", "-o", "models/a/net.prototxt"], "-o names a folder, too"),
        (["models/a/net.prototxt", "-o", "net.onnx", "-j", "2"], "--jobs and --timeout are only for folders"),
        (["models/a/net.prototxt", "-o", "net.onnx", "--timeout", "2"], "--jobs and --timeout are only for folders"),
        (["models", "-o", "out", "-j", "0"], "--jobs"),
        (["models", "-o", "out", "--timeout", "0"], "--timeout"),
        (["models", "-o", "out", "--to", "pth", "--opset", "13"], "--opset is only for .onnx files"),
        (["models", "-o", "out", "--input", "data"], "--input takes NAME=N,C,H,W"),
    ],
)
def test_wrong_usage(run: Run, models: Path, arguments: list[str], message: str) -> None:
    result = run("convert", *arguments)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert not Path("out").exists()


@pytest.mark.parametrize("command", [["summary"], ["verify"], ["fold", "-o", "x"], ["upgrade"]])
def test_other_commands_say_that_they_take_one_net(run: Run, models: Path, command: list[str]) -> None:
    name, *options = command
    result = run(name, "models", *options)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("Error: models: is a folder; give the prototxt of one net")


def test_the_parent_process_stays_light(models: Path) -> None:
    """Workers import what converting needs; who waits for them needs none of it."""
    from tests.commands import modules_after

    assert not modules_after("convert", models, "-o", models.parent / "out") & {"torch", "onnx", "numpy", "onnxruntime"}
