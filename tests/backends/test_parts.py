"""Models in parts: the same values as of the whole, and no part larger than it need be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import protogen
from protogen import NetBuilder
from protogen.backends import onnxruntime
from protogen.backends.model_file import model_of
from protogen.backends.onnxruntime import run_onnxruntime
from protogen.backends.parts import Part, parts
from protogen.backends.setting import Setting
from protogen.graph.graph import Graph
from protogen.targets.onnx.options import OnnxOptions
from protogen.verification import random_inputs, with_random_weights
from tests.backends.test_model_file import BGR
from tests.nets import SSD, small_net

LSTM = """
layer { name: "in" type: "Input" top: "x" top: "cont" input_param { shape { dim: 5 dim: 2 dim: 3 } shape { dim: 5 dim: 2 } } }
layer { name: "lstm" type: "LSTM" bottom: "x" bottom: "cont" top: "h" recurrent_param { num_output: 4 } }
layer { name: "relu" type: "ReLU" bottom: "x" top: "x" }
layer { name: "fc" type: "InnerProduct" bottom: "h" top: "fc" inner_product_param { num_output: 2 axis: 2 } }"""


def graph_of(text: str) -> Graph:
    return with_random_weights(protogen.loads(text).graph())


@pytest.mark.parametrize("options", [{}, {"fp16": True}, {"preprocess": BGR}, {"rename": {"data": "image", "prob": "scores"}}])
def test_the_values_are_those_of_the_whole(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    compare_parts_with_whole(small_net().graph(), Setting(onnx=OnnxOptions(**options)), monkeypatch)


@pytest.mark.parametrize("text", [SSD, LSTM], ids=["detections", "recurrent, and in place on an input"])
def test_so_they_are_of_other_kinds_of_layers(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compare_parts_with_whole(graph_of(text), Setting(), monkeypatch)


def compare_parts_with_whole(graph: Graph, setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = random_inputs(graph, 0, {}, setting.preprocess)
    whole = dict(run_onnxruntime(graph, feed, setting))
    sessions: list[Any] = []
    right = onnxruntime.session_of
    monkeypatch.setattr(onnxruntime, "session_of", lambda *arguments: sessions.append(arguments) or right(*arguments))
    monkeypatch.setattr(onnxruntime, "PART", 1)
    cut = dict(run_onnxruntime(graph, feed, setting))
    assert len(sessions) > 2, "there are parts"
    assert cut.keys() == whole.keys()
    for blob, value in whole.items():
        np.testing.assert_allclose(cut[blob], value, rtol=1e-5, atol=1e-6 * np.abs(value).max(), err_msg=blob)


def chain(layers: int = 8) -> Graph:
    """Convolutions one after the other; each has 36 KiB of blob, and 2.3 KiB of weights."""
    b = NetBuilder("chain")
    x = b.input("data", (1, 8, 32, 36))
    for _ in range(layers):
        x = b.conv(x, 8, 3, pad=1)
    return b.build().graph()


def cut(limit: int) -> list[Part]:
    model = model_of(chain(), {"data": np.zeros((1, 8, 32, 36), np.float32)}, Setting())
    return list(parts(model.model, dict.fromkeys(model.outputs, 36 << 10), limit))


def test_parts_are_within_the_limit() -> None:
    assert [len(part.outputs) for part in cut(80 << 10)] == [2] * 4
    assert [len(part.model.arrays) for part in cut(80 << 10)] == [4] * 4, "each has its own weights"
    assert [len(part.outputs) for part in cut(1)] == [1] * 8, "but no part is less than a layer"
    (whole,) = cut(1 << 20)
    assert whole.inputs == ["data"]


def test_what_no_later_part_reads_is_spent() -> None:
    spent = [part.spent for part in cut(80 << 10)]
    assert spent == [["data", "conv1"], ["conv2", "conv3"], ["conv4", "conv5"], ["conv6", "conv7", "conv8"]]


def test_no_file_of_a_part_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(onnxruntime, "PART", 1)
    stream = run_onnxruntime(chain(), {"data": np.zeros((1, 8, 32, 36), np.float32)}, Setting())
    next(stream)
    del stream
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("limit", [1, 4000, 10**9])
def test_parts_give_what_the_whole_gives(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A BatchNorm's mean is divided by its factor, unless that is 0: constants that are made of other constants."""
    b = NetBuilder()
    x = b.input("data", (1, 3, 8, 8))
    for _ in range(3):
        x = b.conv_block(x, 4)
    net = b.build().fill()
    for layer in net.layers:
        if layer.type == "BatchNorm":
            net.weights[layer.name] = [np.full(4, 3.0), np.full(4, 2.0), np.full(1, 2.0)]
    monkeypatch.setattr(onnxruntime, "PART", limit)
    report = protogen.verify(net, backends=("torch", "onnxruntime"))
    assert report.ok, report.verdict
