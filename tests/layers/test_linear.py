"""What convolutions and InnerProduct share: they take in a factor and a shift of each output, or say that they cannot."""

from __future__ import annotations

import numpy as np
import pytest

from tests.layers.nets import net_of, values_for
from tests.running import assert_same, by_torch, randomised

GROUPS = "num_output: 6 kernel_size: 3 group: 2"
LINEAR = [
    'type: "Convolution" convolution_param { num_output: 6 kernel_size: 3 }',
    'type: "Convolution" convolution_param { num_output: 6 kernel_size: 3 bias_term: false }',
    f'type: "Deconvolution" convolution_param {{ {GROUPS} }}',
    f'type: "Deconvolution" convolution_param {{ {GROUPS} bias_term: false }}',
    'type: "ConvolutionDepthwise" convolution_param { num_output: 4 kernel_size: 3 }',
    'type: "InnerProduct" inner_product_param { num_output: 6 }',
    'type: "InnerProduct" inner_product_param { num_output: 6 transpose: true bias_term: false }',
]


@pytest.mark.parametrize("layer", LINEAR)
def test_taken_in_the_factor_and_the_shift_are_those_of_the_outputs(layer: str) -> None:
    net = randomised(net_of(f'bottom: "a" top: "y" {layer}', (2, 4, 5, 6)))
    values, op, count = values_for(net), net.ops[-1], net.shapes["y"][1]
    scale, shift = np.linspace(-1, 2, count), np.linspace(3, -3, count)
    other, weights = op.absorb(net.weights["op"], scale, shift)
    assert (len(weights), [blob.name for blob in other.blobs]) == (2, ["weight", "bias"])
    twin = net_of(f'bottom: "a" top: "y" {layer.replace("bias_term: false", "bias_term: true")}', (2, 4, 5, 6))
    assert other.param == twin.ops[-1].param
    twin.weights["op"] = weights
    per_channel = (-1, *(1,) * (len(net.shapes["y"]) - 2))
    assert_same(by_torch(twin, values), [by_torch(net, values)[0] * scale.reshape(per_channel) + shift.reshape(per_channel)])


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ('type: "Convolution" convolution_param { num_output: 6 kernel_size: 3 relu: true }', (2, 4, 5, 6)),
        ('type: "Convolution" convolution_param { num_output: 6 kernel_size: 3 axis: 2 }', (2, 3, 4, 5, 6)),
        ('type: "InnerProduct" inner_product_param { num_output: 6 axis: 2 }', (2, 4, 5)),
    ],
)
def test_outputs_that_are_no_channels_or_are_rectified_take_nothing_in(layer: str, shape: tuple[int, ...]) -> None:
    net = randomised(net_of(f'bottom: "a" top: "y" {layer}', shape))
    assert net.ops[-1].absorb(net.weights["op"], np.ones(6), np.zeros(6)) is None
