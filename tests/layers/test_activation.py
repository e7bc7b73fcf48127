"""Elementwise layers and Axpy beyond the cases of real Caffe: refusals, degenerate parameters, compile, export, ONNX."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import LayerError
from tests.layers.alone import Alone
from tests.layers.nets import check_every_form, gradient, inputs_of, over
from tests.running import assert_same, by_onnx, by_torch, randomised


@pytest.mark.parametrize(
    "layer",
    [
        'type: "AbsVal"',
        'type: "BNLL"',
        'type: "Clip" clip_param { min: -0.5 max: 0.7 }',
        'type: "Clip" clip_param { min: 0.5 max: -0.5 }',
        'type: "ELU" elu_param { alpha: 0.7 }',
        'type: "ELU" elu_param { alpha: 0.7 lambda: 1.5 }',
        'type: "TanH"',
        'type: "Sigmoid"',
        'type: "Threshold" threshold_param { threshold: 0.1 }',
        'type: "Swish"',
        'type: "Swish" swish_param { beta: 0.5 }',
        'type: "ReLU" relu_param { negative_slope: 0.1 }',
        'type: "ReLU6"',
        'type: "ReLU6" relu6_param { negative_slope: 0.2 }',
        'type: "SELU"',
        'type: "SeLu" selu_param { lambda: 1.2 alpha: 0.8 }',
        'type: "PReLU"',
        'type: "PReLU" prelu_param { channel_shared: true }',
    ],
)
def test_every_form_of_a_type_agrees(layer: str) -> None:
    check_every_form(randomised(over(layer, (2, 3, 4, 2))))


@pytest.mark.parametrize("a", [(2, 3), (2, 3, 1), (2, 3, 1, 1)])
def test_axpy_takes_factors_with_and_without_spatial_axes(a: Sequence[int]) -> None:
    net = over('type: "Axpy"', a, (2, 3, 4, 5), (2, 3, 4, 5))
    check_every_form(randomised(net))
    factor, x, y = inputs_of(net)
    assert_same(by_torch(net, [factor, x, y]), [(factor.reshape(2, 3, 1, 1) * x + y).numpy()])


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        ('type: "Clip"', [(1, 2)], "both min and max"),
        ('type: "Clip" clip_param { min: 1 }', [(1, 2)], "both min and max"),
        ('type: "PReLU"', [(3,)], "channel axis"),
        ('type: "TanH"', [(1, 2), (1, 2)], "needs 1 bottom, has 2"),
        ('type: "Axpy"', [(2, 3), (2, 3, 4, 4)], "needs 3 bottoms"),
        ('type: "Axpy"', [(2, 3), (2, 3, 4, 4), (2, 3, 4, 5)], "the same shape"),
        ('type: "Axpy"', [(2, 4), (2, 3, 4, 4), (2, 3, 4, 4)], "one factor per item and channel"),
        ('type: "Axpy"', [(2, 3, 1, 2), (2, 3, 4, 4), (2, 3, 4, 4)], "one factor per item and channel"),
        ('type: "Axpy"', [(2,), (2, 3), (2, 3)], "one factor per item and channel"),
    ],
)
def test_what_caffe_refuses_is_refused(layer: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(LayerError, match="'op'.*" + message):
        _ = over(layer, *shapes).shapes


def test_absval_refuses_to_work_in_place() -> None:
    with pytest.raises(LayerError, match=r"'op'.*in place"):
        _ = over('type: "AbsVal"', (1, 2), in_place=True).shapes


def test_clip_favours_min_where_the_bounds_cross() -> None:
    net = over('type: "Clip" clip_param { min: 2 max: 1 }', (1, 3))
    x = torch.tensor([[0.0, 1.5, 3.0]])
    assert_same(by_torch(net, [x]), [np.full((1, 3), 2, np.float32)])
    assert gradient(net, x).tolist() == [[0, 0, 0]]


def test_gradients_at_the_kinks_are_caffes() -> None:
    clip = 'type: "Clip" clip_param { min: -1 max: 1 }'
    assert gradient(over(clip, (1, 2)), torch.tensor([[-1.0, 1.0]])).tolist() == [[1, 1]]
    assert gradient(over('type: "ReLU6"', (1, 2)), torch.tensor([[0.0, 6.0]])).tolist() == [[0, 0]]
    slope = 'type: "ReLU6" relu6_param { negative_slope: 0.5 }'
    assert gradient(over(slope, (1, 4)), torch.tensor([[-2.0, 0.0, 3.0, 6.0]])).tolist() == [[0.5, 0.5, 1, 0]]
    assert gradient(over('type: "ReLU"', (1, 1)), torch.zeros(1, 1)).tolist() == [[0]]
    assert gradient(over('type: "AbsVal"', (1, 1)), torch.zeros(1, 1)).tolist() == [[0]]
    assert gradient(over('type: "ELU" elu_param { alpha: 2 }', (1, 1)), torch.zeros(1, 1)).tolist() == [[2]]


def test_bnll_neither_overflows_nor_vanishes() -> None:
    net = over('type: "BNLL"', (1, 4))
    x = torch.tensor([[-80.0, -20.0, 30.0, 1000.0]])
    expected = [np.log1p(np.exp(np.minimum(x.numpy().astype(np.float64), 700)))]
    expected[0][0, 3] = 1000
    for made in (by_torch(net, [x]), by_onnx(net, [x])):
        np.testing.assert_allclose(made[0], expected[0], rtol=1e-6)


@pytest.mark.parametrize("layer", ['type: "Dropout"', 'type: "SeLuDropout"', 'type: "Power"'])
def test_layers_that_do_nothing_leave_no_node(layer: str) -> None:
    text = f"""
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 1 dim: 2 }} }} }}
        layer {{ name: "a" type: "TanH" bottom: "x" top: "a" }}
        layer {{ name: "op" bottom: "a" top: "b" {layer} }}
        layer {{ name: "c" type: "Sigmoid" bottom: "b" top: "c" }}"""
    assert [node.op_type for node in protogen.loads(text).to_onnx().graph.node] == ["Tanh", "Sigmoid"]


@pytest.mark.parametrize("layer", ['type: "SELU"', 'type: "Power" power_param { power: 2 shift: 1 }', 'type: "ReLU6"'])
def test_other_dtypes_work(layer: str) -> None:
    net = over(layer, (2, 3))
    (x,) = inputs_of(net)
    y = net.to_torch().double()(x.double())
    assert y.dtype == torch.float64
    np.testing.assert_allclose(y.numpy(), by_torch(net, [x])[0], rtol=1e-5)


def slope(net: protogen.Net, values: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [np.minimum(np.maximum(values["a"], 0) + 0.25 * np.minimum(values["a"], 0), 6)]


def exponential(gain: float, alpha: float):
    """gain * x above 0, gain * alpha * (exp(x) - 1) below."""
    return lambda net, values: [gain * np.where(values["a"] > 0, values["a"], alpha * np.expm1(values["a"]))]


def wide() -> list[np.ndarray]:
    return [np.linspace(-8, 8, 24, dtype=np.float32).reshape(2, 3, 4)]


ONE = 'bottom: "a" top: "y"'
ALONE = [
    Alone("ReLU6", "relu6_param.negative_slope", 0.25, ONE, [(2, 3, 4)], slope, inputs=wide),
    Alone("ELU", "elu_param.lambda", 1.5, ONE, [(2, 3, 4)], exponential(1.5, 1)),
    *(
        row
        for type in ("SELU", "SeLu")
        for row in (
            Alone(type, "selu_param.lambda", 1.5, ONE, [(2, 3, 4)], exponential(1.5, 1.6732632423543772)),
            Alone(type, "selu_param.alpha", 0.5, ONE, [(2, 3, 4)], exponential(1.0507009873554805, 0.5)),
        )
    ),
]
