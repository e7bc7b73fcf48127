"""InnerProduct beyond the reference cases: happynear's unit rows, Intel's fused ReLU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from tests.layers.alone import Alone
from tests.layers.nets import check_every_form, net_of, values_for
from tests.running import Arrays, assert_same, by_onnx, by_torch

X = (3, 2, 3, 2)
FILLED = 'weight_filler { type: "gaussian" std: 2 } bias_filler { type: "gaussian" }'


def inner_product(param: str, phase: str = "TEST") -> protogen.Net:
    text = f'type: "InnerProduct" bottom: "a" top: "y" inner_product_param {{ num_output: 5 {FILLED} {param} }}'
    return net_of(text, X, phase=phase).fill(1)


def unit_rows(weight: np.ndarray) -> np.ndarray:
    """What the fork makes of its weights: runs of K values as they lie in memory, whatever `transpose` says."""
    rows = weight.astype(np.float64).reshape(5, 12)
    return np.stack([row / np.sqrt(row @ row + 1e-6) for row in rows]).reshape(weight.shape)


@pytest.mark.parametrize("transpose", [False, True])
def test_normalize_divides_each_row_by_its_length(transpose: bool) -> None:
    net = inner_product(f"normalize: true transpose: {str(transpose).lower()}")
    values, (weight, bias) = values_for(net), net.weights["op"]
    unit = unit_rows(weight)
    expected = values["a"].reshape(3, 12) @ (unit if transpose else unit.T) + bias
    np.testing.assert_allclose(by_torch(net, values)[0], expected, rtol=1e-5, atol=1e-5)
    check_every_form(net)


def test_normalize_in_training_replaces_the_weights_and_has_no_part_in_their_gradient() -> None:
    net = inner_product("normalize: true", phase="TRAIN")
    module, x = net.to_torch(), torch.tensor(values_for(net)["a"])
    expected = unit_rows(net.weights["op"][0])
    module(x).sum().backward()
    np.testing.assert_allclose(module.caffe_params("op")[0].detach().numpy(), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(module.caffe_grads("op")[0].numpy(), np.tile(x.flatten(1).sum(0), (5, 1)), rtol=1e-5)


@pytest.mark.parametrize("slope", [0.0, 0.1])
def test_a_fused_relu_follows(slope: float) -> None:
    net, plain = inner_product(f"relu: true negative_slope: {slope}"), inner_product("")
    values = values_for(net)
    linear = by_torch(plain, values)[0]
    assert_same(by_torch(net, values), [np.where(linear > 0, linear, slope * linear)])
    check_every_form(net)


@pytest.mark.parametrize("param", ["normalize: true", "relu: true"])
def test_a_scale_behind_it_is_not_folded_into_its_weights(param: str) -> None:
    net = protogen.loads(f"""
        layer {{ name: "a" type: "Input" top: "a" input_param {{ shape {{ dim: 2 dim: 6 }} }} }}
        layer {{ name: "f" type: "InnerProduct" bottom: "a" top: "f" inner_product_param {{ num_output: 4 {param} {FILLED} }} }}
        layer {{ name: "s" type: "Scale" bottom: "f" top: "s" scale_param {{ filler {{ type: "constant" value: -2 }} }} }}
    """).fill()
    values = values_for(net)
    plain = by_torch(net, values)
    assert_same([net.to_torch(fold=True)(torch.tensor(values["a"])).detach().numpy()], plain)
    assert_same(by_onnx(net, values), plain)


def linear(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    """W x + b; with `normalize` by unit rows, with `relu` the slope where it is below 0."""
    p, (weight, bias) = net.layers[-1].message.inner_product_param, net.weights["op"]
    y = values["a"].reshape(3, 12) @ (unit_rows(weight) if p.normalize else weight).T + bias
    return [np.where(y > 0, y, p.negative_slope * y) if p.relu else y]


LAYER = f'bottom: "a" top: "y" inner_product_param {{ num_output: 5 {FILLED} %s }}'
ALONE = [
    Alone("InnerProduct", "inner_product_param.relu", True, LAYER % "", [X], linear),
    Alone("InnerProduct", "inner_product_param.negative_slope", 0.25, LAYER % "relu: true", [X], linear),
    Alone("InnerProduct", "inner_product_param.normalize", True, LAYER % "", [X], linear),
]
