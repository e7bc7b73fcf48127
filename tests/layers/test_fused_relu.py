"""The ReLU that Intel's Caffe fuses into other layers: it follows, is refused where Intel fuses none, and is not folded away."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from tests.layers.nets import FILLED, check_every_form, convolution, values_for
from tests.running import assert_same, by_onnx, by_torch


@pytest.mark.parametrize("slope", [0.0, 0.25])
def test_a_fused_relu_follows_the_convolution(slope: float) -> None:
    net, plain = (convolution(f"kernel_size: 3 {relu}").fill(2) for relu in (f"relu: true negative_slope: {slope}", ""))
    values = values_for(net)
    linear = by_torch(plain, values)[0]
    assert_same(by_torch(net, values), [np.where(linear > 0, linear, slope * linear)])
    check_every_form(net)


def test_a_slope_without_relu_changes_nothing() -> None:
    net, plain = (convolution(f"kernel_size: 3 {param}").fill(2) for param in ("negative_slope: 0.5", ""))
    values = values_for(net)
    assert np.array_equal(by_torch(net, values)[0], by_torch(plain, values)[0])


@pytest.mark.parametrize("type", ["Deconvolution", "ConvolutionDepthwise"])
def test_a_fused_relu_is_refused_where_intel_fuses_none(type: str) -> None:
    with pytest.raises(protogen.ProtogenError, match=r"layer 'op' .*: convolution_param\.relu is not computed"):
        convolution("kernel_size: 3 relu: true", type).to_torch()


def test_a_scale_behind_a_fused_relu_is_not_folded_into_the_weights() -> None:
    net = protogen.loads(f"""
        layer {{ name: "a" type: "Input" top: "a" input_param {{ shape {{ dim: 1 dim: 4 dim: 5 dim: 5 }} }} }}
        layer {{ name: "c" type: "Convolution" bottom: "a" top: "c"
                 convolution_param {{ num_output: 3 kernel_size: 3 relu: true {FILLED} }} }}
        layer {{ name: "s" type: "Scale" bottom: "c" top: "s" scale_param {{ filler {{ type: "constant" value: -2 }} }} }}
    """).fill()
    values = values_for(net)
    plain = by_torch(net, values)[0]
    assert plain.min() < 0 >= plain.max()
    assert_same([net.to_torch(fold=True)(torch.tensor(values["a"])).detach().numpy()], [plain])
    assert_same(by_onnx(net, values), [plain])
