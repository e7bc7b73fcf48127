"""Order and names of outputs are those that programs for OpenCV 4 rely on: held against its Caffe importer, and in OpenCV 5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import protogen
from protogen import ConversionError, ProtogenNote
from protogen.backends import opencv
from tests.running import names_of, run_model

DATA = 'layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 6 dim: 6 } } }'
CONV = "convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: 'gaussian' std: 1 } }"
HEADS = f"""{DATA}
    layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv" {CONV} }}
    layer {{ name: "relu" type: "ReLU" bottom: "conv" top: "conv" }}
    layer {{ name: "boxes" type: "Convolution" bottom: "conv" top: "boxes" {CONV} }}
    layer {{ name: "all" type: "Flatten" bottom: "conv" top: "flat" }}
    layer {{ name: "soft" type: "Softmax" bottom: "flat" top: "prob" }}"""
NETS = {
    "two heads": (HEADS, ["soft", "boxes"]),
    "ends in place": (
        f"""{DATA} layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv" {CONV} }}
        layer {{ name: "side" type: "TanH" bottom: "conv" top: "tanh" }}
        layer {{ name: "scale" type: "Power" bottom: "conv" top: "y" power_param {{ scale: 2 }} }}
        layer {{ name: "drop" type: "Dropout" bottom: "y" top: "y" }}""",
        ["drop", "side"],
    ),
    "ends in several tops": (
        f"""{DATA} layer {{ name: "side" type: "TanH" bottom: "data" top: "tanh" }}
        layer {{ name: "parts" type: "Slice" bottom: "data" top: "a" top: "b" top: "c"
                 slice_param {{ slice_point: 1 slice_point: 2 }} }}""",
        ["parts", "parts.1", "parts.2", "side"],
    ),
    "convolutions go by their blobs": (
        f"""{DATA} layer {{ name: "x" type: "Convolution" bottom: "data" top: "map" {CONV} }}
        layer {{ name: "twice" type: "TanH" bottom: "map" top: "a" }}
        layer {{ name: "twice" type: "Sigmoid" bottom: "map" top: "b" }}
        layer {{ name: "x" type: "Convolution" bottom: "data" top: "c" {CONV} }}""",
        ["c", "twice", "twice_1"],
    ),
}
X = np.random.default_rng(0).standard_normal((1, 4, 6, 6), dtype=np.float32)


def net_of(name: str) -> protogen.Net:
    net = protogen.loads(NETS[name][0]).fill(1)
    rng = np.random.default_rng(2)
    for layer, blobs in net.weights.items():
        net.weights[layer] = [rng.standard_normal(blob.shape).astype(np.float32) for blob in blobs]
    return net


@pytest.fixture
def opencv4() -> Any:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    if not hasattr(cv2.dnn, "readNetFromCaffe") or int(cv2.__version__.partition(".")[0]) > 4:
        pytest.skip("needs opencv-python-headless<5, which reads Caffe's files")
    return cv2


@pytest.mark.filterwarnings("ignore:.*has the same name")
@pytest.mark.parametrize("fold", [True, False], ids=["folded", "as it is"])
@pytest.mark.parametrize("name", NETS)
def test_names_and_first_output_are_those_of_opencvs_caffe_importer(name: str, fold: bool, opencv4: Any, tmp_path: Path) -> None:
    net = net_of(name)
    net.save_prototxt(tmp_path / "net.prototxt")
    net.save_caffemodel(tmp_path / "net.caffemodel")
    model = net.to_onnx(names="layer", fold=fold)
    assert names_of(model) == (["data"], NETS[name][1])
    weights = [str(tmp_path / "net.caffemodel")] if net.weights else []
    reader = opencv4.dnn.readNetFromCaffe(str(tmp_path / "net.prototxt"), *weights)
    ends = [end for end in names_of(model)[1] if "." not in end]
    assert sorted(reader.getUnconnectedOutLayersNames()) == sorted(ends)
    results = run_model(model, X)
    reader.setInput(X)
    first = next(iter(results.values()))
    np.testing.assert_allclose(reader.forward().reshape(first.shape), first, rtol=1e-4, atol=1e-5)
    for end in ends:
        np.testing.assert_allclose(reader.forward(end).reshape(results[end].shape), results[end], rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:.*has the same name")
@pytest.mark.parametrize("names", ["blob", "layer"])
@pytest.mark.parametrize("name", NETS)
def test_opencv_5_gives_the_last_layers_first_top(name: str, names: str, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    if int(cv2.__version__.partition(".")[0]) < 5:
        pytest.skip("needs opencv-python-headless>=5, whose forward() gives an ONNX model's first output")
    net = net_of(name)
    net.to_onnx(tmp_path / "net.onnx", names=names)
    expected = net.to_torch().blobs(torch.from_numpy(X))[net.layers[-1].tops[0]].detach().numpy()
    reader = cv2.dnn.readNetFromONNX(str(tmp_path / "net.onnx"))
    reader.setInput(X)
    np.testing.assert_allclose(reader.forward(), expected, rtol=1e-4, atol=1e-5)


def test_every_name_of_an_output_gives_its_values_in_opencv(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    net = net_of("two heads")
    model = net.to_onnx(tmp_path / "net.onnx", names="layer")
    values = opencv.run_model(str(tmp_path / "net.onnx"), {"data": X}, ["boxes", "soft"])
    expected = run_model(model, X)
    for value, name in zip(values, ["boxes", "soft"]):
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5)


def test_outputs_that_were_asked_for_keep_their_order() -> None:
    net = net_of("two heads")
    assert names_of(net.to_onnx())[1] == ["prob", "boxes"], "the last layer's first"
    assert names_of(net.to_onnx(outputs=["boxes", "prob"]))[1] == ["boxes", "prob"]
    assert names_of(net.cut(outputs=["conv", "prob"]).to_onnx(names="layer"))[1] == ["relu", "soft"]
    assert net.outputs == ["boxes", "prob"], "Caffe's order"


def test_a_layer_named_like_an_input_is_told_apart_from_it() -> None:
    net = protogen.loads(DATA + 'layer { name: "data" type: "TanH" bottom: "data" top: "y" }')
    assert names_of(net.to_onnx(names="layer")) == (["data"], ["data_1"])


def test_names_of_layers_can_be_changed_and_are_verified() -> None:
    net = net_of("ends in place")
    rename = {"drop": "result", "data": "image"}
    assert names_of(net.to_onnx(names="layer", rename=rename)) == (["image"], ["result", "side"])
    with pytest.raises(ConversionError, match="cannot rename 'y': not an input or output"):
        net.to_onnx(names="layer", rename={"y": "result"})
    report = protogen.verify(net, names="layer", rename=rename, dynamic_size=True)
    assert report.ok, report.verdict
    assert {row.blob for row in report.rows} == {"conv", "tanh", "y"}


def test_a_note_says_what_opencv_4_called_an_output() -> None:
    with pytest.warns(ProtogenNote, match=r"^OpenCV 4 called outputs by their layers: 'soft' for blob 'prob'; --names layer"):
        net_of("two heads").to_onnx()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("options", [{"names": "layer"}, {"rename": {"prob": "scores"}}, {"outputs": ["boxes"]}])
def test_there_is_no_such_note_where_names_are_the_same_or_chosen(options: dict[str, Any]) -> None:
    net_of("two heads").to_onnx(**options)


def test_other_names_there_are_none() -> None:
    with pytest.raises(ConversionError, match="names must be 'blob' or 'layer', not 'top'"):
        net_of("two heads").to_onnx(names="top")
