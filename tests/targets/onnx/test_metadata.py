"""What an ONNX model says of itself: where it came from, what to feed it, which weights were drawn."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

import protogen
from protogen.targets.onnx.options import Preprocess
from tests.nets import SSD
from tests.running import metadata_of
from tests.targets.onnx.nets import classifier


@pytest.fixture
def files(tmp_path: Path) -> Path:
    net = classifier()
    (tmp_path / "net.prototxt").write_text(net.to_prototxt())
    net.save_caffemodel(tmp_path / "net.caffemodel")
    return tmp_path


def test_metadata_tells_where_a_model_came_from(files: Path) -> None:
    net = protogen.load(files / "net.prototxt", files / "net.caffemodel")
    sources = [str(files / name) for name in ("net.prototxt", "net.caffemodel")]
    model = net.to_onnx(preprocess=Preprocess((104, 117, 123), 0.017, True, True), rename={"data": "rgb"})
    stated = metadata_of(model)
    for i, path in enumerate(sources, 1):
        assert stated[f"source.{i}.name"] == Path(path).name
        assert stated[f"source.{i}.sha256"] == hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert stated["protogen.version"] == model.producer_version == protogen.__version__
    assert stated["preprocessing"] == (
        "rgb: float32 image, NHWC; to NCHW; first and last channel swapped (RGB to the net's BGR); "
        "minus (104, 117, 123); times (0.017)"
    )
    assert "net.prototxt" in model.doc_string
    assert str(files) not in str(model)


def test_without_weights_of_a_file_only_the_net_is_named(files: Path) -> None:
    stated = metadata_of(protogen.load(files / "net.prototxt").to_onnx())
    assert stated["source.1.name"] == "net.prototxt"
    assert "source.2.name" not in stated
    assert set(metadata_of(classifier().to_onnx())) == {"protogen.version"}


def test_the_same_input_gives_the_same_bytes(files: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        net = protogen.load(files / "net.prototxt", files / "net.caffemodel")
        net.to_onnx(files / name, preprocess=Preprocess(1.0))
    assert (files / "a.onnx").read_bytes() == (files / "b.onnx").read_bytes()


def test_metadata_names_layers_whose_weights_came_from_fillers() -> None:
    net = protogen.loads(SSD)
    assert metadata_of(net.to_onnx(postprocess=False))["weights.filled"] == "conv,loc,conf"
    net.weights["loc"] = [np.ones((8, 8, 1, 1)), np.zeros(8)]
    assert metadata_of(net.to_onnx())["weights.filled"] == "conv,conf"
    assert net.to_onnx().SerializeToString() == net.to_onnx().SerializeToString()
    assert "weights.filled" not in metadata_of(net.fill().to_onnx())
