"""Pooling by other rules than Caffe's: rounded down, and padded on one side as in darknet; PyTorch's layers say what is right."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import protogen
from protogen.errors import ConversionError
from tests.layers.nets import check_every_form, inputs_of, net_of, values_for
from tests.running import assert_same, by_onnx, by_torch, ops_of

SHAPES = [(2, 3, 7, 6), (1, 2, 8, 8), (1, 1, 9, 12)]
WINDOWS = [(2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 3, 1), (5, 3, 2), (3, 1, 1)]


def pooling(param: str, rule: str, shape: tuple[int, ...], tops: str = 'top: "y"') -> protogen.Net:
    return net_of(f'type: "Pooling" bottom: "a" {tops} pooling_param {{ {param} }}', shape, pooling=rule)


def darknets(x: torch.Tensor) -> torch.Tensor:
    """MAX pooling of size 2 and stride 1 with padding that never is the maximum, on the right and at the bottom."""
    return F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=-torch.inf), 2, 1)


def written_again(net: protogen.Net) -> protogen.Net:
    """The net that its prototxt is, read without any rule."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return protogen.loads(net.to_prototxt())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("kernel", "stride", "pad"), WINDOWS)
def test_floor_is_pytorchs_pooling(kernel: int, stride: int, pad: int, shape: tuple[int, ...]) -> None:
    layers = {"MAX": nn.MaxPool2d(kernel, stride, pad), "AVE": nn.AvgPool2d(kernel, stride, pad)}
    for method, layer in layers.items():
        net = pooling(f"pool: {method} kernel_size: {kernel} stride: {stride} pad: {pad}", "floor", shape)
        (x,) = inputs_of(net)
        expected = layer(x)
        assert net.shapes["y"] == tuple(expected.shape)
        for same in (net, net.folded(), written_again(net), written_again(net.folded())):
            torch.testing.assert_close(same.to_torch()(x), expected)


@pytest.mark.parametrize("param", ["round_mode: CEIL", "ceil_mode: true", "torch_pooling: false"])
def test_a_layer_that_states_its_rounding_is_not_rounded_otherwise(param: str) -> None:
    text = f"kernel_size: 3 stride: 2 {param}"
    assert pooling(text, "floor", (1, 1, 8, 8)).shapes["y"] == (1, 1, 4, 4)
    assert "FLOOR" not in pooling(text, "floor", (1, 1, 8, 8)).to_prototxt()


@pytest.mark.parametrize("shape", SHAPES)
def test_same_is_darknets_maxpool(shape: tuple[int, ...]) -> None:
    net = pooling("kernel_size: 2 stride: 1", "same", shape)
    (x,) = inputs_of(net)
    x = x - 10  # zeros as padding would be the maximum
    assert net.shapes["y"] == shape
    for same in (net, net.folded(), written_again(net), written_again(net.folded())):
        torch.testing.assert_close(same.to_torch()(x), darknets(x), rtol=0, atol=0)


def test_gradients_by_the_rule_same() -> None:
    net = pooling("kernel_size: 2 stride: 1", "same", (2, 3, 5, 4))
    x = inputs_of(net)[0].requires_grad_()
    weights = torch.rand(2, 3, 5, 4)
    (mine,) = torch.autograd.grad((net.to_torch()(x) * weights).sum(), x)
    (expected,) = torch.autograd.grad((darknets(x) * weights).sum(), x)
    torch.testing.assert_close(mine, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    "param",
    [
        "pool: AVE kernel_size: 2 stride: 1",
        "kernel_size: 2 stride: 2",
        "kernel_size: 3 stride: 1 pad: 1",
        "kernel_size: 2 stride: 1 pad: 1",
        "kernel_h: 2 kernel_w: 1",
        "kernel_size: 2 stride_h: 1 stride_w: 2",
        "global_pooling: true",
    ],
)
def test_same_leaves_other_pooling_as_it_is(param: str) -> None:
    by_rule, plain = (pooling(param, rule, (2, 3, 7, 6)) for rule in ("same", "caffe"))
    assert by_rule.shapes == plain.shapes
    assert by_rule.to_prototxt() == plain.to_prototxt()
    assert_same(by_torch(by_rule, values_for(plain)), by_torch(plain, values_for(plain)))


@pytest.mark.parametrize(("param", "rule"), [("kernel_size: 3 stride: 2 pad: 1", "floor"), ("kernel_h: 2 kernel_w: 2", "same")])
@pytest.mark.parametrize("tops", ['top: "y"', 'top: "y" top: "mask"'])
def test_every_form_agrees(param: str, rule: str, tops: str) -> None:
    net = pooling(param, rule, (2, 3, 8, 6), tops)
    check_every_form(net)
    report = protogen.verify(net)
    assert report.ok, report
    values = {"a": np.random.default_rng(1).standard_normal((2, 3, 10, 14)).astype(np.float32)}
    larger = by_torch(net.at(inputs={"a": (2, 3, 10, 14)}), values)
    assert_same(by_onnx(net, values, dynamic_size=True), larger)
    assert_same(by_torch(written_again(net), values_for(net)), by_torch(net, values_for(net)))


def test_onnx_has_one_op_for_padding_on_one_side() -> None:
    net = pooling("kernel_size: 2 stride: 1", "same", (1, 1, 4, 4))
    for options in ({}, {"dynamic_size": True}):
        model = net.to_onnx(**options)
        assert ops_of(model) == ["MaxPool"]
        (pads,) = [list(attribute.ints) for attribute in model.graph.node[0].attribute if attribute.name == "pads"]
        assert pads == [0, 0, 1, 1]


def test_a_written_same_keeps_phase_rules_and_makes_no_name_twice() -> None:
    text = """
        input: "data" input_shape { dim: 1 dim: 1 dim: 4 dim: 4 }
        layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { kernel_size: 2 } include { phase: TEST } }
        layer { name: "q" type: "ReLU" bottom: "p" top: "p_padded" include { phase: TEST } }
        layer { name: "t" type: "ReLU" bottom: "data" top: "t" include { phase: TRAIN } }"""
    again = written_again(protogen.loads(text, pooling="same"))
    assert again.shapes["p_padded"] == again.shapes["p"] == (1, 1, 4, 4)
    assert [layer.type for layer in again.at("TRAIN").layers] == ["Input", "ReLU"]


def test_a_pooling_in_place_that_no_prototxt_can_say_is_refused_by_name() -> None:
    net = net_of('type: "Pooling" bottom: "a" top: "a" pooling_param { kernel_size: 2 }', (1, 1, 4, 4), pooling="same")
    with pytest.raises(ConversionError, match=r"layer 'op' \(Pooling\): pads on one side, .* in place"):
        net.to_prototxt()
