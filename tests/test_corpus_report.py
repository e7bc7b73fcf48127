"""The report over the collection says of each file what is so: it stands behind the README's figures."""

from __future__ import annotations

import re

import numpy as np
import pytest

from protogen.prototxt.reader import read_definition, read_source
from tests import corpus_report
from tests.corpus import CORPUS, needs_oracle
from tests.corpus_report import Row, examine, totals
from tests.corpus_shapes import assumed_shapes

FULL = {"read": "ok", "shapes": "ok", "PyTorch": "ok", "ONNX": "ok", "numbers": "ok"}
LENET = "BVLC+caffe/examples/mnist/lenet.prototxt"


@needs_oracle
def test_a_net_that_gets_all_the_way() -> None:
    row = examine(LENET)
    assert (row.kind, row.states, row.reasons) == ("net", FULL, [])


@needs_oracle
def test_wrong_numbers_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """A single value off by more than the tolerance, which rounding does not explain."""
    right = corpus_report.run_onnxruntime

    def off(*arguments: object) -> dict[str, np.ndarray]:
        blobs = right(*arguments)  # type: ignore[arg-type]
        blobs["prob"].flat[0] += 2e-3 * np.abs(blobs["prob"]).max()
        return blobs

    monkeypatch.setattr(corpus_report, "run_onnxruntime", off)
    row = examine(LENET)
    assert row.states == {**FULL, "numbers": "no"}
    assert row.reasons[0].startswith("numbers: ONNX Runtime: blob 'prob' is off by")


@needs_oracle
def test_wrong_shapes_show(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = corpus_report.facts(LENET)
    changed = {**facts, "blobs": {**facts["blobs"], "prob": [1, 2]}}
    monkeypatch.setattr(corpus_report, "facts", lambda path: changed)
    assert examine(LENET).states["shapes"] == "no"


@needs_oracle
def test_a_train_val_file_without_shapes() -> None:
    row = examine("BVLC+caffe/examples/mnist/lenet_train_test.prototxt")
    assert row.states == {"read": "ok", "shapes": "built", "PyTorch": "ok", "ONNX": "ok"}


@needs_oracle
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("BVLC+caffe/examples/mnist/lenet_solver.prototxt", "solver"),
        ("chuanqi305+MobileNet-SSD/create_lmdb/code/labelmap.prototxt", "label map"),
        ("chuanqi305+MobileNet-SSD/template/MobileNetSSD_deploy_template.prototxt", "template"),
        ("kpzhang93+MTCNN_face_detection_alignment/code/codes/MTCNNv2/model/det1.caffemodel", "weights"),
    ],
)
def test_what_is_no_net(path: str, kind: str) -> None:
    assert examine(path) == Row(path, kind)


@needs_oracle
def test_what_cannot_be_read_has_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut(path: object) -> tuple[str, str]:
        text, source = read_source(CORPUS / LENET)
        return text[:-20], source

    monkeypatch.setattr(corpus_report, "read_source", cut)
    row = examine(LENET)
    assert row.states == {"read": "no"}
    assert re.fullmatch(r"read: \d+:\d+: .* is not closed .*", row.reasons[0]), row.reasons


def test_totals_add_up() -> None:
    rows = [
        Row("a", states=dict(FULL)),
        Row("b", states={**FULL, "numbers": "unstable"}),
        Row("c", states={"read": "ok", "shapes": "built", "PyTorch": "ok", "ONNX": "no"}),
        Row("d", states={"read": "no"}),
        Row("e", kind="solver"),
    ]
    lines = totals(rows, corpus_report.COLUMNS)
    assert lines[0] == "5 files: 4 x net, 1 x solver"
    assert lines[1] == "read     3 ok, 1 no"
    assert "PyTorch  3 ok, 1 -" in lines
    assert "ONNX     2 ok, 1 no, 1 -" in lines
    assert "numbers  2 -, 1 ok, 1 unstable" in lines


def test_shapes_of_data_sets() -> None:
    """The first that fit are taken; YOLO's boxes are padded to 300, its segments as many as the layer compares."""
    definition = read_definition("""
        layer { name: "data" type: "AnnotatedData" top: "data" top: "label" top: "seg_label"
                transform_param { resize_param { height: 416 width: 416 } }
                annotated_data_param { yolo_data_type: 1 seg_scales: 4 } }
        layer { name: "s" type: "Convolution" bottom: "data" top: "s" convolution_param { num_output: 2 kernel_size: 1 } }
        layer { name: "loss" type: "YoloSeg" bottom: "s" bottom: "seg_label" top: "loss" }""")
    shapes = list(assumed_shapes(definition))
    assert {shape["data"] for shape in shapes} == {(1, 3, 416, 416), (1, 1, 416, 416), (1, 2, 416, 416)}
    assert [shape["label"] for shape in shapes[:3]] == [(1,), (1, 1, 416, 416), (1, 1, 300, 5)]
    assert {shape["seg_label"] for shape in shapes} == {(1, 2, 104, 104)}
