"""Reduction, ArgMax, Embed and SPP: what Caffe refuses, every form, ties."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from protogen.errors import LayerError
from tests.layers.forms import OPSETS, assert_same, by_onnx, by_torch, check_every_form, net_of

ONE = 'bottom: "a" top: "y" '
X = (2, 3, 4, 5)


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        ('type: "Reduction" reduction_param { axis: 4 }', X, "axis 4 is out of range"),
        ('type: "ArgMax" argmax_param { axis: -5 }', X, "axis -5 is out of range"),
        ('type: "ArgMax" argmax_param { axis: 1 top_k: 4 }', X, "top_k must be from 1 to 3"),
        ('type: "ArgMax" argmax_param { top_k: 61 }', X, "from 1 to 60"),
        ('type: "ArgMax" argmax_param { top_k: 0 }', X, "top_k"),
        ('type: "Embed" embed_param { input_dim: 3 }', X, "num_output must be positive"),
        ('type: "Embed" embed_param { num_output: 3 }', X, "input_dim must be positive"),
        ('type: "SPP" spp_param { pyramid_height: 0 }', X, "pyramid_height must be positive"),
        ('type: "SPP" spp_param { pyramid_height: 4 }', X, "2^3 x 2^3 bins"),
        ('type: "SPP" spp_param { pyramid_height: 4294967295 }', X, "more than its bottom"),
        ('type: "SPP" spp_param { pyramid_height: 3 }', (1, 1, 5, 5), "must be smaller than the kernel"),
        ('type: "SPP" spp_param { pyramid_height: 1 }', (2, 3), "4 axes"),
    ],
)
def test_what_caffe_refuses_names_the_layer(layer: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(LayerError, match="layer 'op'") as error:
        net_of(ONE + layer, shape)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "layer",
    [
        'type: "Reduction" reduction_param { operation: SUM axis: 1 coeff: 0.5 }',
        'type: "Reduction" reduction_param { operation: ASUM axis: 1 coeff: 0.5 }',
        'type: "Reduction" reduction_param { operation: SUMSQ axis: 2 coeff: 0.5 }',
        'type: "Reduction" reduction_param { operation: MEAN axis: 3 coeff: -2 }',
        'type: "Reduction" reduction_param { axis: -1 }',
        'type: "ArgMax" argmax_param { axis: 1 }',
        'type: "ArgMax" argmax_param { axis: 1 out_max_val: true }',
        'type: "ArgMax" argmax_param { axis: 2 top_k: 2 }',
        'type: "ArgMax"',
        'type: "ArgMax" argmax_param { out_max_val: true top_k: 3 }',
        'type: "SPP" spp_param { pyramid_height: 2 }',
        'type: "SPP" spp_param { pyramid_height: 2 pool: AVE }',
    ],
)
def test_every_form_agrees(layer: str) -> None:
    check_every_form(net_of(ONE + layer, X))


@pytest.mark.parametrize("bias", ["true", "false"])
def test_embed_in_every_form(bias: str) -> None:
    layer = f'type: "Embed" embed_param {{ input_dim: 7 num_output: 3 bias_term: {bias} weight_filler {{ type: "gaussian" }} }}'
    check_every_form(net_of(ONE + layer, (4, 2)), below=7)


def test_embed_learns_only_the_rows_it_read() -> None:
    net = net_of(ONE + 'type: "Embed" embed_param { input_dim: 4 num_output: 2 }', (3,))
    module = net.to_torch()
    module(torch.tensor([1.0, 3.0, 1.0])).sum().backward()
    weight, bias = module.caffe_params("op")
    assert [parameter.grad is not None for parameter in module.parameters()] == [True, True]
    assert next(module.parameters()).grad[:, 0].tolist() == [0, 2, 0, 1]
    assert weight.shape == (4, 2)
    assert bias.shape == (2,)


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("axis", ["", "axis: 1"])
def test_argmax_takes_the_last_of_equal_values(axis: str, k: int) -> None:
    net = net_of(ONE + f'type: "ArgMax" argmax_param {{ {axis} top_k: {k} }}', (1, 4))
    values = {"a": np.array([[2, 5, 5, 5]], np.float32)}
    assert by_torch(net, values)[0].ravel().tolist() == [3, 2][:k]
    for opset in OPSETS:
        assert_same(by_onnx(net, values, opset=opset), by_torch(net, values))


def test_whole_items_keep_the_number_of_axes() -> None:
    assert net_of(ONE + 'type: "ArgMax" argmax_param { top_k: 2 out_max_val: true }', (2, 3)).shapes["y"] == (2, 2, 2)
    assert net_of(ONE + 'type: "ArgMax"', X).shapes["y"] == (2, 1, 1, 1)


def test_asum_has_no_gradient_at_zero() -> None:
    module = net_of(ONE + 'type: "Reduction" reduction_param { operation: ASUM coeff: 2 }', (3,)).to_torch()
    x = torch.tensor([-1.0, 0.0, 3.0], requires_grad=True)
    module(x).backward()
    assert x.grad is not None
    assert x.grad.tolist() == [-2, 0, 2]


def test_spp_gives_any_image_size_the_same_number_of_values() -> None:
    module = net_of(ONE + 'type: "SPP" spp_param { pyramid_height: 2 }', X).to_torch()
    x = torch.randn(3, 3, 8, 6)
    y = module(x)
    assert y.shape == (3, 15)
    assert torch.equal(y[:, :3], x.amax((2, 3)))
