"""Messages: defaults, checks, equality, copies."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from protogen.errors import ProtogenError
from protogen.prototxt.message import Message
from protogen.prototxt.parser import parse


def test_defaults_are_the_schemas() -> None:
    convolution = Message.of("ConvolutionParameter")
    assert (convolution.group, convolution.bias_term, convolution.engine) == (1, True, "DEFAULT")
    assert list(convolution.kernel_size) == []
    assert "group" not in convolution
    assert (convolution.get("group"), convolution.get("group", 7)) == (None, 7)
    assert convolution.weight_filler.type == "constant"


def test_values_from_python() -> None:
    layer = Message.of(
        "LayerParameter", name="conv", bottom="data", top=("a", "b"), loss_weight=np.float32(0.5), phase=1,
        convolution_param={"num_output": np.int64(8), "kernel_size": 3, "bias_term": 0}, exclude=None,
    )  # fmt: skip
    assert (layer.bottom, layer.top, layer.loss_weight, layer.phase) == (["data"], ["a", "b"], [0.5], "TEST")
    assert (layer.convolution_param.kernel_size, layer.convolution_param.bias_term) == ([3], False)
    assert "exclude" not in layer


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kernal_size": 3}, "unknown field 'kernal_size' in ConvolutionParameter; did you mean 'kernel_size'"),
        ({"num_output": -1}, "-1 is out of range"),
        ({"num_output": 2**40}, "out of range"),
        ({"num_output": 1.5}, "takes"),
        ({"num_output": True}, "takes"),
        ({"num_output": "8"}, "takes"),
        ({"bias_term": 2}, "takes"),
        ({"bias_term": "true"}, "takes"),
        ({"engine": "CUDNNN"}, "no value 'CUDNNN'; did you mean 'CUDNN'"),
        ({"engine": 17}, "no value 17"),
        ({"weight_filler": 3}, "takes"),
        ({"weight_filler": {"std": "wide"}}, "takes"),
        ({"weight_filler": {"std": 10**400}}, "takes"),
        ({"weight_filler": {"type": 3}}, "takes"),
        ({"weight_filler": {"type": "\ud800"}}, "not valid Unicode"),
        ({"weight_filler": Message.of("PoolingParameter")}, "takes"),
    ],
)
def test_wrong_values(fields: dict, message: str) -> None:
    with pytest.raises(ProtogenError, match=message):
        Message.of("ConvolutionParameter", **fields)


def test_floats_hold_what_float32_holds() -> None:
    read = parse("layer { convolution_param { weight_filler { std: 0.1 } } }").layer[0].convolution_param.weight_filler
    assert Message.of("FillerParameter", std=0.1) == read
    assert Message.of("FillerParameter", std=1e39).std == float("inf")


def test_equality_is_of_fields_in_any_order() -> None:
    one, other = Message.of("PoolingParameter", pool="AVE", pad=0), Message.of("PoolingParameter", pad=0, pool="AVE")
    assert one == other
    assert one != Message.of("PoolingParameter", pool="AVE")  # set to the default is not unset
    assert Message.of("ReLUParameter") != Message.of("TanHParameter")
    assert Message.of("LayerParameter", top=[]) == Message.of("LayerParameter")


def test_fields_come_in_the_schemas_order() -> None:
    layer = parse('layer { relu_param { } top: "t" unknown_thing: 1 name: "n" }'.replace("unknown_thing: 1", "")).layer[0]
    assert [name for name, _ in layer.fields()] == ["name", "top", "relu_param"]


def test_copies_are_deep() -> None:
    layer = Message.of("LayerParameter", top="a", relu_param={"negative_slope": 0.5})
    for twin in (layer.copy(), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert twin == layer
        twin.top.append("b")
        twin.relu_param.set("negative_slope", 1)
        assert twin != layer
        assert (layer.top, layer.relu_param.negative_slope) == (["a"], 0.5)


def test_reading_an_unset_message_sets_nothing() -> None:
    layer = Message.of("LayerParameter")
    layer.relu_param.set("negative_slope", 1)
    assert layer == Message.of("LayerParameter")


def test_remove_and_append() -> None:
    layer = Message.of("LayerParameter", name="a")
    layer.append("param", {"lr_mult": 2})
    layer.append("param", {"lr_mult": 3})
    assert [spec.lr_mult for spec in layer.param] == [2, 3]
    layer.remove("param")
    layer.remove("param")
    assert layer == Message.of("LayerParameter", name="a")


def test_no_such_field() -> None:
    with pytest.raises(AttributeError, match="no field 'kernel'"):
        Message.of("PoolingParameter").kernel  # noqa: B018
