"""Im2col: what Caffe refuses, every form, and the convolution that its columns make."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import LayerError
from tests.layers.alone import Alone
from tests.layers.nets import check_every_form, net_of, values_for
from tests.running import Arrays, by_torch

ONE = 'bottom: "a" top: "y" '
X = (2, 6, 4, 4)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ('type: "Im2col" convolution_param { }', "kernel_size (or kernel_h and kernel_w) is missing"),
        ('type: "Im2col" convolution_param { kernel_size: 5 }', "covers 5 pixels"),
        ('type: "Im2col" convolution_param { kernel_size: 2 stride: 0 }', "stride must be positive"),
        ('type: "Im2col" convolution_param { kernel_size: 2 kernel_h: 2 kernel_w: 2 }', "give either kernel_size"),
        ('type: "Im2col" convolution_param { kernel_size: 2 pad: 1 pad: 1 pad: 1 }', "3 values of pad"),
        ('type: "Im2col" convolution_param { kernel_size: 2 axis: 3 }', "no spatial axes"),
    ],
)
def test_what_caffe_refuses_names_the_layer(layer: str, message: str) -> None:
    with pytest.raises(LayerError, match=r"layer 'op' \(Im2col\)") as error:
        net_of(ONE + layer, X)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        ('type: "Im2col" convolution_param { kernel_h: 2 kernel_w: 3 pad_h: 0 pad_w: 1 dilation: 1 stride: 2 }', X),
        ('type: "Im2col" convolution_param { kernel_size: 3 pad: 1 dilation: 2 stride: 1 }', (2, 3, 7)),
        ('type: "Im2col" convolution_param { kernel_size: 2 axis: 2 }', (2, 2, 3, 4)),
    ],
)
def test_every_form_agrees(layer: str, shape: tuple[int, ...]) -> None:
    check_every_form(net_of(ONE + layer, shape))


def test_im2col_times_weights_is_the_convolution() -> None:
    text = 'type: "Im2col" convolution_param { kernel_size: 3 stride: 2 pad: 1 dilation: 1 } '
    net = net_of(ONE + text, (2, 3, 6, 5))
    values, weights = values_for(net), torch.randn(4, 3, 3, 3)
    columns = torch.tensor(by_torch(net, values)[0])
    expected = torch.nn.functional.conv2d(torch.tensor(values["a"]), weights, stride=2, padding=1)
    assert torch.allclose(torch.einsum("ok,nkhw->nohw", weights.flatten(1), columns), expected, atol=1e-5)


# Each field alone, and lists of real Caffe's cases that say the same.
PAIRS = {
    "kernel_h": (3, "kernel_h: 1 kernel_w: 2", "kernel_size: 3 kernel_size: 2"),
    "kernel_w": (3, "kernel_h: 2 kernel_w: 1", "kernel_size: 2 kernel_size: 3"),
    "stride_h": (3, "kernel_size: 2 stride_h: 1 stride_w: 2", "kernel_size: 2 stride: 3 stride: 2"),
    "stride_w": (3, "kernel_size: 2 stride_h: 2 stride_w: 1", "kernel_size: 2 stride: 2 stride: 3"),
    "pad_h": (1, "kernel_size: 2 pad_h: 0 pad_w: 0", "kernel_size: 2 pad: 1 pad: 0"),
    "pad_w": (1, "kernel_size: 2 pad_h: 0 pad_w: 0", "kernel_size: 2 pad: 0 pad: 1"),
}


def behind_axis_2(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    """Axis 2 holds the channels; PyTorch's windows of each of the images that both axes before it count."""
    columns = torch.nn.functional.unfold(torch.tensor(values["a"]).reshape(6, 4, 6, 5), 2)
    return [columns.reshape(2, 3, 16, 5, 4).numpy()]


def unfolded(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    """PyTorch's windows of every second pixel."""
    columns = torch.nn.functional.unfold(torch.tensor(values["a"]), 3, dilation=2)
    return [columns.reshape(1, 18, 3, 4).numpy()]


LAYER = ONE + "convolution_param { %s }"
ALONE = [
    *(
        Alone("Im2col", f"convolution_param.{field}", value, LAYER % pair, [(1, 2, 7, 8)], 'type: "Im2col" ' + LAYER % both)
        for field, (value, pair, both) in PAIRS.items()
    ),
    Alone("Im2col", "convolution_param.axis", 2, LAYER % "kernel_size: 2", [(2, 3, 4, 6, 5)], behind_axis_2),
    # Real Caffe's cases dilate windows of one pixel.
    Alone("Im2col", "convolution_param.dilation", [2], LAYER % "kernel_size: 3", [(1, 2, 7, 8)], unfolded),
]
