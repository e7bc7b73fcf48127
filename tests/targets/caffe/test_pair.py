"""Prototxt and caffemodel as a pair: both or none, and OpenCV 4 reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import protogen
from protogen.errors import ProtogenError
from protogen.graph.fold import folded
from protogen.targets.caffe.pair import save_pair
from tests.running import by_torch, randomised


def classifier() -> protogen.Net:
    b = protogen.NetBuilder("classifier")
    b.input("data", (1, 3, 33, 32))
    x = b.relu(b.bn(b.conv(16, 3, stride=2, pad=1, name="conv1")))
    x = b.pool(x, "MAX", 3, stride=2, name="pool1")
    left = b.relu(b.scale(b.bn(b.conv(x, 8, 1, bias_term=False, name="left"))))
    right = b.conv(x, 8, 3, pad=1, group=4, name="right")
    x = b.concat(left, right, name="both")
    x = b.dropout(b.eltwise(x, b.conv(x, 16, 1, name="side"), name="sum"))
    x = b.pool(x, "AVE", 2, stride=2, name="pool2")
    b.softmax(b.fc(x, 10, name="fc"), name="prob")
    return b.build()


def random_input(net: protogen.Net) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(net.shapes["data"], np.float32)


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("model", ["classifier", "peleenet"])
def test_opencv_reads_the_pair_and_gives_the_same(tmp_path: Path, model: str, fold: bool) -> None:
    cv2 = pytest.importorskip("cv2", reason="needs opencv-python-headless<5")
    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        pytest.skip("OpenCV 5 reads no Caffe files")
    net = randomised(classifier() if model == "classifier" else protogen.models.peleenet(size=64, classes=10), 2)
    written = net.folded() if fold else net
    save_pair(written.graph(), tmp_path / "a.prototxt", tmp_path / "a.caffemodel")
    x = random_input(net)
    reader = cv2.dnn.readNetFromCaffe(str(tmp_path / "a.prototxt"), str(tmp_path / "a.caffemodel"))
    reader.setInput(x, "data")
    expected = by_torch(net, {"data": x})[0]
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(reader.forward(net.outputs[0]), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("ending", ["caffemodel", "caffemodel.h5"])
def test_the_folded_pair_gives_the_same_outputs(tmp_path: Path, ending: str) -> None:
    net = randomised(classifier(), 3)
    save_pair(folded(net.graph()), tmp_path / "a.prototxt", tmp_path / f"a.{ending}")
    other = protogen.load(tmp_path / "a.prototxt", tmp_path / f"a.{ending}")
    assert not {"BatchNorm", "Scale", "Dropout"} & {layer.type for layer in other.layers}
    x = random_input(net)
    np.testing.assert_allclose(by_torch(other, {"data": x})[0], by_torch(net, {"data": x})[0], rtol=0, atol=1e-5)


def test_both_or_none(tmp_path: Path) -> None:
    (tmp_path / "a.prototxt").write_text("old")
    with pytest.raises(ProtogenError, match="layers without weights"):
        save_pair(classifier().graph(), tmp_path / "a.prototxt", tmp_path / "a.caffemodel")
    with pytest.raises(ProtogenError, match="cannot write"):
        save_pair(classifier().fill().graph(), tmp_path / "a.prototxt", tmp_path / "nowhere" / "a.caffemodel")
    with pytest.raises(ProtogenError, match="the same file"):
        save_pair(classifier().fill().graph(), tmp_path / "a.prototxt", tmp_path / "a.prototxt")
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"a.prototxt": "old"}
