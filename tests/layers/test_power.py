"""Power, Exp and Log beyond the cases of real Caffe: refusals, degenerate parameters, every form, folding."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from protogen.errors import LayerError
from tests.layers.nets import behind_convolution, check_every_form, gradient, inputs_of, over
from tests.running import assert_same, by_onnx, by_torch, randomised


@pytest.mark.parametrize(
    "layer",
    [
        'type: "Exp" exp_param { base: 2 scale: 0.5 shift: 0.25 }',
        'type: "Exp"',
        'type: "Log" log_param { base: 10 scale: 0.1 shift: 3 }',
        'type: "Power" power_param { power: 3 scale: 0.5 shift: 0.25 }',
        'type: "Power" power_param { power: -0.5 scale: 0.1 shift: 4 }',
        'type: "Power" power_param { scale: 2 shift: -1 }',
        'type: "Power" power_param { power: 0 }',
        'type: "Power" power_param { power: 2 scale: 0 shift: 3 }',
        'type: "Power"',
    ],
)
def test_every_form_agrees(layer: str) -> None:
    check_every_form(randomised(over(layer, (2, 3, 4, 2))))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ('type: "Exp" exp_param { base: 0 }', "base must be positive"),
        ('type: "Exp" exp_param { base: -2 }', "base must be positive"),
        ('type: "Log" log_param { base: 1 }', "base must not be 1"),
        ('type: "Log" log_param { base: inf }', "base must be positive and finite"),
    ],
)
def test_what_caffe_refuses_is_refused(layer: str, message: str) -> None:
    with pytest.raises(LayerError, match="'op'.*" + message):
        _ = over(layer, (1, 2)).shapes


@pytest.mark.parametrize(("param", "value"), [("power: 0", 1.0), ("power: 0 shift: 7", 1.0), ("power: 2 scale: 0 shift: 3", 9.0)])
def test_power_without_power_or_scale_ignores_its_input(param: str, value: float) -> None:
    net = over(f'type: "Power" power_param {{ {param} }}', (1, 3))
    x = torch.tensor([[0.0, float("inf"), float("nan")]])
    expected = [np.full((1, 3), value, np.float32)]
    assert_same(by_torch(net, [x]), expected)
    assert_same(by_onnx(net, [x]), expected)
    assert gradient(net, x).tolist() == [[0, 0, 0]]


def test_constants_beyond_float_do_not_crash() -> None:
    zero_to_minus_one = over('type: "Power" power_param { power: -1 scale: 0 }', (1, 1))
    root_of_minus_one = over('type: "Power" power_param { power: 0.5 scale: 0 shift: -1 }', (1, 1))
    huge = over('type: "Exp" exp_param { base: 1e30 shift: 1e30 }', (1, 1))
    ones = [torch.ones(1, 1)]
    assert by_torch(zero_to_minus_one, ones)[0] == np.inf
    assert np.isnan(by_torch(root_of_minus_one, ones)[0])
    assert by_torch(huge, ones)[0] == np.inf


def test_a_linear_power_folds_into_the_convolution_before() -> None:
    net = behind_convolution('type: "Power" power_param { scale: 0.5 shift: 2 }')
    inputs = inputs_of(net)
    assert [node.op_type for node in net.to_onnx().graph.node] == ["Conv"]
    assert_same(by_onnx(net, inputs), by_torch(net, inputs))
