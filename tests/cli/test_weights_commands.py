"""fold, upgrade, diff, and convert with weights of every kind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import protogen
from protogen.cli import main
from tests.oracle import LEGACY

TEXT = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3
  weight_filler { type: "xavier" } bias_filler { type: "gaussian" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true filler { type: "gaussian" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
"""


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with net.prototxt and net.caffemodel."""
    (tmp_path / "net.prototxt").write_text(TEXT)
    protogen.loads(TEXT).fill(7).save_caffemodel(tmp_path / "net.caffemodel")
    return tmp_path


def output(net: protogen.Net) -> torch.Tensor:
    x = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        made: torch.Tensor = net.to_torch()(x)
    return made


@pytest.mark.parametrize("between", ["pth", "caffemodel.h5"])
def test_there_and_back_bit_for_bit(files: Path, between: str) -> None:
    assert run("convert", files / "net.prototxt", files / "net.caffemodel", "-o", files / f"a.{between}") == 0
    assert run("convert", files / "net.prototxt", files / f"a.{between}", "-o", files / "b.caffemodel") == 0
    assert (files / "b.caffemodel").read_bytes() == (files / "net.caffemodel").read_bytes()


def test_the_format_given_by_to(files: Path) -> None:
    assert run("convert", files / "net.prototxt", files / "net.caffemodel", "-o", files / "a.bin", "--to", "h5") == 0
    assert (files / "a.bin").read_bytes()[1:4] == b"HDF"
    assert run("convert", files / "net.prototxt", files / "a.bin", "-o", files / "b.bin", "--to", "caffemodel") == 0
    assert (files / "b.bin").read_bytes() == (files / "net.caffemodel").read_bytes()


def test_partly_trained_weights_are_no_caffemodel(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = protogen.loads(TEXT).fill().to_torch().state_dict()
    torch.save({key: value for key, value in state.items() if not key.startswith("fc.")}, files / "a.pth")
    for extra in ([], ["--fold"]):
        assert run("convert", files / "net.prototxt", files / "a.pth", "-o", files / "b.caffemodel", *extra) == 1
    assert "layers without weights: 'fc'" in capsys.readouterr().err
    assert not (files / "b.caffemodel").exists()


def test_random_weights_are_told(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("convert", files / "net.prototxt", "-o", files / "b.caffemodel", "--seed", 7) == 0
    assert capsys.readouterr().err == "Note: no weights given; random ones from the layers' fillers are used\n"
    assert (files / "b.caffemodel").read_bytes() == (files / "net.caffemodel").read_bytes()


def test_zeros_without_fillers_are_told(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = TEXT.replace('num_output: 5 weight_filler { type: "xavier" }', "num_output: 5")
    (files / "bare.prototxt").write_text(bare)
    assert run("convert", files / "bare.prototxt", "-o", files / "b.pth") == 0
    assert capsys.readouterr().err == "Note: no weights given; those of the layers' fillers are used: all zeros in 'fc'\n"


def test_a_file_that_is_no_weights(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(torch.nn.Linear(2, 2), files / "a.pth")
    assert run("convert", files / "net.prototxt", files / "a.pth", "-o", files / "b.onnx") == 1
    assert "holds a 'torch.nn.modules.linear.Linear', not only tensors" in capsys.readouterr().err
    assert not (files / "b.onnx").exists()


def test_external_data(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("convert", files / "net.prototxt", files / "net.caffemodel", "-o", files / "a.onnx", "--external-data") == 0
    assert (files / "a.onnx.data").stat().st_size > 0
    assert run("convert", files / "net.prototxt", "-o", files / "a.pth", "--external-data") == 2
    assert run("convert", files / "net.prototxt", "-o", "-", "--to", "onnx", "--external-data") == 2
    assert "--external-data goes with an .onnx file" in capsys.readouterr().err


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
    assert run("fold", "net.prototxt", "net.caffemodel", *given) == 0
    net = protogen.load("net.prototxt", "net.caffemodel")
    other = protogen.load(*made)
    assert [layer.type for layer in other.layers] == ["Input", "Convolution", "ReLU", "InnerProduct"]
    np.testing.assert_allclose(output(other), output(net), rtol=0, atol=1e-5)
    assert len(list(files.iterdir())) == 4


def test_fold_needs_all_weights_and_files(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("fold", files / "net.prototxt", files / "net.caffemodel", "-o", "-") == 2
    text = TEXT.replace('name: "fc"', 'name: "fc2"')
    (files / "other.prototxt").write_text(text)
    assert run("fold", files / "other.prototxt", files / "net.caffemodel", "-o", files / "f") == 1
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
    assert run("fold", "net.prototxt", "net.caffemodel", *options) == 2
    message = capsys.readouterr().err
    assert target in message and "would overwrite the input net." in message and message.count("\n") == 1
    assert {file.name: file.read_bytes() for file in files.iterdir()} == before


@pytest.mark.parametrize("name", ["v0", "v1", "batchnorm_old"])
def test_upgrade(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("upgrade", LEGACY / f"{name}.prototxt", "-o", tmp_path / "new.prototxt") == 0
    assert run("diff", tmp_path / "new.prototxt", LEGACY / f"{name}.upgraded.prototxt") == 0
    assert "layers {" not in (tmp_path / "new.prototxt").read_text()
    capsys.readouterr()
    assert run("upgrade", tmp_path / "new.prototxt") == 0
    assert capsys.readouterr().out == (tmp_path / "new.prototxt").read_text()


def test_upgrade_of_solvers_and_unknown_layers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "solver.prototxt").write_text('net: "a.prototxt" base_lr: 0.1 solver_type: ADAM')
    assert run("upgrade", tmp_path / "solver.prototxt") == 0
    assert 'type: "Adam"' in capsys.readouterr().out
    (tmp_path / "net.prototxt").write_text('layers { name: "r" type: RELU bottom: "x" top: "y" include { phase: TRAIN } }')
    assert run("upgrade", tmp_path / "net.prototxt") == 0
    assert 'type: "ReLU"' in capsys.readouterr().out


def test_diff_ends_as_diff_does(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "other.prototxt").write_text(TEXT.replace("num_output: 4", "num_output: 6"))
    assert run("diff", files / "net.prototxt", files / "net.prototxt") == 0
    assert capsys.readouterr().out == ""
    assert run("diff", files / "net.prototxt", files / "other.prototxt") == 1
    assert "convolution_param.num_output: 4 -> 6" in capsys.readouterr().out
    assert run("diff", files / "net.prototxt", files / "nowhere.prototxt") == 2
    assert run("diff", files / "net.prototxt") == 2


def test_diff_of_weights(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = protogen.load(files / "net.prototxt", files / "net.caffemodel")
    weight, bias = net.weights["fc"]
    net.weights["fc"] = [weight, bias + 0.5]
    net.save_caffemodel(files / "other.caffemodel")
    both = [files / "net.prototxt"] * 2
    assert run("diff", *both, "--weights", files / "net.caffemodel", files / "net.caffemodel") == 0
    assert run("diff", *both, "--weights", files / "net.caffemodel", files / "other.caffemodel", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert found["weights"] == [{"layer": "fc", "blob": 1, "before": [5], "after": [5], "max_abs": 0.5}]


def test_diff_of_a_net_and_its_folded_form(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, folded = (files / "net.prototxt", files / "net.caffemodel"), (files / "f.prototxt", files / "f.caffemodel")
    assert run("fold", *net, "-o", files / "f") == 0
    capsys.readouterr()
    assert run("diff", net[0], folded[0], "--weights", net[1], folded[1]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["- layer 'bn' (BatchNorm)", "- layer 'scale' (Scale)"]
    assert lines[-1] == "0 layers added, 2 gone, 1 changed; weights differ in 2 blobs of 1 layer"


def test_reshaping_is_one_flag(files: Path) -> None:
    assert run("convert", files / "net.prototxt", "--input", "data=2,3,8,8", "-o", files / "b.prototxt") == 0
    assert protogen.load(files / "b.prototxt").shapes["fc"] == (2, 5)


def test_only_the_used_command_is_imported() -> None:
    code = (
        "import sys, protogen.cli\n"
        "try: protogen.cli.main(['models'])\n"
        "except SystemExit: pass\n"
        "print(sorted(name for name in sys.modules if name.startswith('protogen.cli.')))\n"
        "print([name for name in ('torch', 'onnx', 'numpy', 'h5py') if name in sys.modules])"
    )
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[-2:] == ["['protogen.cli.models', 'protogen.cli.output']", "[]"]


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    from protogen.cli import COMMANDS

    assert run("--help") == 0
    listed = capsys.readouterr().out
    for name in COMMANDS:
        assert f"  {name} " in listed
        assert run(name, "--help") == 0
