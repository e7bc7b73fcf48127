"""OpenCV as a backend: it agrees, and what it refuses is told in its own words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import protogen
from protogen import ProtogenError
from protogen.backends import opencv
from tests.nets import SSD

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
needs_opencv5 = pytest.mark.skipif(int(cv2.__version__.partition(".")[0]) < 5, reason="needs OpenCV 5")


def test_a_classifier_in_any_version() -> None:
    report = protogen.verify(protogen.models.peleenet(size=64, classes=10), ("torch", "opencv"))
    assert report.ok, report.verdict
    assert report.comparisons == ["opencv / torch", "torch folded / torch", "opencv folded / torch"]


def test_renamed_and_preprocessed() -> None:
    from protogen.targets.onnx.options import Preprocess

    net = protogen.models.peleenet(size=64, classes=10)
    options = {"preprocess": Preprocess(mean=(104, 117, 123), scale=0.017, swap_rb=True), "rename": {"data": "image"}}
    report = protogen.verify(net, ("torch", "opencv"), **options)
    assert report.ok, report.verdict


@needs_opencv5
def test_detections() -> None:
    report = protogen.verify(protogen.loads(SSD), ("torch", "opencv"))
    assert report.ok, report.verdict
    assert "detection_out" in {row.blob for row in report.rows}


@needs_opencv5
def test_proposals_of_equal_scores() -> None:
    """Half of the boxes are too small; the Loop that sorts them as Caffe does runs there, too."""
    net = protogen.loads("""
        layer { name: "in" type: "Input" top: "scores" top: "moves" top: "info" input_param {
          shape { dim: 1 dim: 12 dim: 5 dim: 6 } shape { dim: 1 dim: 24 dim: 5 dim: 6 } shape { dim: 1 dim: 3 } } }
        layer { name: "proposal" type: "Proposal" bottom: "scores" bottom: "moves" bottom: "info" top: "rois" top: "best"
                proposal_param { ratio: 0.5 ratio: 1 ratio: 2 scale: 1 scale: 2 post_nms_topn: 90 } }""")
    scores = np.random.default_rng(0).random((1, 12, 5, 6)).astype(np.float32)
    report = protogen.verify(net, ("torch", "opencv"), inputs={"scores": scores})
    assert report.ok, report.verdict


@pytest.mark.skipif(int(cv2.__version__.partition(".")[0]) > 4, reason="needs OpenCV 4, which lacks NonMaxSuppression")
def test_opencv_4_says_that_detections_need_version_5() -> None:
    with pytest.raises(ProtogenError, match=r"^OpenCV 4\S* reads no detections .* need version 5 ") as error:
        protogen.verify(protogen.loads(SSD), ("torch", "opencv"))
    assert "handleNode" not in str(error.value)


def test_a_model_it_cannot_read_is_told_in_its_words(tmp_path: Path) -> None:
    model = tmp_path / "no.onnx"
    model.write_bytes(b"no model")
    with pytest.raises(ProtogenError, match=r"^OpenCV \d.* cannot run this net's ONNX form.*OpenCV\(.*ONNX"):
        opencv.run_model(str(model), {}, ["y"])


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import os; os.abort()", r"OpenCV crashed .*exit code -6"),
        ("raise ValueError('no')", r"OpenCV crashed .*exit code 1\) ValueError: no"),
        ("import time; time.sleep(60)", r"not run .* within 0.5 s"),
    ],
)
def test_a_crash_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch, program: str, message: str) -> None:
    monkeypatch.setattr(opencv, "_PROGRAM", program)
    with pytest.raises(ProtogenError, match=message) as error:
        opencv.run_model("net.onnx", {}, ["y"], seconds=0.5 if "sleep" in program else None)
    assert "\n" not in str(error.value)


def test_modules_in_the_working_folder_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of a downloaded model may hold Python files, too."""
    for name in ("cv2", "numpy", "json", "protogen", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("open('pwned', 'w').close()\nraise SystemExit(9)\n")
    monkeypatch.chdir(tmp_path)
    report = protogen.verify(protogen.models.peleenet(size=32, classes=10), ("torch", "opencv"), folded=False)
    assert report.ok, report.verdict
    assert not Path("pwned").exists()


@needs_opencv5
@pytest.mark.filterwarnings("ignore:.*taken for happynear's Normalize")
@pytest.mark.parametrize("path", ["sizes", "fixed"])
def test_open_sizes(path: str) -> None:
    """OpenCV 5.0 crashes on a PRelu whose slopes are made by a node: they must be initializers of their shape."""
    net = protogen.loads("""
        layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 12 dim: 12 } } }
        layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 4 kernel_size: 3 } }
        layer { name: "p" type: "PReLU" bottom: "c" top: "c" }
        layer { name: "n" type: "Normalize" bottom: "c" top: "n" }""")
    report = protogen.verify(net, ("torch", "opencv"), dynamic_size=path == "sizes")
    assert report.ok, report.verdict


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(ProtogenError, match=r"pip install '\.\[opencv\]'"):
        protogen.verify(protogen.models.peleenet(size=32, classes=10), ("torch", "opencv"))
