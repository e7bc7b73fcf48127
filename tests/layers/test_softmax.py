"""Softmax: its axis, every form, large values, and what Caffe refuses."""

from __future__ import annotations

import numpy as np
import pytest

from protogen.errors import LayerError
from tests.layers.nets import check_every_form, over, values_for
from tests.running import assert_same, by_onnx, by_torch


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_every_form_is_the_formula_along_its_axis(axis: int) -> None:
    """ONNX's Softmax of opsets before 13 takes all axes behind its own together; Caffe's takes one."""
    net = over(f'type: "Softmax" softmax_param {{ axis: {axis} }}', (2, 3, 4, 5))
    values = values_for(net)
    powers = np.exp(values["a"].astype(np.float64))
    assert_same(by_torch(net, values), [powers / powers.sum(axis, keepdims=True)])
    check_every_form(net)


def test_large_values_do_not_overflow() -> None:
    """softmax_layer.cpp takes off the maximum first."""
    net, x = over('type: "Softmax"', (1, 3)), np.float32([[1000, 1000, -1000]])
    for made in (by_torch(net, {"a": x}), by_onnx(net, {"a": x})):
        assert made[0].tolist() == [[0.5, 0.5, 0]]


def test_an_axis_that_is_not_there() -> None:
    with pytest.raises(LayerError, match=r"layer 'op'.*axis 2 is out of range for 2 axes"):
        over('type: "Softmax" softmax_param { axis: 2 }', (1, 3))
