"""ONNX files written from arrays: the same model as in memory, whole or with its weights apart, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import protogen
from protogen.errors import ConversionError, ProtogenError
from protogen.targets.onnx import emit as converter
from protogen.targets.onnx import file as onnx_file
from tests.running import run_model


def net() -> protogen.Net:
    return protogen.models.peleenet(size=32, classes=10).fill(1)


def tensors(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def equal(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return list(a) == list(b) and all(a[name].tobytes() == b[name].tobytes() and a[name].shape == b[name].shape for name in a)


def test_file_and_model_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    made = net().to_onnx(path)
    read = onnx.load(path)
    assert equal(tensors(made), tensors(read))
    made.graph.ClearField("initializer")
    read.graph.ClearField("initializer")
    assert made == read
    onnx.checker.check_model(str(path), full_check=True)


@pytest.mark.parametrize("external", [False, True])
def test_big_models_refer_to_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, external: bool) -> None:
    whole = net().to_onnx()
    monkeypatch.setattr(converter, "MAX_RETURNED_BYTES", 1000)
    made = net().to_onnx(tmp_path / "a.onnx", external_data=external)
    assert made.ByteSize() < 200_000
    onnx.load_external_data_for_model(made, str(tmp_path))
    assert equal(tensors(made), tensors(whole))


def test_external_data(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 32, 32), np.float32)
    whole = net().to_onnx()
    path = tmp_path / "a.onnx"
    net().to_onnx(path, external_data=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.onnx", "a.onnx.data"]
    assert path.stat().st_size < 200_000
    onnx.checker.check_model(str(path), full_check=True)
    assert equal(tensors(onnx.load(path)), tensors(whole))
    np.testing.assert_array_equal(run_model(path, x)["prob"], run_model(whole, x)["prob"])
    offsets = [int(entry.value) for tensor in onnx.load(path, load_external_data=False).graph.initializer
               for entry in tensor.external_data if entry.key == "offset"]  # fmt: skip
    assert offsets
    assert all(offset % 4096 == 0 for offset in offsets)


def test_beyond_protobufs_limit_weights_go_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "MAX_PROTO_BYTES", 1000)
    net().to_onnx(tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx.data").exists()
    assert equal(tensors(onnx.load(tmp_path / "a.onnx")), tensors(net().to_onnx()))


@pytest.mark.parametrize("external", [False, True])
def test_both_files_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, external: bool) -> None:
    for name in ("a.onnx", "a.onnx.data"):
        (tmp_path / name).write_text("old")
    calls = []

    def full(file: object, array: object) -> None:
        calls.append(array)
        if len(calls) > 5:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx_file, "_write_values", full)
    with pytest.raises(ProtogenError, match="No space left"):
        net().to_onnx(tmp_path / "a.onnx", external_data=external)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a.onnx": "old", "a.onnx.data": "old"}


def test_faults_are_found_without_the_weights() -> None:
    model = converter.emit(net().graph())
    model.skeleton.graph.node[0].input[0] = "nowhere"
    with pytest.raises(ConversionError, match="nowhere"):
        model.check()
    model = converter.emit(net().graph())
    weight = next(name for name, array in model.arrays.items() if array.ndim == 4)
    model.arrays[weight] = model.arrays[weight][:-1]
    with pytest.raises(ConversionError):
        model.check()


def test_external_data_goes_with_the_model_that_referred_to_it(tmp_path: Path) -> None:
    path, data = tmp_path / "a.onnx", tmp_path / "a.onnx.data"
    net().to_onnx(path, external_data=True)
    assert data.exists()
    net().to_onnx(path)
    assert os.listdir(tmp_path) == ["a.onnx"]
    data.write_bytes(b"of somebody else")
    net().to_onnx(path)
    assert data.exists(), "no model of ours referred to it"
