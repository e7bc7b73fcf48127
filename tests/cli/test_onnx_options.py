"""`protogen convert` to ONNX: its options, alone and together, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import protogen
from tests.commands import exit_code
from tests.running import metadata_of, names_of, run_model, shape_of

TEXT = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 64 kernel_size: 3
  weight_filler { type: "xavier" } bias_filler { type: "gaussian" } } }
layer { name: "prob" type: "Softmax" bottom: "conv" top: "prob" }
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(TEXT)
    protogen.loads(TEXT).fill(7).save_caffemodel("net.caffemodel")
    return tmp_path


def convert(*options: str) -> onnx.ModelProto:
    assert exit_code("convert", "net.prototxt", "net.caffemodel", "-o", "net.onnx", *options) == 0
    return onnx.load("net.onnx")


@pytest.mark.usefixtures("files")
def test_preprocessing_names_and_sizes_together() -> None:
    model = convert(
        "--mean", "104,117,123", "--scale", "0.017", "--swap-rb", "--nhwc", "--rename-input", "data=images",
        "--rename-output", "prob=scores", "--dynamic-size", "--dynamic-batch", "--fp16", "--no-postprocess",
    )  # fmt: skip
    assert shape_of(model.graph.input[0]) == ["N", "H", "W", 3]
    x = np.random.default_rng(0).integers(0, 256, (2, 9, 12, 3)).astype(np.float32)
    assert names_of(model) == (["images"], ["scores"])
    made = run_model("net.onnx", x)["scores"]
    blob = (x[..., ::-1].transpose(0, 3, 1, 2) - np.array([104, 117, 123], np.float32).reshape(3, 1, 1)) * np.float32(0.017)
    plain = protogen.load("net.prototxt", "net.caffemodel", inputs={"data": blob.shape}).to_onnx()
    wanted = run_model(plain, np.ascontiguousarray(blob))["prob"]
    assert np.abs(made - wanted).max() <= 1e-2 * np.abs(wanted).max()


@pytest.mark.usefixtures("files")
def test_metadata_names_both_files() -> None:
    stated = metadata_of(convert("--mean", "127.5"))
    assert [stated["source.1.name"], stated["source.2.name"]] == ["net.prototxt", "net.caffemodel"]
    assert len(stated["source.1.sha256"]) == len(stated["source.2.sha256"]) == 64
    assert stated["preprocessing"] == "data: float32 image, NCHW; minus (127.5)"


def write_mean(path: str, values: np.ndarray) -> None:
    """A .binaryproto, by protobuf's own classes."""
    message = protogen.schema.message_class("BlobProto")(num=1, channels=3, height=2, width=2, data=values.ravel().tolist())
    Path(path).write_bytes(message.SerializeToString())


@pytest.mark.usefixtures("files")
def test_a_mean_image_stands_for_its_channels_means() -> None:
    write_mean("mean.binaryproto", np.array([104, 117, 123, 1], np.float32)[[0] * 4 + [1] * 4 + [2] * 3 + [3]])
    stated = metadata_of(convert("--mean", "mean.binaryproto"))
    assert stated["preprocessing"] == "data: float32 image, NCHW; minus (104, 117, 92.5)"
    assert exit_code("verify", "net.prototxt", "net.caffemodel", "--mean", "mean.binaryproto") == 0


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("name", ["none.binaryproto", "net.binaryproto"])
def test_a_mean_that_is_none(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("net.binaryproto").write_bytes(Path("net.caffemodel").read_bytes())
    assert exit_code("convert", "net.prototxt", "net.caffemodel", "-o", "x.onnx", "--mean", name) == 1
    assert name in capsys.readouterr().err
    assert not Path("x.onnx").exists()


@pytest.mark.usefixtures("files")
def test_the_same_command_gives_the_same_bytes() -> None:
    convert("--fp16")
    first = Path("net.onnx").read_bytes()
    convert("--fp16")
    assert Path("net.onnx").read_bytes() == first


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--mean", "a,b"], 2, "'a,b' is neither a finite number, such as 0.017 or 1/255, nor a list of them"),
        (["--mean", "1,2"], 1, "mean has 2 numbers, but 'data' 3 channels"),
        (["--mean", "nan"], 2, "'nan' is neither a finite number"),
        (["--rename", "data"], 2, "--rename takes OLD=NEW, once per name, not 'data'"),
        (["--rename", "data=a", "--rename", "data=b"], 2, "--rename takes OLD=NEW"),
        (["--rename", "dat=a"], 1, "did you mean 'data'"),
        (["--swap-rb", "--to", "pth"], 2, "--swap-rb is only for .onnx files"),
        (["--rename", "a=b", "--to", "pt2"], 2, "--rename is only for .onnx files"),
        (["--no-postprocess", "--to", "caffemodel"], 2, "--no-postprocess is only for .onnx, .pt2 and .pth files"),
        (["--names", "layer", "--to", "pt2"], 2, "--names is only for .onnx files"),
        (["--names", "top"], 2, "'top' is not one of 'blob', 'layer'"),
        (["--scale", "2", "--to", "h5"], 2, "--scale is only for .onnx files"),
        (["--opset", "17", "--to", "pt2"], 2, "--opset is only for .onnx files"),
        (["--dynamic-batch", "--to", "pth"], 2, "--dynamic-batch is only for .onnx and .pt2 files"),
    ],
)
def test_what_is_refused(files: Path, options: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("convert", "net.prototxt", "net.caffemodel", "-o", "net.onnx", *options) == code
    assert message in capsys.readouterr().err
    assert not (files / "net.onnx").exists()


@pytest.mark.usefixtures("files")
def test_names_of_layers(capsys: pytest.CaptureFixture[str]) -> None:
    Path("net.prototxt").write_text(TEXT.replace('top: "prob"', 'top: "scores"'))
    assert names_of(convert())[1] == ["scores"]
    told = "Note: OpenCV 4 called outputs by their layers: 'prob' for blob 'scores'; --names layer (names='layer') does, too\n"
    assert capsys.readouterr().err == told
    assert names_of(convert("--names", "layer", "--rename", "prob=p"))[1] == ["p"]
    assert exit_code("verify", "net.prototxt", "net.caffemodel", "--names", "layer", "--rename", "prob=p", "--dynamic-batch") == 0
    assert capsys.readouterr().err == ""
    assert exit_code("verify", "net.prototxt", "net.caffemodel", "--names", "layer", "--against", "net.onnx") == 2
    assert "--names does not apply with --against" in capsys.readouterr().err


@pytest.mark.usefixtures("files")
def test_nothing_cut_off_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    convert("--no-postprocess")
    assert capsys.readouterr().err == "Warning: no postprocessing to cut off: the net does not end in detection layers\n"


@pytest.mark.usefixtures("files")
def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("convert", "--help") == 0
    shown = capsys.readouterr().out
    for option in ("--dynamic-size", "--no-postprocess", "--rename", "--mean", "--scale", "--swap-rb", "--nhwc", "--fp16"):
        assert option in shown
