"""L1Loss and AbsLoss: the sums of their forks, and their gradients where both bottoms are equal."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import ConversionError
from tests.layers.nets import over

SHAPE = (2, 3, 2, 2)


@pytest.mark.parametrize(("kind", "at_equal"), [("L1Loss", 0.0), ("AbsLoss", -1.0)])
def test_sums_of_differences_and_their_signs(kind: str, at_equal: float) -> None:
    """l1_loss_layer.cpp of NVIDIA/caffe takes the sign of a - b, which is 0 for 0; abs_loss_layer.cu counts 0 as below."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, *SHAPE)).astype(np.float32)
    b[0, 0] = a[0, 0]
    first, second = (torch.tensor(x, requires_grad=True) for x in (a, b))
    module = over(f'type: "{kind}" loss_weight: 3', SHAPE, SHAPE, phase="TRAIN").to_torch()
    loss = module.loss(first, second)
    assert loss.item() == pytest.approx(3 * np.abs(a - b).sum() / 2, rel=1e-6)
    loss.backward()
    signs = np.where(a == b, at_equal, np.sign(a - b))
    assert first.grad is not None
    assert second.grad is not None
    np.testing.assert_allclose(first.grad, 1.5 * signs, rtol=1e-6)
    np.testing.assert_allclose(second.grad, -1.5 * signs, rtol=1e-6)


def test_flownets_loss_of_the_same_name_is_refused_for_training_and_left_out_of_models() -> None:
    text = 'type: "L1Loss" l1_loss_param { l2_per_location: true }'
    with pytest.raises(ConversionError, match="FlowNet's L1Loss"):
        over(text, SHAPE, SHAPE).to_torch()
    net = protogen.loads(f"""
        layer {{ name: "a" type: "Input" top: "a" top: "b" input_param {{ shape {{ dim: 1 dim: 3 dim: 4 dim: 4 }} }} }}
        layer {{ name: "c" type: "Convolution" bottom: "a" top: "c" convolution_param {{ num_output: 3 kernel_size: 1 }} }}
        layer {{ name: "loss" bottom: "c" bottom: "b" top: "loss" {text} }}""")
    with pytest.warns(protogen.ProtogenWarning, match="left out of the ONNX model.*'loss'"):
        assert [value.name for value in net.to_onnx().graph.output] == ["c"]
