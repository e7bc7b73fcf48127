"""Files to nets: old ones whole, with their weights; standard input; and what an error is told by."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest

import protogen
from tests.oracle import FORWARD, LEGACY, assert_close
from tests.running import by_onnx, by_torch

OLD = ["v0.caffemodel", "v0.double.caffemodel", "v0.caffemodel.h5", "v1.caffemodel", "v1.caffemodel.h5"]


@pytest.mark.parametrize("weights", [*OLD, "v0.new.caffemodel", "v1.new.caffemodel", "batchnorm_old.new.caffemodel"])
def test_old_nets_with_their_weights_compute_what_caffe_computed(weights: str) -> None:
    if weights.endswith(".h5"):
        pytest.importorskip("h5py")
    name = weights.partition(".")[0]
    net = protogen.load(LEGACY / f"{name}.prototxt", LEGACY / weights)
    with np.load(LEGACY / f"{name}.npz") as data:
        inputs = {key.removeprefix("in/"): data[key] for key in data.files if key.startswith("in/")}
        expected = {key.removeprefix("out/"): data[key] for key in data.files if key.startswith("out/")}
    assert set(net.outputs) == set(expected)
    for made in (by_torch(net, inputs), by_onnx(net, inputs)):
        for blob, value in zip(net.outputs, made):
            assert_close(value, expected[blob], FORWARD, blob)


def test_the_name_of_standard_input_is_a_dash(monkeypatch: pytest.MonkeyPatch) -> None:
    text = b'layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))
    assert protogen.load("-").shapes == {"x": (1, 2)}


def test_errors_are_told_with_the_files_name(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text('name: "n"\nlayer { botom: "x" }')
    with pytest.raises(protogen.ParseError, match=r"net\.prototxt:2:9: unknown field 'botom'.*did you mean 'bottom'"):
        protogen.load(path)
    with pytest.raises(protogen.ParseError, match=r"^built in memory:1:1: "):
        protogen.loads("nmae: 1", source="built in memory")
