"""Unpooling, as in HyeonwooNoh's DeconvNet."""

from __future__ import annotations

import numpy as np
import pytest

import protogen
from protogen.errors import LayerError
from tests.layers.alone import Alone
from tests.layers.nets import check_every_form, over
from tests.running import Arrays, by_torch

SHAPE = (2, 3, 2, 3)
SHAPES = [SHAPE, SHAPE]
BOTH = 'bottom: "a" bottom: "b" top: "y" '


def inputs() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    mask = np.stack([rng.permutation(20)[:6] for _ in range(6)]).reshape(SHAPE)
    return [rng.standard_normal(SHAPE).astype(np.float32), mask.astype(np.float32)]


def reference(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    """LayerSetUp, Reshape and Forward_cpu of unpooling_layer.cpp, for MAX with a mask."""
    p = net.layers[-1].message.unpooling_param
    kernel = (p.kernel_size, p.kernel_size) if "kernel_size" in p else (p.kernel_h, p.kernel_w)
    stride = (p.stride_h, p.stride_w) if "stride_h" in p else (p.stride, p.stride)
    size = [max((side - 1) * s + k, side * s + 1) for side, k, s in zip(SHAPE[2:], kernel, stride)]
    if "unpool_size" in p:
        size = [p.unpool_size] * 2
    elif "unpool_h" in p:
        size = [p.unpool_h, p.unpool_w]
    top = np.zeros((*SHAPE[:2], size[0] * size[1]), np.float32)
    for n, c in np.ndindex(*SHAPE[:2]):
        for value, index in zip(values["a"][n, c].ravel(), values["b"][n, c].ravel()):
            top[n, c, int(index)] = value
    return [top.reshape(*SHAPE[:2], *size)]


@pytest.mark.parametrize(
    "param",
    [
        "kernel_size: 2 stride: 2",
        "kernel_size: 3 stride: 2",
        "kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 3",
        "kernel_size: 2 stride: 2 unpool_size: 6",
        "kernel_size: 2 stride: 2 unpool_h: 4 unpool_w: 5",
    ],
)
def test_values_go_back_to_their_places(param: str) -> None:
    net = over(f'type: "Unpooling" unpooling_param {{ {param} }}', *SHAPES)
    values = dict(zip("ab", inputs()))
    (expected,) = reference(net, values)
    assert net.shapes["out"] == expected.shape
    np.testing.assert_array_equal(by_torch(net, values)[0], expected)
    check_every_form(net, below=1)


def test_deconvnets_file_of_2015_is_read() -> None:
    net = protogen.loads("""
        input: "data" input_dim: 1 input_dim: 2 input_dim: 4 input_dim: 4
        layers { name: "p" type: POOLING bottom: "data" top: "p" top: "mask" pooling_param { kernel_size: 2 stride: 2 } }
        layers { name: "u" type: UNPOOLING bottom: "p" bottom: "mask" top: "u"
                 unpooling_param { unpool: MAX kernel_size: 2 stride: 2 unpool_size: 4 } }""")
    assert net.layers[-1].type == "Unpooling"
    image = np.random.default_rng(0).standard_normal((1, 2, 4, 4)).astype(np.float32)
    (output,) = by_torch(net, {"data": image})
    largest = image.reshape(1, 2, 2, 2, 2, 2).max((3, 5), keepdims=True)
    expected = np.where(image.reshape(1, 2, 2, 2, 2, 2) == largest, image.reshape(1, 2, 2, 2, 2, 2), 0)
    np.testing.assert_array_equal(output, expected.reshape(1, 2, 4, 4))


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("unpool: AVE kernel_size: 2", "unpool: AVE is not computed, only MAX"),
        ("", "kernel_size is missing"),
        ("kernel_size: 2 pad: 1", "pad must be 0"),
        ("kernel_size: 2 kernel_h: 2", "give either kernel_size or both kernel_h and kernel_w"),
        ("kernel_size: 2 unpool_h: 4", "give either unpool_size or both unpool_h and unpool_w"),
    ],
)
def test_other_forms_are_refused(param: str, message: str) -> None:
    with pytest.raises(LayerError, match=message):
        over(f'type: "Unpooling" unpooling_param {{ {param} }}', *SHAPES)


def test_unpooling_without_a_mask_is_refused() -> None:
    with pytest.raises(LayerError, match="without a pooling mask as second bottom is not computed"):
        over('type: "Unpooling" unpooling_param { kernel_size: 2 }', SHAPE)


def _alone(name: str, value: object, rest: str, refused: str = "") -> Alone:
    layer = BOTH + f"unpooling_param {{ {rest} }}"
    return Alone("Unpooling", f"unpooling_param.{name}", value, layer, SHAPES, reference, inputs=inputs, refused=refused)


ALONE = [
    _alone("kernel_size", 4, "stride: 4", "kernel_size is missing"),
    _alone("kernel_h", 4, "stride: 4 kernel_w: 4", "give either kernel_size or both"),
    _alone("kernel_w", 4, "stride: 4 kernel_h: 4", "give either kernel_size or both"),
    _alone("stride", 4, "kernel_size: 9"),
    _alone("stride_h", 4, "kernel_size: 4 stride_w: 4", "give either stride or both"),
    _alone("stride_w", 4, "kernel_size: 4 stride_h: 4", "give either stride or both"),
    _alone("unpool_size", 7, "kernel_size: 9"),
    _alone("unpool_h", 7, "kernel_size: 2 unpool_w: 7", "give either unpool_size or both"),
    _alone("unpool_w", 7, "kernel_size: 2 unpool_h: 7", "give either unpool_size or both"),
]
