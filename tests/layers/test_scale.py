"""Scale and Bias beyond the reference cases: happynear's bounds on the factors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from tests.layers.alone import Alone
from tests.layers.nets import check_every_form, net_of, values_for
from tests.running import assert_same, by_onnx, by_torch

X = (2, 4, 3, 3)
FACTORS = np.array([-3.0, -0.5, 0.5, 5.0], np.float32)


def scale(param: str, phase: str = "TEST") -> protogen.Net:
    net = net_of(f'type: "Scale" bottom: "a" top: "y" scale_param {{ {param} }}', X, phase=phase)
    net.weights["op"] = [FACTORS] + [np.arange(4, dtype=np.float32)] * ("bias_term" in param)
    return net


@pytest.mark.parametrize(
    ("param", "factors"),
    [
        ("max_value: 2", [-3, -0.5, 0.5, 2]),
        ("min_value: 0", [0, 0, 0.5, 5]),  # the default of the field, but given: a bound
        ("min_value: -1 max_value: 1 bias_term: true", [-1, -0.5, 0.5, 1]),
        ("min_value: 2 max_value: 1", [1, 1, 1, 1]),  # the upper bound comes last
    ],
)
def test_factors_keep_within_bounds(param: str, factors: list[float]) -> None:
    net = scale(param)
    values = values_for(net)
    bias = np.arange(4).reshape(4, 1, 1) if "bias" in param else 0
    expected = values["a"] * np.array(factors, np.float32).reshape(4, 1, 1) + bias
    assert_same(by_torch(net, values), [expected])
    check_every_form(net)


def test_bounds_in_training_replace_the_factors_and_pass_the_gradient() -> None:
    module = scale("min_value: -1 max_value: 1", phase="TRAIN").to_torch()
    x = torch.ones(X)
    module(x).sum().backward()
    assert module.caffe_params("op")[0].tolist() == [-1, -0.5, 0.5, 1]
    assert module.caffe_grads("op")[0].tolist() == [18, 18, 18, 18]


def test_bounds_hold_when_a_scale_takes_in_the_next_one() -> None:
    net = protogen.loads("""
        layer { name: "a" type: "Input" top: "a" input_param { shape { dim: 1 dim: 4 dim: 2 dim: 2 } } }
        layer { name: "s" type: "Scale" bottom: "a" top: "s" scale_param { max_value: 2 } }
        layer { name: "t" type: "Scale" bottom: "s" top: "t" }
    """)
    net.weights.update({"s": [FACTORS], "t": [np.full(4, 3, np.float32)]})
    values = values_for(net)
    assert_same([net.to_torch(fold=True)(torch.tensor(values["a"])).detach().numpy()], by_torch(net, values))
    assert_same(by_onnx(net, values), by_torch(net, values))


def test_bounds_on_a_second_bottom_are_refused() -> None:
    net = net_of('type: "Scale" bottom: "a" bottom: "b" top: "y" scale_param { max_value: 2 axis: 0 }', X, X)
    with pytest.raises(protogen.ProtogenError, match="max_value is not computed for a second bottom"):
        net.to_torch()


def bounded(low: float, high: float):
    return lambda net, values: [values["a"] * np.clip(FACTORS, low, high).reshape(4, 1, 1)]


ALONE = [
    Alone("Scale", f"scale_param.{field}", value, 'bottom: "a" top: "y"', [X], bounded(*bounds), blobs=[FACTORS])
    for field, value, bounds in (("min_value", -1, (-1, np.inf)), ("max_value", 2, (-np.inf, 2)))
]
