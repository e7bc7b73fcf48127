"""Settings of windows: lists and pairs say the same, and what fits no number of axes is refused."""

from __future__ import annotations

import numpy as np
import pytest

from protogen.errors import LayerError
from tests.layers.nets import convolution, net_of, values_for
from tests.running import by_torch

TYPES = ("Convolution", "DepthwiseConvolution", "Deconvolution", "ConvolutionDepthwise")


@pytest.mark.parametrize("type", TYPES)
@pytest.mark.parametrize(
    ("pair", "list"),
    [
        ("kernel_h: 3 kernel_w: 2", "kernel_size: 3 kernel_size: 2"),
        ("kernel_size: 3 pad_h: 1 pad_w: 2", "kernel_size: 3 pad: 1 pad: 2"),
        ("kernel_size: 3 stride_h: 2 stride_w: 3", "kernel_size: 3 stride: 2 stride: 3"),
        ("kernel_size: 2 hole_h: 2 hole_w: 3", "kernel_size: 2 dilation: 2 dilation: 3"),
        ("kernel_size: 3 hole: 2", "kernel_size: 3 dilation: 2"),
    ],
)
def test_one_setting_has_several_spellings(type: str, pair: str, list: str) -> None:
    nets = [convolution(param, type).fill(3) for param in (pair, list)]
    values = values_for(nets[0])
    first, second = (by_torch(net, values) for net in nets)
    assert nets[0].ops[-1].macs == nets[1].ops[-1].macs
    assert np.array_equal(first[0], second[0])


def test_im2col_takes_pairs_for_lists() -> None:
    pair, both = (net_of(f'type: "Im2col" bottom: "a" top: "y" convolution_param {{ {param} }}', (1, 2, 7, 8)) for param in (
        "kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 3 pad_h: 1 pad_w: 0",
        "kernel_size: 3 kernel_size: 2 stride: 2 stride: 3 pad: 1 pad: 0",
    ))  # fmt: skip
    values = values_for(pair)
    assert np.array_equal(by_torch(pair, values)[0], by_torch(both, values)[0])


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("pad: 1", r"kernel_size \(or kernel_h and kernel_w\) is missing"),
        ("kernel_size: 3 kernel_h: 2 kernel_w: 2", "give either kernel_size or kernel_h and kernel_w"),
        ("kernel_size: 3 stride: 1 stride_w: 2", "give either stride or stride_h and stride_w"),
        ("kernel_size: 3 pad: 1 pad: 1 pad: 1", "3 values of pad for 2 spatial axes; give one, or one per axis"),
    ],
)
def test_what_is_missing_given_twice_or_too_often(param: str, message: str) -> None:
    with pytest.raises(LayerError, match=rf"layer 'op' .*{message}"):
        convolution(param)


def test_pairs_are_for_two_axes() -> None:
    with pytest.raises(LayerError, match=r"kernel_h and kernel_w are for two spatial axes, not 3"):
        convolution("kernel_h: 2 kernel_w: 2", shape=(1, 2, 5, 5, 5))
    assert convolution("kernel_size: 1 kernel_size: 2 kernel_size: 3", shape=(1, 2, 5, 5, 5)).shapes["y"] == (1, 4, 5, 4, 3)
