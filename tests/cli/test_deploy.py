"""`protogen deploy`: the file, what is said of it, and what becomes of it next."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import protogen
from tests.commands import Run, exit_code, process
from tests.running import names_of, run_model
from tests.test_deploy import ACCURACY, BODY, DATA, LOSS, TRAIN_VAL

TWO = """layer { name: "fc2" type: "InnerProduct" bottom: "conv" top: "fc2" inner_product_param { num_output: 2 } }
layer { name: "loss2" type: "SoftmaxWithLoss" bottom: "fc2" bottom: "label" top: "loss2" }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("train_val.prototxt").write_text(TRAIN_VAL)
    protogen.loads(TRAIN_VAL).fill(7).save_caffemodel("net.caffemodel")
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_the_file_and_what_is_said_of_it(run: Run) -> None:
    code, out, err = run("deploy", "train_val.prototxt", "-o", "deploy.prototxt")
    assert (code, out) == (0, "")
    assert err.splitlines() == [
        "Note: data layer 'data' crops the images to 8x8, then multiplies by 0.5: not part of the net to deploy",
        "Note: input 'data' 1x3x8x8; output 'prob' 1x3; left out: 'accuracy', 'loss'",
    ]
    text = Path("deploy.prototxt").read_text()
    assert text.startswith("# data layer 'data' crops the images to 8x8, then multiplies by 0.5: not part of this net\nname: ")
    assert run("deploy", "train_val.prototxt").out == text


@pytest.mark.usefixtures("folder")
def test_the_caffemodel_fits_both_files() -> None:
    assert exit_code("deploy", "train_val.prototxt", "-o", "deploy.prototxt") == 0
    for name in ("train_val", "deploy"):
        assert exit_code("convert", f"{name}.prototxt", "net.caffemodel", "-o", f"{name}.onnx", "--input", "data=2,3,8,8") == 0
    x = np.random.default_rng(0).standard_normal((2, 3, 8, 8), dtype=np.float32)
    scores, prob = run_model("train_val.onnx", x)["fc"], run_model("deploy.onnx", x)["prob"]
    powers = np.exp(scores)
    np.testing.assert_allclose(prob, powers / powers.sum(1, keepdims=True), rtol=1e-5, atol=1e-7)


@pytest.mark.usefixtures("folder")
def test_outputs_are_those_of_the_net_to_deploy(run: Run) -> None:
    Path("two.prototxt").write_text(TRAIN_VAL + TWO)
    assert "output 'fc/prob' 1x3, 'fc2/prob' 1x2;" in run("deploy", "two.prototxt", "-o", "x.prototxt").err
    assert run("deploy", "two.prototxt", "-o", "x.prototxt", "--outputs", "fc2/prob").code == 0
    net = protogen.load("x.prototxt")
    assert net.outputs == ["fc2/prob"]
    assert "fc" not in [layer.name for layer in net.layers]
    code, _, err = run("deploy", "two.prototxt", "-o", "y.prototxt", "--outputs", "fc2/prop")
    assert (code, "did you mean 'fc2/prob'" in err, Path("y.prototxt").exists()) == (1, True, False)


@pytest.mark.usefixtures("folder")
def test_batch_and_shapes(run: Run) -> None:
    assert "input 'data' 4x3x8x8; output 'prob' 4x3" in run("deploy", "train_val.prototxt", "-o", "x", "--batch", "4").err
    assert "input 'data' 2x3x9x9" in run("deploy", "train_val.prototxt", "-o", "x", "--input", "data=2,3,9,9").err
    assert run("deploy", "train_val.prototxt", "-o", "x", "--batch", "0").code == 2
    Path("bare.prototxt").write_text(TRAIN_VAL.replace("crop_size: 8", ""))
    code, _, err = run("deploy", "bare.prototxt", "-o", "none.prototxt")
    assert (code, "--input data=1,3,224,224" in err, Path("none.prototxt").exists()) == (1, True, False)


@pytest.mark.usefixtures("folder")
def test_a_file_for_training_alone(run: Run) -> None:
    Path("train.prototxt").write_text(DATA % ("TRAIN", 6) + BODY + LOSS)
    code, _, err = run("deploy", "train.prototxt", "-o", "x.prototxt")
    assert code == 0
    assert "output 'prob' 1x3; left out: 'loss'" in err


def test_from_standard_input_and_to_standard_output() -> None:
    done = process("deploy", "-", stdin=(DATA % ("TEST", 5) + BODY + ACCURACY + LOSS).encode())
    assert done.returncode == 0
    assert protogen.loads(done.stdout.decode()).outputs == ["prob"]


@pytest.mark.usefixtures("folder")
def test_preprocessing_is_not_said_where_it_is_built_in(run: Run) -> None:
    says = "data layer 'data' crops the images to 8x8, then multiplies by 0.5"
    words = ("convert", "train_val.prototxt", "net.caffemodel", "-o", "net.onnx")
    assert f"Note: {says}: not part of the model; --preprocess-from-data" in run(*words).err
    assert says not in run(*words, "--preprocess-from-data").err
    assert says not in run(*words, "--scale", "0.1").err
    assert f"Note: {says}: not part of the program" in run(*words[:-1], "net.pt2").err
    assert says in run("summary", "train_val.prototxt").out
    assert says not in run(*words[:-1], "net.caffemodel2", "--to", "caffemodel").err


@pytest.mark.usefixtures("folder")
def test_preprocessing_from_data_with_other_options(run: Run) -> None:
    words = ("convert", "train_val.prototxt", "net.caffemodel", "-o", "net.onnx", "--preprocess-from-data")
    assert run(*words, "--swap-rb", "--nhwc", "--rename", "data=images").code == 0
    assert names_of(onnx.load("net.onnx")) == (["images"], ["fc"])
    for option in (("--mean", "1"), ("--scale", "2")):
        code, _, err = run(*words, *option)
        assert (code, "leave out --mean and --scale" in err) == (2, True)
    assert run(*words[:-2], "net.pth", words[-1]).code == 2
    code, _, err = run("verify", "train_val.prototxt", "net.caffemodel", "--preprocess-from-data", "--nhwc")
    assert code == 0, err
