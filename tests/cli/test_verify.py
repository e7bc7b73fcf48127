"""`protogen verify`: agreement, the first difference, values of one's own, devices and backends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import protogen
from tests.commands import Run
from tests.verification.engines import wrong


def test_verify_agrees(run: Run, small: Path) -> None:
    result = run("verify", small)
    assert (result.code, result.err) == (0, "")
    assert "all 4 comparisons agree within 1e-05" in result.out
    assert [line.split()[3] for line in result.out.splitlines() if line.startswith(" onnxruntime / torch")] == ["fc"], (
        "outputs only"
    )
    assert "conv" in run("verify", small, "--all").out


def test_verify_names_the_first_difference(run: Run, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong(monkeypatch, "onnxruntime", lambda blobs: blobs.update({name: blob + 1 for name, blob in blobs.items()}))
    result = run("verify", small)
    assert result.code == 1
    assert result.out.splitlines()[-1].startswith("onnxruntime / torch: blob 'conv' (1, 4, 6, 6) is the first that differs")
    assert "differs" in result.out
    assert run("verify", small, "--tolerance", "1000").code == 0


def test_verify_with_values(run: Run, small: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((2, 3, 8, 8)))
    result = run("verify", small, "--input", f"data={tmp_path / 'x.npy'}", "--all")
    assert result.code == 0, result.err
    assert "2x4x6x6" in result.out, "the array tells the shape"
    (tmp_path / "bad.npy").write_bytes(b"no array")
    result = run("verify", small, "--input", f"data={tmp_path / 'bad.npy'}")
    assert (result.code, "not a readable .npy file" in result.err) == (1, True)


def test_verify_half_precision(run: Run, small: Path) -> None:
    result = run("verify", small, "--dtype", "bfloat16")
    assert result.code == 0, result.err
    assert "torch bfloat16 / torch" in result.out


def test_verify_on_a_device_that_is_not_there(run: Run, small: Path) -> None:
    result = run("verify", small, "--device", "gpu7")
    assert (result.code, "unknown device 'gpu7'" in result.err) == (1, True)


def test_verify_takes_further_backends(run: Run, small: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    result = run("verify", small, "--backend", "opencv")
    assert (result.code, "opencv / torch" in result.out) == (0, True), result.err
    assert "'openvc' is not one of 'torch', 'onnxruntime', 'opencv'" in run("verify", small, "--backend", "openvc").err


def test_verify_takes_weights_as_convert_does(run: Run, small: Path, tmp_path: Path) -> None:
    weights = tmp_path / "w.caffemodel"
    protogen.load(small).fill(1).save_caffemodel(weights)
    assert run("verify", small, weights).code == run("verify", small, "--weights", weights).code == 0
    result = run("verify", small, weights, "--weights", weights)
    assert (result.code, "give WEIGHTS only once" in result.err) == (2, True)


def test_values_that_are_no_numbers_or_lie_about_their_number(run: Run, small: Path, tmp_path: Path) -> None:
    text, lie = tmp_path / "text.npy", tmp_path / "lie.npy"
    np.save(text, np.array(["a"]))
    np.save(lie, np.zeros((1, 3)))
    sound = lie.read_bytes()
    assert "text.npy: contains <U1 values, not real numbers" in run("verify", small, "--input", f"data={text}").err
    for header in (b"(1, 999999999), }", b"(1, 3             "):
        lie.write_bytes(sound.replace(b"(1, 3), }" + b" " * (len(header) - 9), header))
        assert lie.read_bytes() != sound
        assert "lie.npy: not a readable .npy file" in run("verify", small, "--input", f"data={lie}").err


def test_another_converters_model(run: Run, files: Path) -> None:
    from protogen.targets.onnx.options import Preprocess

    net = protogen.load(files / "net.prototxt", files / "net.caffemodel")
    model = net.to_onnx(fold=False, rename={"data": "input.1"})
    onnx.save(model, files / "theirs.onnx")
    command = ("verify", files / "net.prototxt", files / "net.caffemodel", "--against")
    result = run(*command, files / "theirs.onnx", "--all")
    assert (result.code, result.err) == (0, "")
    assert "input 'data' is its 'input.1' (by its shape)" in result.out
    assert "theirs.onnx / torch" in result.out
    assert "input.1" not in run(*command, files / "theirs.onnx", "--rename", "data=input.1").out
    (weight,) = (tensor for tensor in model.graph.initializer if tensor.name.endswith(".weight") and "conv" in tensor.name)
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * np.float32(1.01), weight.name))
    onnx.save(model, files / "theirs.onnx")
    result = run(*command, files / "theirs.onnx")
    assert result.code == 1
    assert "is the first that differs, made by layer 'conv' (Convolution): " in result.out.splitlines()[-1]
    net.to_onnx(files / "image.onnx", preprocess=Preprocess(mean=10.0, nhwc=True))
    assert run(*command, files / "image.onnx", "--mean", "10", "--nhwc").code == 0


@pytest.mark.parametrize(
    "options",
    [["--fp16"], ["--dynamic-size"], ["--dynamic-batch"], ["--opset", "17"], ["--external-data"], ["--dtype", "float32"],
     ["--backend", "torch"]],
)  # fmt: skip
def test_options_of_conversions_do_not_apply_to_a_model_that_exists(run: Run, files: Path, options: list[str]) -> None:
    result = run("verify", files / "net.prototxt", files / "net.caffemodel", "--against", files / "theirs.onnx", *options)
    assert result.code == 2
    assert f"{options[0]} does not apply with --against" in result.err


def test_what_is_no_model(run: Run, files: Path) -> None:
    for name in ("net.caffemodel", "net.prototxt", "none.onnx", "."):
        result = run("verify", files / "net.prototxt", files / "net.caffemodel", "--against", files / name)
        assert (result.code, len(result.err.splitlines())) == (1, 1), result.err
    result = run("verify", files / "net.prototxt", "--against", files / "none.onnx")
    assert "none.onnx needs the net's weights" in result.err


BATCH = """
name: "batch"
layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 4 dim: 3 dim: 8 dim: 8 }} }} }}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {{ num_output: 4 kernel_size: 3 }} }}
{}"""


def test_one_image_at_a_time_where_the_net_allows(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(BATCH.format(""))
    result = run("verify", path)
    assert "with a batch of 1 in place of the net's own, 4 (--batch)" in result.out
    assert "1x4x6x6" in result.out
    assert "2x4x6x6" in run("verify", path, "--batch", "2").out
    given = run("verify", path, "--input", "data=3,3,8,8").out
    assert "3x4x6x6" in given
    assert "batch" not in given
    assert (run("verify", path, "--batch", "2", "--input", "data=3,3,8,8").code, run("verify", path, "--batch", "0").code) == (
        2,
        2,
    )


def test_a_net_that_only_works_with_its_own_batch(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text(
        BATCH.format('layer { name: "r" type: "Reshape" bottom: "conv" top: "r" reshape_param { shape { dim: 4 dim: 144 } } }')
    )
    result = run("verify", path)
    assert result.code == 0
    assert "4x144" in result.out
    refused = run("verify", path, "--batch", "2")
    assert refused.code == 1
    assert "layer 'r' (Reshape)" in refused.err


def test_what_cannot_fit_into_memory_is_refused(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from protogen.verification import memory

    monkeypatch.setattr(memory, "available_memory", lambda: 100 << 20)
    path = tmp_path / "net.prototxt"
    path.write_text(BATCH.format(""))
    result = run("verify", path, "--input", "data=4,3,8,8")
    assert result.code == 1
    assert result.err == (
        "Error: verify needs about 0.5 GiB of memory for blobs and weights at data 4x3x8x8, and 0.1 GiB are available: take a "
        "smaller batch (--batch 1), or a smaller image with --input data=1,3,4,4\n"
    )
