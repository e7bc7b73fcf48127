"""`protogen convert`: every format, weights of every kind, there and back, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import protogen
from tests.cli.nets import BROKEN, SMALL, TRAINED
from tests.commands import Run, exit_code
from tests.running import assert_same, by_torch, run_model
from tests.weights.forks import encoded
from tests.weights.saved import TEXT, net_file


def test_convert_to_every_format(run: Run, small: Path, tmp_path: Path) -> None:
    import onnx
    import torch

    x = torch.randn(1, 3, 8, 8)
    expected = protogen.load(small).to_torch()(x)
    for ending in ("onnx", "pth", "pt2", "prototxt"):
        result = run("convert", small, "-o", tmp_path / f"net.{ending}")
        assert (result.code, result.out) == (0, ""), result.err
        assert ("random ones" in result.err) is (ending != "prototxt")
    onnx.checker.check_model(str(tmp_path / "net.onnx"), full_check=True)
    module = protogen.load(small).to_torch(seed=3)
    module.load_state_dict(torch.load(tmp_path / "net.pth", weights_only=True))
    torch.testing.assert_close(module(x), expected)
    torch.testing.assert_close(torch.export.load(tmp_path / "net.pt2").module()(x), expected, rtol=1e-4, atol=1e-5)
    assert protogen.load(tmp_path / "net.prototxt").definition == protogen.load(small).definition


def test_convert_with_weights(run: Run, small: Path, tmp_path: Path) -> None:
    net = protogen.load(small).fill(seed=4)
    net.save_caffemodel(tmp_path / "small.caffemodel")
    result = run("convert", small, tmp_path / "small.caffemodel", "-o", tmp_path / "net.onnx", "--dynamic-batch", "--opset", "13")
    assert (result.code, result.err) == (0, "")
    x = np.random.default_rng(0).standard_normal((3, 3, 8, 8), dtype=np.float32)
    assert_same([run_model(tmp_path / "net.onnx", x)["fc"]], by_torch(net, {"data": x}), 1e-4)


def test_convert_pt2_with_an_open_batch(run: Run, small: Path, tmp_path: Path) -> None:
    import torch

    assert run("convert", small, "-o", tmp_path / "net.pt2", "--dynamic-batch").code == 0
    assert torch.export.load(tmp_path / "net.pt2").module()(torch.zeros(5, 3, 8, 8)).shape == (5, 5)


def test_a_batch_that_cannot_be_open(run: Run, small: Path, tmp_path: Path) -> None:
    small.write_text(
        SMALL + 'layer { name: "merge" type: "Reshape" bottom: "fc" top: "merge" reshape_param { shape { dim: 5 } } }'
    )
    for ending in ("onnx", "pt2"):
        result = run("convert", small, "-o", tmp_path / f"net.{ending}", "--dynamic-batch")
        assert result.code == 1
        assert "the batch cannot be dynamic (--dynamic-batch)" in result.err
        assert not (tmp_path / f"net.{ending}").exists()


def test_fold_or_not(run: Run, small: Path, tmp_path: Path) -> None:
    import onnx

    for flag, kinds in (("--fold", {"Conv", "Relu", "Flatten", "Gemm"}), ("--no-fold", None)):
        assert run("convert", small, "-o", tmp_path / "net.onnx", flag).code == 0
        made = {node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node}
        assert (made == kinds) is (flag == "--fold")
    assert run("convert", small, "-o", tmp_path / "folded.prototxt", "--fold").code == 0
    assert "BatchNorm" not in (tmp_path / "folded.prototxt").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-o", "net.tflite"], 2, "no format for the ending '.tflite'"),
        (["-o", "net"], 2, "no format for the ending ''"),
        (["-o", "-"], 2, "--to"),
        ([], 2, "-o"),
        (["-o", "net.onnx", "--opset", "5"], 2, "--opset"),
        (["-o", "missing/net.onnx"], 1, "missing/net.onnx: cannot write"),
        (["none.caffemodel", "-o", "net.onnx"], 1, "none.caffemodel"),
        (["small.prototxt", "-o", "net.onnx"], 1, "small.prototxt"),
        (["-o", "net.onnx", "--phase", "both"], 2, "--phase"),
    ],
)
def test_convert_with_bad_requests(
    run: Run, small: Path, arguments: list[str], code: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("convert", "small.prototxt", *arguments)
    assert result.code == code
    assert message in result.err
    assert result.err.splitlines()[-1].startswith("Error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["small.prototxt"]


def test_what_stood_there_survives_a_failed_conversion(run: Run, small: Path, tmp_path: Path) -> None:
    small.write_text(BROKEN)
    target = tmp_path / "net.onnx"
    target.write_bytes(b"precious")
    assert run("convert", small, "-o", target, "--strict").code == 1
    assert target.read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.onnx", "small.prototxt"]


@pytest.mark.parametrize("between", ["pth", "caffemodel.h5"])
def test_there_and_back_bit_for_bit(files: Path, between: str) -> None:
    assert exit_code("convert", files / "net.prototxt", files / "net.caffemodel", "-o", files / f"a.{between}") == 0
    assert exit_code("convert", files / "net.prototxt", files / f"a.{between}", "-o", files / "b.caffemodel") == 0
    assert (files / "b.caffemodel").read_bytes() == (files / "net.caffemodel").read_bytes()


def test_the_format_given_by_to(files: Path) -> None:
    assert exit_code("convert", files / "net.prototxt", files / "net.caffemodel", "-o", files / "a.bin", "--to", "h5") == 0
    assert (files / "a.bin").read_bytes()[1:4] == b"HDF"
    assert exit_code("convert", files / "net.prototxt", files / "a.bin", "-o", files / "b.bin", "--to", "caffemodel") == 0
    assert (files / "b.bin").read_bytes() == (files / "net.caffemodel").read_bytes()


def test_partly_trained_weights_are_no_caffemodel(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = protogen.loads(TRAINED).fill().to_torch().state_dict()
    torch.save({key: value for key, value in state.items() if not key.startswith("fc.")}, files / "a.pth")
    for extra in ([], ["--fold"]):
        assert exit_code("convert", files / "net.prototxt", files / "a.pth", "-o", files / "b.caffemodel", *extra) == 1
    assert "layers without weights: 'fc'" in capsys.readouterr().err
    assert not (files / "b.caffemodel").exists()


def test_random_weights_are_told(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("convert", files / "net.prototxt", "-o", files / "b.caffemodel", "--seed", 7) == 0
    assert capsys.readouterr().err == "Note: no weights given; random ones from the layers' fillers are used\n"
    assert (files / "b.caffemodel").read_bytes() == (files / "net.caffemodel").read_bytes()


def test_zeros_without_fillers_are_told(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = TRAINED.replace('num_output: 5 weight_filler { type: "xavier" }', "num_output: 5")
    (files / "bare.prototxt").write_text(bare)
    assert exit_code("convert", files / "bare.prototxt", "-o", files / "b.pth") == 0
    assert capsys.readouterr().err == "Note: no weights given; those of the layers' fillers are used: all zeros in 'fc'\n"


def test_a_file_that_is_no_weights(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(torch.nn.Linear(2, 2), files / "a.pth")
    assert exit_code("convert", files / "net.prototxt", files / "a.pth", "-o", files / "b.onnx") == 1
    assert "contains a 'torch.nn.modules.linear.Linear', not only tensors" in capsys.readouterr().err
    assert not (files / "b.onnx").exists()


def test_external_data(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("convert", files / "net.prototxt", files / "net.caffemodel", "-o", files / "a.onnx", "--external-data") == 0
    assert (files / "a.onnx.data").stat().st_size > 0
    assert exit_code("convert", files / "net.prototxt", "-o", files / "a.pth", "--external-data") == 2
    assert exit_code("convert", files / "net.prototxt", "-o", "-", "--to", "onnx", "--external-data") == 2
    assert "--external-data is only for .onnx files" in capsys.readouterr().err


def test_a_caffemodel_alone_or_in_the_wrong_place(run: Run, tmp_path: Path) -> None:
    model, text = net_file(tmp_path, TEXT), tmp_path / "deploy.prototxt"
    assert run("convert", model, "-o", text) == (0, "", "")
    assert protogen.load(text).to_prototxt() == protogen.loads(TEXT).to_prototxt()
    assert run("convert", model, "-o", tmp_path / "alone.onnx") == (0, "", "")
    assert run("convert", text, model, "-o", tmp_path / "pair.onnx") == (0, "", "")
    swapped = run("convert", model, text, "-o", tmp_path / "swapped.onnx")
    assert swapped == (0, "", f"Note: {text} is the net and {model} its weights; read in this order\n")
    image = {"data": np.random.default_rng(0).random((1, 3, 8, 8), np.float32)}
    alone, pair, other = (run_model(tmp_path / f"{name}.onnx", image)["pool"] for name in ("alone", "pair", "swapped"))
    np.testing.assert_array_equal(alone, pair)
    np.testing.assert_array_equal(other, pair)


def test_the_definition_needs_no_shapes_of_data_layers(run: Run, tmp_path: Path) -> None:
    text = (
        'layer { name: "d" type: "Data" top: "data" data_param { batch_size: 4 } }' + TEXT[TEXT.index('layer { name: "conv"') :]
    )
    path = tmp_path / "model.caffemodel"
    path.write_bytes(encoded(text))
    assert run("convert", path, "-o", "-", "--to", "prototxt").out == protogen.loads(text).to_prototxt()
    result = run("convert", path, "-o", tmp_path / "x.onnx")
    assert result.code == 1 and "--input data=" in result.err
    assert not (tmp_path / "x.onnx").exists()
