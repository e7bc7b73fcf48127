"""OpenCV as a backend: it agrees, and what it refuses is told in its own words."""

from __future__ import annotations

import numpy as np
import pytest

import protogen
from protogen import ProtogenError
from protogen.backends import BACKENDS, OF_ONNX, opencv
from protogen.backends.setting import Setting
from tests.convert.test_onnx_options import SSD

needs_opencv5 = pytest.mark.skipif(
    int(getattr(pytest.importorskip("cv2", reason="OpenCV is not installed"), "__version__", "0").partition(".")[0]) < 5,
    reason="needs OpenCV 5",
)


def test_a_classifier_in_any_version() -> None:
    report = protogen.verify(protogen.models.peleenet(size=64, classes=10), ("torch", "opencv"))
    assert report.ok, report.verdict
    assert report.comparisons == ["opencv / torch", "torch folded / torch", "opencv folded / torch"]


def test_renamed_and_preprocessed() -> None:
    from protogen.convert.onnx_options import Preprocess

    net = protogen.models.peleenet(size=64, classes=10)
    options = {"preprocess": Preprocess(mean=(104, 117, 123), scale=0.017, swap_rb=True), "rename": {"data": "image"}}
    report = protogen.verify(net, ("torch", "opencv"), **options)
    assert report.ok, report.verdict


@needs_opencv5
def test_detections() -> None:
    report = protogen.verify(protogen.loads(SSD), ("torch", "opencv"))
    assert report.ok, report.verdict
    assert "detection_out" in {row.blob for row in report.rows}


def test_what_it_refuses_is_told_in_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    import cv2

    def refuse(*_: object) -> None:
        raise cv2.error("OpenCV(x) cannot\n  do this")

    monkeypatch.setattr(opencv, "run_model", refuse)
    with pytest.raises(
        ProtogenError, match=rf"OpenCV {cv2.__version__} cannot run this net's ONNX form.*: OpenCV\(x\) cannot do this"
    ):
        protogen.verify(protogen.models.peleenet(size=32, classes=10), ("torch", "opencv"))


def test_a_model_it_cannot_read() -> None:
    import cv2

    with pytest.raises(cv2.error):
        opencv.run_model(b"no model", {}, ["y"])


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(ProtogenError, match=r"pip install 'protogen\[opencv\]'"):
        protogen.verify(protogen.models.peleenet(size=32, classes=10), ("torch", "opencv"))


@pytest.mark.parametrize("name", OF_ONNX)
def test_shapes_are_the_nets(name: str) -> None:
    """OpenCV 4 shows vectors and scalars as matrices."""
    net = protogen.loads("""
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }
        layer { name: "sum" type: "Reduction" bottom: "x" top: "sum" reduction_param { axis: 1 } }""")
    feed = {"x": np.ones((2, 3, 4, 4), np.float32)}
    blobs = BACKENDS[name](net, feed, Setting(fold=True))
    assert {blob: value.shape for blob, value in blobs.items()} == {"sum": (2,)}
    assert (blobs["sum"] == 48).all()
