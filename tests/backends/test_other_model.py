"""Models of other converters: inputs and inner tensors, weights beside them, and files that are no models."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from protogen import ProtogenError
from protogen.backends.other_model import ModelInput, OtherModel


def model(weights: onnx.TensorProto | None = None, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """y = relu(x * w), with an inner tensor of a model of its own inside an If, and an output of text."""
    w = weights or numpy_helper.from_array(np.float32([2, -2]), "w")
    x = helper.make_tensor_value_info("x", kind, ["N", 2])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    nodes = [helper.make_node("Mul", ["x", "w"], ["product"], name="scale"), helper.make_node("Relu", ["product"], ["y"])]
    old_style = helper.make_tensor_value_info("w", TensorProto.FLOAT, [2])  # before IR version 4, weights were inputs, too
    graph = helper.make_graph(nodes, "g", [x, old_style], [y], [w])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def saved(path: Path, made: onnx.ModelProto) -> Path:
    path.write_bytes(made.SerializeToString())
    return path


def test_inputs_and_inner_tensors(tmp_path: Path) -> None:
    other = OtherModel(saved(tmp_path / "m.onnx", model()))
    assert other.inputs == [ModelInput("x", "float32", (None, 2))]
    assert (other.outputs, other.tensors) == (["y"], {"product": "scale", "y": ""})
    values = other.run({"x": np.float32([[1, 1]])}, ["product", "y"])
    np.testing.assert_array_equal(values["product"], [[2, -2]])
    np.testing.assert_array_equal(values["y"], [[2, 0]])


def external(location: str) -> onnx.TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def test_weights_beside_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "w.bin").write_bytes(np.float32([3, 3]).tobytes())
    path = saved(tmp_path / "deep" / "m.onnx", model(external("w.bin")))
    monkeypatch.chdir(tmp_path)
    for name in (path, path.relative_to(tmp_path)):
        np.testing.assert_array_equal(OtherModel(name).run({"x": np.float32([[1, 2]])}, ["y"])["y"], [[3, 6]])


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("../secret.bin", "its weights 'w' are in '../secret.bin', outside of its folder"),
        ("link.bin", "its weights 'w' are in 'link.bin', outside of its folder"),
        ("", "outside of its folder"),
        ("a\0b", "outside of its folder"),
        ("gone.bin", "its weights are in 'gone.bin', which is missing beside it"),
    ],
)
def test_weights_elsewhere_are_not_read(location: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(8))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(ProtogenError, match=message):
        OtherModel(saved(folder / "m.onnx", model(external(location))))


def of_text() -> onnx.ModelProto:
    return model(kind=TensorProto.STRING)


def of_a_sequence() -> onnx.ModelProto:
    made = model()
    made.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type = TensorProto.FLOAT
    return made


def of_a_later_type() -> onnx.ModelProto:
    return model(kind=99)


@pytest.mark.parametrize("made", [of_text, of_a_sequence, of_a_later_type])
def test_inputs_that_are_no_numbers(made: Callable[[], onnx.ModelProto], tmp_path: Path) -> None:
    with pytest.raises(ProtogenError, match=r"m\.onnx: input 'x' is not a tensor of numbers with a shape, as blobs are"):
        OtherModel(saved(tmp_path / "m.onnx", made()))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an ONNX model: it has no graph that computes anything"),
        (b"no model", "not an ONNX model"),
        (b"\x0a\xff\xff\xff\xff\x0f", "not an ONNX model, or a damaged one"),
        (None, "cannot read: No such file or directory"),
    ],
)
def test_files_that_are_no_models(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ProtogenError, match=message) as error:
        OtherModel(path)
    assert len(error.value.lines) == 1


@pytest.mark.parametrize("size", [0.3, 0.6, 0.9, 0.99])
def test_a_truncated_model(size: float, tmp_path: Path) -> None:
    whole = model().SerializeToString()
    path = tmp_path / "m.onnx"
    path.write_bytes(whole[: int(len(whole) * size)])
    with pytest.raises(ProtogenError, match=r"m\.onnx: ") as error:
        OtherModel(path).run({"x": np.zeros((1, 2), np.float32)}, ["y"])
    assert len(error.value.lines) == 1


def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    whole = model().SerializeToString()
    path.write_bytes(whole.replace(b"product", b"prod\xf2ct"))
    with pytest.raises(ProtogenError, match="a damaged ONNX model: it has names that are not UTF-8"):
        OtherModel(path)


def twice(made: onnx.ModelProto) -> None:
    made.graph.node.append(made.graph.node[0])


def by_nobody(made: onnx.ModelProto) -> None:
    made.graph.node[0].domain, made.graph.node[0].op_type = "elsewhere", "Magic\x1b[31m"


def in_a_circle(made: onnx.ModelProto) -> None:
    made.graph.node[0].input[0] = "y"


def from_the_future(made: onnx.ModelProto) -> None:
    made.opset_import[0].version = 999


@pytest.mark.parametrize("change", [twice, by_nobody, in_a_circle, from_the_future])
def test_models_that_onnx_runtime_rejects(change: Callable[[onnx.ModelProto], None], tmp_path: Path) -> None:
    made = model()
    change(made)
    other = OtherModel(saved(tmp_path / "m.onnx", made))
    with pytest.raises(ProtogenError, match=r"m\.onnx: ONNX Runtime cannot run it: .") as error:
        other.run({"x": np.zeros((1, 2), np.float32)}, ["y"])
    assert len(error.value.lines) == 1
    assert str(error.value).isprintable()


def test_half_precision_is_seen(tmp_path: Path) -> None:
    half = numpy_helper.from_array(np.float16([2, 2]), "w")
    assert OtherModel(saved(tmp_path / "half.onnx", model(half))).in_half
    assert not OtherModel(saved(tmp_path / "m.onnx", model())).in_half


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ProtogenError, match="cannot read: Is a directory"):
        OtherModel(tmp_path)
    shutil.rmtree(tmp_path)
