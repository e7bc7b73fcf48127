"""Correlation, as correlation_layer.cu of lmb-freiburg/flownet2 computes it, in loops."""

from __future__ import annotations

import math

import numpy as np
import pytest

import protogen
from protogen.errors import LayerError
from tests.layers.alone import Alone
from tests.layers.nets import check_every_form, over, values_for
from tests.running import Arrays, by_torch

SHAPE = (2, 3, 7, 8)
PLAIN = "kernel_size: 1 max_displacement: 2 pad: 2"


def correlated(a: np.ndarray, b: np.ndarray, param: protogen.prototxt.message.Message) -> np.ndarray:
    """The kernels CorrelateData and CorrelateDataSubtract."""
    n, channels, height, width = a.shape
    pad, kernel, most = param.pad, param.kernel_size, param.max_displacement
    a, b = (np.pad(x, [(0, 0), (0, 0), (pad, pad), (pad, pad)]).astype(np.float64) for x in (a, b))
    border = most + (kernel - 1) // 2
    size = [math.ceil((side + 2 * pad - 2 * border) / param.stride_1) for side in (height, width)]
    radius = most // param.stride_2
    grid = 2 * radius + 1
    top = np.zeros((n, grid * grid, *size))
    for channel, y, x in np.ndindex(*top.shape[1:]):
        across = (channel % grid - radius) * param.stride_2
        down = (channel // grid - radius) * param.stride_2
        y1, x1 = y * param.stride_1 + most, x * param.stride_1 + most
        first = a[:, :, y1 : y1 + kernel, x1 : x1 + kernel]
        second = b[:, :, y1 + down : y1 + down + kernel, x1 + across : x1 + across + kernel]
        cost = np.abs(first - second) if param.correlation_type == "SUBTRACT" else first * second
        top[:, channel, y, x] = cost.sum((1, 2, 3)) / (kernel * kernel * channels)
    return top


def reference(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    param = net.layers[-1].message.correlation_param
    return [correlated(values["a"], values["b"], param).astype(np.float32)]


@pytest.mark.parametrize(
    "param",
    [
        PLAIN,
        "kernel_size: 3 max_displacement: 2 pad: 3 stride_1: 2",
        "kernel_size: 1 max_displacement: 3 pad: 3 stride_1: 2 stride_2: 2",
        "kernel_size: 3 max_displacement: 1 correlation_type: SUBTRACT",
    ],
)
def test_correlation_is_the_forks(param: str) -> None:
    net = over(f'type: "Correlation" correlation_param {{ {param} }}', SHAPE, SHAPE)
    values = values_for(net)
    (expected,) = reference(net, values)
    assert net.shapes["out"] == expected.shape
    np.testing.assert_allclose(by_torch(net, values)[0], expected, rtol=0, atol=1e-5)
    check_every_form(net)


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("kernel_size: 1", "max_displacement is missing"),
        ("max_displacement: 1", "kernel_size is missing"),
        ("kernel_size: 2 max_displacement: 1", "kernel_size must be odd, not 2"),
        ("kernel_size: 1 max_displacement: 1 stride_1: 0", "stride_1 and stride_2 must be positive"),
        ("kernel_size: 1 max_displacement: 4", "no room"),
    ],
)
def test_what_caffe_refuses_is_refused(param: str, message: str) -> None:
    with pytest.raises(LayerError, match=message):
        over(f'type: "Correlation" correlation_param {{ {param} }}', SHAPE, SHAPE)


def _alone(name: str, value: object, rest: str = PLAIN, refused: str = "") -> Alone:
    layer = f'bottom: "a" bottom: "b" top: "y" correlation_param {{ {rest} }}'
    return Alone("Correlation", f"correlation_param.{name}", value, layer, [SHAPE, SHAPE], reference, refused=refused)


ALONE = [
    _alone("pad", 1, "kernel_size: 1 max_displacement: 2"),
    _alone("kernel_size", 3, "max_displacement: 1", "kernel_size is missing"),
    _alone("max_displacement", 1, "kernel_size: 1", "max_displacement is missing"),
    _alone("stride_1", 2),
    _alone("stride_2", 2),
    _alone("correlation_type", "SUBTRACT"),
]
