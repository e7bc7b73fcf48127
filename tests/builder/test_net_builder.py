"""NetBuilder: each layer it makes, its fields, and what it refuses at the call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import protogen
from protogen import NetBuilder, NetError
from tests.nets import begun

METHODS: dict[str, tuple[Callable[[NetBuilder], str], str, tuple[int, ...]]] = {
    "conv": (lambda b: b.conv(8, 3, stride=2, pad=1), "Convolution", (2, 8, 8, 8)),
    "conv of two sizes": (lambda b: b.conv(8, (3, 5), stride=(1, 2), pad=(0, 2)), "Convolution", (2, 8, 14, 8)),
    "dilated conv": (lambda b: b.conv(8, 3, pad=2, dilation=2), "Convolution", (2, 8, 16, 16)),
    "depthwise conv": (lambda b: b.depthwise_conv(3, pad=1, multiplier=2), "Convolution", (2, 6, 16, 16)),
    "deconv": (lambda b: b.deconv(4, 4, stride=2, pad=1), "Deconvolution", (2, 4, 32, 32)),
    "bn": (lambda b: b.bn(), "Scale", (2, 3, 16, 16)),
    "bn without scale": (lambda b: b.bn(scale=False), "BatchNorm", (2, 3, 16, 16)),
    "relu": (lambda b: b.relu(negative_slope=0.1), "ReLU", (2, 3, 16, 16)),
    "prelu": (lambda b: b.prelu(), "PReLU", (2, 3, 16, 16)),
    "sigmoid": (lambda b: b.sigmoid(), "Sigmoid", (2, 3, 16, 16)),
    "max pool": (lambda b: b.pool("max", 3, stride=2), "Pooling", (2, 3, 8, 8)),
    "ave pool": (lambda b: b.pool("AVE", (2, 4), stride=2), "Pooling", (2, 3, 8, 7)),
    "global pool": (lambda b: b.global_pool(), "Pooling", (2, 3, 1, 1)),
    "concat": (lambda b: b.concat("data", b.conv("data", 5, 1), axis=1), "Concat", (2, 8, 16, 16)),
    "eltwise": (lambda b: b.eltwise("data", b.conv("data", 3, 1), operation="max"), "Eltwise", (2, 3, 16, 16)),
    "crop": (lambda b: b.crop("data", b.pool("MAX", 3)), "Crop", (2, 3, 14, 14)),
    "scale": (lambda b: b.scale(bias_term=True), "Scale", (2, 3, 16, 16)),
    "fc": (lambda b: b.fc(10), "InnerProduct", (2, 10)),
    "dropout": (lambda b: b.dropout(ratio=0.3), "Dropout", (2, 3, 16, 16)),
    "lrn": (lambda b: b.lrn(), "LRN", (2, 3, 16, 16)),
    "flatten": (lambda b: b.flatten(), "Flatten", (2, 768)),
    "softmax": (lambda b: b.softmax(), "Softmax", (2, 3, 16, 16)),
    "any layer": (lambda b: b.layer("Power", "data", power=2.0, scale=0.5), "Power", (2, 3, 16, 16)),
}


@pytest.mark.parametrize(("call", "type", "shape"), METHODS.values(), ids=list(METHODS))
def test_layers(call: Callable[[NetBuilder], str], type: str, shape: tuple[int, ...]) -> None:
    """Each continues from the running blob, checks out, and its prototxt reads back to the same net."""
    b = begun()
    blob = call(b)
    assert b.last == blob
    assert b.shape(blob) == shape
    assert b.channels(blob) == shape[1]
    net = b.build()
    assert net.layers[-1].type == type
    assert net.shapes[blob] == shape
    assert protogen.loads(net.to_prototxt()).definition == net.definition


def test_the_bottom_can_be_named() -> None:
    b = begun()
    b.conv(4, 1, name="one")
    assert b.shape(b.conv(bottom="data", num_output=5, kernel_size=1)) == (2, 5, 16, 16)
    assert last_layer(b).bottoms == ["data"]


def test_in_place_or_not() -> None:
    b = begun()
    b.conv(4, 1, name="conv")
    assert b.relu() == "conv"
    assert b.relu(in_place=False, name="after") == "after"
    net = b.build()
    assert list(net.shapes) == ["data", "conv", "after"]
    assert net.layer("after").bottoms == ["conv"]


def test_bn_is_batch_norm_and_scale_with_a_bias() -> None:
    b = begun()
    b.bn(b.conv(4, 1, bias_term=False, name="conv"), eps=1e-3)
    net = b.build()
    bn, scale = net.layers[-2:]
    assert (bn.type, scale.type) == ("BatchNorm", "Scale")
    assert bn.message.batch_norm_param.eps == pytest.approx(1e-3)
    assert [spec.lr_mult for spec in bn.message.param] == [0, 0, 0], "Caffe must not train statistics"
    assert scale.message.scale_param.bias_term
    assert net.param_shapes == {"conv": [(4, 3, 1, 1)], "conv/bn": [(4,), (4,), (1,)], "conv/scale": [(4,), (4,)]}


def test_fillers_and_multipliers() -> None:
    b = begun()
    b.conv(
        4,
        1,
        name="conv",
        weight_filler={"type": "msra", "variance_norm": "FAN_OUT"},
        bias_filler={"type": "constant", "value": 0.5},
        param=[{"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 2, "decay_mult": 0}],
    )
    message = last_layer(b).message
    assert message.convolution_param.weight_filler.type == "msra"
    assert message.convolution_param.bias_filler.value == 0.5
    assert [(spec.lr_mult, spec.decay_mult) for spec in message.param] == [(1, 1), (2, 0)]
    text = b.build().to_prototxt()
    assert "variance_norm: FAN_OUT" in text
    assert "lr_mult: 2" in text


def test_bias_term() -> None:
    b = begun()
    b.conv(4, 1, bias_term=False, name="conv")
    b.fc(3, bias_term=False, name="fc")
    assert {name: len(shapes) for name, shapes in b.build().param_shapes.items()} == {"conv": 1, "fc": 1}


def test_training_net() -> None:
    b = NetBuilder(phase="TRAIN")
    x, label = b.input("data", (4, 3, 8, 8)), b.input("label", (4,))
    scores = b.fc(x, 10)
    loss, top = b.softmax_loss(scores, label), b.accuracy(scores, label, top_k=5, include={"phase": "TEST"})
    net = b.build()
    assert (net.phase, net.outputs, loss, top) == ("TRAIN", ["loss1"], "loss1", "accuracy1")
    assert net.at("TEST").outputs == ["loss1", "accuracy1"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda b: b.relu("dota"), "no layer before it makes its bottom 'dota'; did you mean 'data'"),
        (lambda b: b.conv("data", 4, 1, name="data"), "layer 'data' .*already"),
        (lambda b: [b.relu(name="a"), b.relu(name="a")], "layer 'a' .*a layer of this name already exists"),
        (lambda b: b.conv(4, 1, name="wide", group=3), "layer 'wide' .*group"),
        (lambda b: b.conv(0, 1, name="none"), "layer 'none'"),
        (lambda b: b.conv(-4, 1, name="less"), "layer 'less'"),
        (lambda b: b.conv(2**31 - 1, 3, name="huge"), "layer 'huge' .*2\\^31"),
        (lambda b: b.conv(4, 99, name="big"), "layer 'big'"),
        (lambda b: b.conv(4, name="c", kernal_size=3), "layer 'c' .*kernal_size.*did you mean 'kernel_size'"),
        (lambda b: b.conv(4, name="c", bias_term=3), "layer 'c'"),
        (lambda b: b.pool("MIN", name="p"), "layer 'p' .*MIN"),
        (lambda b: b.eltwise("data", b.conv("data", 4, 1), name="sum"), "layer 'sum'"),
        (lambda b: b.concat("data", b.conv("data", 4, 3), name="join"), "layer 'join'"),
        (lambda b: b.softmax(axis=7, name="s"), "layer 's' .*axis 7"),
        (lambda b: b.layer("Convolutoin", "data", num_output=4), "did you mean 'Convolution'"),
        (lambda b: b.shape("nothing"), "no blob 'nothing'"),
        (lambda b: b.softmax_loss("data"), "'label'"),
    ],
)
def test_usage_error_raises_at_the_call(call: Callable[[Any], Any], message: str) -> None:
    b = begun()
    with pytest.raises(NetError, match=message):
        call(b)


def last_layer(b: NetBuilder) -> protogen.Layer:
    return b.build().layers[-1]


def test_a_blob_of_the_other_phase_is_told_and_what_to_do() -> None:
    b = NetBuilder()
    b.layer("Data", name="data", include={"phase": "TRAIN"}, data_param={"batch_size": 4}, transform_param={"crop_size": 8})
    with pytest.raises(NetError, match=r"layer 'conv1' .*: blob 'data' is there only in phase TRAIN.*phase=.*b\.data\(\)"):
        b.conv("data", 8, 3)
    with pytest.raises(NetError, match="only in phase TRAIN"):
        b.shape("data")
    assert b.conv("data", 8, 3, include={"phase": "TRAIN"}) == "conv1"  # a layer of that phase may read it


def test_data_layers_of_both_phases() -> None:
    b = NetBuilder(phase="TRAIN")
    x = b.data(16, train="a_lmdb", val="b_lmdb", train_batch=8, val_batch=4)
    b.softmax_loss(b.fc(x, 3, bias_term=True))
    net = b.build()
    assert net.shapes["data"] == (8, 3, 16, 16)
    assert net.at("TEST").shapes["data"] == (4, 3, 16, 16)
    assert [layer.data_param.source for layer in net.definition.layer[:2]] == ["a_lmdb", "b_lmdb"]
