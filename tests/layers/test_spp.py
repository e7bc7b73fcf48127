"""SPP: the same number of values for any image size, every form, and what Caffe refuses."""

from __future__ import annotations

import re

import pytest
import torch

from protogen.errors import LayerError
from tests.layers.nets import check_every_form, net_of

ONE = 'bottom: "a" top: "y" '
X = (2, 3, 4, 5)


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        ('type: "SPP" spp_param { pyramid_height: 0 }', X, "pyramid_height must be positive"),
        ('type: "SPP" spp_param { pyramid_height: 4 }', X, "2^3 x 2^3 bins"),
        ('type: "SPP" spp_param { pyramid_height: 4294967295 }', X, "more than its bottom"),
        ('type: "SPP" spp_param { pyramid_height: 3 }', (1, 1, 5, 5), "must be smaller than the kernel"),
        ('type: "SPP" spp_param { pyramid_height: 1 }', (2, 3), "4 axes"),
    ],
)
def test_what_caffe_refuses_names_the_layer(layer: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(LayerError, match="layer 'op'.*" + re.escape(message)):
        net_of(ONE + layer, shape)


@pytest.mark.parametrize(
    "layer",
    [
        'type: "SPP" spp_param { pyramid_height: 2 }',
        'type: "SPP" spp_param { pyramid_height: 2 pool: AVE }',
    ],
)
def test_every_form_agrees(layer: str) -> None:
    check_every_form(net_of(ONE + layer, X))


def test_spp_gives_any_image_size_the_same_number_of_values() -> None:
    module = net_of(ONE + 'type: "SPP" spp_param { pyramid_height: 2 }', X).to_torch()
    x = torch.randn(3, 3, 8, 6)
    y = module(x)
    assert y.shape == (3, 15)
    assert torch.equal(y[:, :3], x.amax((2, 3)))
