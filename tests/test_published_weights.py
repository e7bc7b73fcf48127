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
    actual = BACKENDS[form](graph, given, Setting(outputs_only=fold))
    assert set(net.outputs) == set(expected)
    for blob, value in expected.items():
        assert actual[blob].shape == value.shape
        assert np.max(np.abs(actual[blob] - value)) <= 1e-5 * np.max(np.abs(value)), blob


def test_the_command_line_gives_them_too(tmp_path: Path) -> None:
    """`convert` with weights, then a plain ONNX Runtime session, as a user would."""
    made = tmp_path / "det1.onnx"
    assert exit_code("convert", FOLDER / "det1.prototxt", FOLDER / "det1.caffemodel", "-o", made) == 0
    with np.load(ORACLE / "real" / "det1.npz") as data:
        np.testing.assert_allclose(run_model(made, data["in/data"])["prob1"], data["out/prob1"], atol=1e-5)
