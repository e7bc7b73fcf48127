"""Files to nets: old ones whole, with their weights; standard input; and what an error is told by."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

import protogen
from tests.oracle import FORWARD, LEGACY, assert_close
from tests.running import by_onnx, by_torch
from tests.weights.forks import net_class
from tests.weights.saved import TEXT, net_file

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


def test_either_phase() -> None:
    """TEST, unless only TRAIN is a net; the error of a file that is none in either is that of TEST."""
    rule = "include { phase: TRAIN }"
    train = f'layer {{ name: "in" type: "Input" top: "x" input_param {{ shape {{ dim: 1 }} }} {rule} }}'
    with pytest.warns(protogen.ProtogenWarning, match="a net in phase TRAIN only"):
        net = protogen.loads(train + f'layer {{ name: "relu" type: "ReLU" bottom: "x" top: "y" {rule} }}', phase=None)
    assert (net.phase, net.outputs) == ("TRAIN", ["y"])
    assert protogen.loads(train.replace(rule, ""), phase=None).phase == "TEST"
    wrong = " ".join(f'layer {{ name: "r{x}" type: "ReLU" bottom: "{x}" top: "y{x}" }}' for x in "xz")
    with pytest.raises(protogen.NetError, match="bottom 'x' in phase TEST"):
        protogen.loads(train + wrong, phase=None)


def test_errors_are_told_with_the_files_name(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text('name: "n"\nlayer { botom: "x" }')
    with pytest.raises(protogen.ParseError, match=r"net\.prototxt:2:9: unknown field 'botom'.*did you mean 'bottom'"):
        protogen.load(path)
    with pytest.raises(protogen.ParseError, match=r"^built in memory:1:1: "):
        protogen.loads("nmae: 1", source="built in memory")


@pytest.mark.parametrize("name", ["v1.new", "batchnorm_old.new"])
def test_a_caffemodel_of_caffe_alone_computes_what_caffe_computed(name: str) -> None:
    net = protogen.load(LEGACY / f"{name}.caffemodel")
    with np.load(LEGACY / f"{name.partition('.')[0]}.npz") as data:
        inputs = {key.removeprefix("in/"): data[key] for key in data.files if key.startswith("in/")}
        expected = {key.removeprefix("out/"): data[key] for key in data.files if key.startswith("out/")}
    for blob, value in zip(net.outputs, by_torch(net, inputs)):
        assert_close(value, expected[blob], FORWARD, blob)


def test_a_caffemodel_alone_is_the_net_of_both_files(tmp_path: Path) -> None:
    model = net_file(tmp_path, TEXT)
    (tmp_path / "deploy.prototxt").write_text(TEXT)
    alone, pair = protogen.load(model), protogen.load(tmp_path / "deploy.prototxt", model)
    assert alone.to_prototxt() == pair.to_prototxt()
    assert alone.to_onnx().graph == pair.to_onnx().graph
    assert alone.weights["conv"][0].flags.writeable is False, "views of the file"


def test_a_caffemodel_with_the_weights_of_another(tmp_path: Path) -> None:
    model, other = net_file(tmp_path, TEXT), net_file(tmp_path, TEXT, "other.caffemodel", fill=2)
    net = protogen.load(model, other)
    np.testing.assert_array_equal(net.weights["conv"][0], protogen.load(other).weights["conv"][0])


def test_without_the_shape_of_its_input_a_caffemodel_alone_has_no_weights_to_fit(tmp_path: Path) -> None:
    """Rather than a net that would silently be filled with random values."""
    data = 'layer { name: "data" type: "Data" top: "data" data_param { batch_size: 4 } }'
    model = net_file(tmp_path, TEXT)
    message = net_class("BVLC/caffe").FromString(model.read_bytes())
    message.layer[0].CopyFrom(text_format.Parse(data, net_class("BVLC/caffe")()).layer[0])
    model.write_bytes(message.SerializeToString())
    with pytest.raises(protogen.NetError, match="the shape of input 'data' is not in the file"):
        protogen.load(model)
    assert protogen.load(model, inputs={"data": (1, 3, 8, 8)}).weights["conv"][0].shape == (4, 3, 3, 3)


def test_swapped_files_are_an_error_that_says_the_right_call(tmp_path: Path) -> None:
    model = net_file(tmp_path, TEXT, "a")
    (tmp_path / "b").write_text(TEXT)
    with pytest.raises(protogen.ProtogenError, match=r"the files are swapped: .*load\('.*b', '.*a'\)"):
        protogen.load(model, tmp_path / "b")


def test_weights_files_without_a_definition_say_so(tmp_path: Path) -> None:
    protogen.loads(TEXT).fill().save(tmp_path / "net.pth")
    with pytest.raises(protogen.WeightsError, match=r"net\.pth: a state dict .* no definition of the net: give its prototxt"):
        protogen.load(tmp_path / "net.pth")
    protogen.loads(TEXT).fill().save_caffemodel(tmp_path / "own.caffemodel")
    with pytest.raises(protogen.WeightsError, match="no parameters of any layer: give its prototxt"):
        protogen.load(tmp_path / "own.caffemodel")


def test_a_field_that_forks_read_differently_is_refused_by_name(tmp_path: Path) -> None:
    model = net_file(tmp_path, TEXT.replace("pool: AVE", "pool: AVE round_mode: FLOOR"))
    with pytest.warns(protogen.ProtogenWarning, match=r"layer 'pool': field 13 of PoolingParameter may be round_mode"):
        net = protogen.load(model)
    with pytest.raises(protogen.ConversionError, match=r"'pool' \(Pooling\).*field_13"):
        net.to_onnx()


def test_a_mistake_in_a_layer_does_not_make_a_file_one_for_training() -> None:
    """Detections that do not fit their prior boxes, say, are for TEST only: TRAIN would do without them."""
    text = """
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 } } }
        layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 3 } }
        layer { name: "out" type: "Softmax" bottom: "fc" top: "out" softmax_param { axis: 7 } include { phase: TEST } }"""
    with pytest.raises(protogen.LayerError, match="layer 'out'"):
        protogen.loads(text, phase=None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'layer { name: "x" }', "takes text, not bytes: .*decode.*protogen.load"),
        (None, "not NoneType"),
        ("deploy.prototxt", r"not its name 'deploy.prototxt': protogen.load\('deploy.prototxt'\)"),
    ],
)
def test_loads_says_what_it_takes(text: Any, message: str) -> None:
    with pytest.raises(protogen.ProtogenError, match=message):
        protogen.loads(text)
