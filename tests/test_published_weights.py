"""Nets with the weights their authors published give Caffe's own outputs, in every form they convert to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import protogen
from protogen.backends import BACKENDS
from protogen.backends.setting import Setting
from protogen.graph.fold import folded
from tests.commands import exit_code
from tests.corpus import CORPUS, ORACLE, needs_oracle
from tests.running import run_model

pytestmark = needs_oracle

FOLDER = CORPUS / "kpzhang93+MTCNN_face_detection_alignment/code/codes/MTCNNv2/model"


@pytest.mark.filterwarnings("ignore:.*weights of layers that the net does not have")  # det2's was published with one more
@pytest.mark.parametrize("fold", [False, True], ids=["as it is", "folded"])
@pytest.mark.parametrize("form", ["torch", "onnxruntime"])
@pytest.mark.parametrize("name", ["det1", "det2"])
def test_mtcnn(name: str, form: str, fold: bool) -> None:
    with np.load(ORACLE / "real" / f"{name}.npz") as data:
        given = {key.partition("/")[2]: data[key] for key in data.files if key.startswith("in/")}
        expected = {key.partition("/")[2]: data[key] for key in data.files if key.startswith("out/")}
    shapes = {blob: value.shape for blob, value in given.items()}
    net = protogen.load(FOLDER / f"{name}.prototxt", FOLDER / f"{name}.caffemodel", inputs=shapes)
    graph = folded(net.graph()) if fold else net.graph()
    actual = dict(BACKENDS[form](graph, given, Setting(outputs_only=fold)))
    assert set(net.outputs) == set(expected)
    for blob, value in expected.items():
        assert actual[blob].shape == value.shape
        assert np.max(np.abs(actual[blob] - value)) <= 1e-5 * np.max(np.abs(value)), blob


@pytest.mark.filterwarnings("ignore:.*(as it was trained|nothing tells what these fields mean)")
def test_the_caffemodel_alone_gives_them_too() -> None:
    """det1.caffemodel holds the net that was trained: its inner blobs are those of the published det1.prototxt."""
    with np.load(ORACLE / "real" / "det1.npz") as data:
        image, expected = data["in/data"], {name: data[f"out/{name}"] for name in ("prob1", "conv4-2")}
    shapes = {"data12face": image.shape, "label12face": (1, 6)}
    net = protogen.load(FOLDER / "det1.caffemodel", inputs=shapes, outputs=["conv4-1", "conv4-2"])
    assert net.inputs == ["data12face"]
    actual = dict(BACKENDS["onnxruntime"](net.graph(), {"data12face": image}, Setting()))
    scores = np.exp(actual["conv4-1"])
    np.testing.assert_allclose(scores / scores.sum(axis=1, keepdims=True), expected["prob1"], atol=1e-5)
    np.testing.assert_allclose(actual["conv4-2"], expected["conv4-2"], atol=1e-5)


def test_the_command_line_gives_them_too(tmp_path: Path) -> None:
    """`convert` with weights, then a plain ONNX Runtime session, as a user would."""
    made = tmp_path / "det1.onnx"
    assert exit_code("convert", FOLDER / "det1.prototxt", FOLDER / "det1.caffemodel", "-o", made) == 0
    with np.load(ORACLE / "real" / "det1.npz") as data:
        np.testing.assert_allclose(run_model(made, data["in/data"])["prob1"], data["out/prob1"], atol=1e-5)
