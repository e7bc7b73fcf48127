"""Interp, Upsample and unpooling: what Caffe refuses, every form, sizes by each parameter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import LayerError
from tests.layers.alone import Alone
from tests.layers.nets import check_every_form, net_of, values_for
from tests.running import NEWEST, assert_same, by_onnx, by_torch

INTERP = 'type: "Interp" bottom: "a" top: "y" interp_param '
UP = 'type: "Upsample" bottom: "a" top: "y" upsample_param '
X = (2, 3, 5, 4)


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        (INTERP + "{ }", [X], "give zoom_factor, shrink_factor, or height and width"),
        (INTERP + "{ height: 4 }", [X], "give zoom_factor"),
        (INTERP + "{ height: 0 width: 4 }", [X], "must be positive, not 0 and 4"),
        (INTERP + "{ zoom_factor: 0 }", [X], "zoom_factor must be positive"),
        (INTERP + "{ shrink_factor: -1 }", [X], "shrink_factor must be positive"),
        (INTERP + "{ zoom_factor: 2 pad_beg: 1 }", [X], "only crop"),
        (INTERP + "{ zoom_factor: 2 pad_beg: -2 pad_end: -2 }", [X], "leave nothing"),
        (INTERP + '{ zoom_factor: 2 } bottom: "b"', [X, X], "second bottom determines the size"),
        (INTERP + "{ zoom_factor: 2 }", [(2, 3)], "4 axes"),
        (UP + "{ scale: 0 }", [X], "positive whole number"),
        (UP + "{ scale: 1.5 }", [X], "positive whole number, not 1.5"),
        (UP + "{ upsample_h: 4 upsample_w: 4 }", [X], "needs a pooling mask"),
        (UP + '{ scale: 1 } bottom: "b"', [X, X], "larger than 1"),
        (UP + '{ scale: 2 scale_h: 2 scale_w: 2 } bottom: "b"', [X, X], "either scale or both"),
        (UP + '{ scale: 3 pad_out_h: true } bottom: "b"', [X, X], "pad_out_h needs scale 2"),
        (UP + '{ upsample_h: 1 upsample_w: 4 } bottom: "b"', [X, X], "larger than 1"),
        (UP + '{ scale: 2 } bottom: "b"', [X, (2, 3, 5, 5)], "first one's shape"),
    ],
)
def test_what_caffe_refuses_names_the_layer(layer: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(LayerError, match="layer 'op'") as error:
        net_of(layer, *shapes)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        (INTERP + "{ zoom_factor: 3 }", [X]),
        (INTERP + "{ shrink_factor: 2 zoom_factor: 2 pad_beg: -1 }", [X]),
        (INTERP + "{ height: 1 width: 7 }", [X]),
        (INTERP + '{ use_blob_size: true } bottom: "b"', [X, (2, 1, 9, 3)]),
        (UP + "{ scale: 3 }", [X]),
        (UP + "{ scale_h: 2 scale_w: 1 }", [X]),
    ],
)
def test_every_form_agrees(layer: str, shapes: list[tuple[int, ...]]) -> None:
    check_every_form(net_of(layer, *shapes))


@pytest.mark.parametrize(
    ("param", "size"),
    [
        ("shrink_factor: 2", (3, 2)),
        ("zoom_factor: 2", (9, 7)),
        ("shrink_factor: 2 height: 8 width: 9", (3, 2)),
        ("zoom_factor: 2 height: 8 width: 9", (9, 7)),
        ("zoom_factor: 2 shrink_factor: 2 height: 8 width: 9", (8, 9)),
        ("zoom_factor: 2 shrink_factor: 2", (5, 3)),
    ],
)
def test_interp_sizes_in_the_forks_order_of_precedence(param: str, size: tuple[int, int]) -> None:
    assert net_of(INTERP + f"{{ {param} }}", X).shapes["y"] == (2, 3, *size)


UNPOOL = """
    layer { name: "a" type: "Input" top: "a" input_param { shape { dim: 2 dim: 3 dim: 5 dim: 6 } } }
    layer { name: "pool" type: "Pooling" bottom: "a" top: "p" top: "mask" pooling_param { kernel_size: 2 stride: 2 } }
    layer { name: "op" type: "Upsample" bottom: "p" bottom: "mask" top: "y" upsample_param { %s } }"""


@pytest.mark.parametrize("param", ["upsample_h: 5 upsample_w: 6", "pad_out_h: true", "scale_h: 2 scale_w: 2"])
def test_unpooling_puts_maxima_back(param: str) -> None:
    net = protogen.loads(UNPOOL % param)
    check_every_form(net)
    values = values_for(net)
    y = by_torch(net, values)[0]
    kept = y != 0
    if y.shape == values["a"].shape:
        assert np.array_equal(y[kept], values["a"][kept])
    assert kept.sum() == 2 * 3 * 3 * 3


def test_unpooling_gives_each_value_the_gradient_of_its_place() -> None:
    module = net_of(UP + '{ scale: 2 } bottom: "b"', (1, 1, 1, 2), (1, 1, 1, 2)).to_torch()
    x, mask = torch.tensor([[[[5.0, 6.0]]]], requires_grad=True), torch.tensor([[[[4.0, 3.0]]]])
    y = module(x, mask)
    assert y.tolist() == [[[[0, 0, 0, 6], [5, 0, 0, 0]]]]
    (y * torch.arange(8.0).reshape(1, 1, 2, 4)).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [4, 3]


def test_other_image_sizes_than_the_prototxts() -> None:
    net = net_of(INTERP + "{ zoom_factor: 2 pad_end: -1 }", X)
    assert net.to_torch()(torch.randn(1, 3, 8, 7)).shape == (1, 3, 13, 11)
    assert net_of(UP + "{ scale: 2 }", X).to_torch()(torch.randn(1, 3, 8, 7)).shape == (1, 3, 16, 14)


def test_open_batch_on_the_oldest_opset() -> None:
    net = net_of(INTERP + "{ zoom_factor: 2 }", X)
    values = values_for(net, 7)
    assert_same(by_onnx(net, values, dynamic_batch=True, opset=11), by_torch(net, values))


@pytest.mark.parametrize("opset", [11, 17, NEWEST])
@pytest.mark.parametrize(
    ("net", "sizes"),
    [
        (net_of(INTERP + "{ zoom_factor: 3 }", X), [(5, 4), (8, 1)]),
        (net_of(INTERP + "{ shrink_factor: 3 }", X), [(5, 4), (17, 12)]),
        (net_of(INTERP + "{ shrink_factor: 2 zoom_factor: 2 pad_beg: -1 pad_end: -2 }", X), [(6, 4), (9, 8)]),
        (net_of(INTERP + "{ height: 5 width: 4 }", X), [(5, 4), (9, 2)]),  # at the size given it does nothing
        (net_of(INTERP + '{ } bottom: "b"', X, (2, 1, 5, 4)), [(5, 4), (9, 2)]),
        (net_of(UP + "{ scale_h: 2 scale_w: 3 }", X), [(5, 4), (8, 1)]),
        (protogen.loads(UNPOOL % "pad_out_h: true"), [(5, 6), (9, 4)]),
        (protogen.loads(UNPOOL % "scale_h: 2 scale_w: 2"), [(6, 4), (8, 10)]),
    ],
)
def test_the_size_follows_the_bottoms(net: protogen.Net, sizes: list[tuple[int, int]], opset: int) -> None:
    for batch, size in zip((2, 3), sizes):
        shapes = {"a": (batch, 3, *size), "b": (batch, 1, 7, 11)}
        twin = protogen.loads(net.to_prototxt(), inputs={name: shapes[name] for name in net.inputs})
        values = values_for(twin)
        assert_same(by_onnx(net, values, opset=opset, dynamic_batch=True, dynamic_size=True), by_torch(twin, values))


@pytest.mark.parametrize(("param", "size"), [("stride: 3", (3, 3)), ("stride_h: 1 stride_w: 3", (1, 3)), ("stride_w: 3", (2, 3))])
def test_atcs_upsample_repeats_by_stride_and_multiplies_by_scale(param: str, size: tuple[int, int]) -> None:
    net = net_of(f'type: "Upsample" bottom: "a" top: "y" upsample_param {{ scale: 0.5 {param} }}', (2, 3, 4, 2))
    values = values_for(net)
    assert_same(by_torch(net, values), [0.5 * values["a"].repeat(size[0], 2).repeat(size[1], 3)])
    check_every_form(net)


def test_atcs_upsample_of_stride_1_still_multiplies() -> None:
    net = net_of('type: "Upsample" bottom: "a" top: "y" upsample_param { stride: 1 scale: 2 }', (1, 2, 2, 2))
    values = values_for(net)
    assert_same([net.to_torch(fold=True)(torch.tensor(values["a"])).numpy()], [2 * values["a"]])


@pytest.mark.parametrize(("param", "size"), [("pad_out_h: true", (5, 8)), ("pad_out_w: true", (6, 7))])
def test_unpooling_may_leave_out_the_last_row_or_column(param: str, size: tuple[int, int]) -> None:
    net = net_of(f'type: "Upsample" bottom: "a" bottom: "b" top: "y" upsample_param {{ {param} }}', (1, 2, 3, 4), (1, 2, 3, 4))
    assert net.shapes["y"] == (1, 2, *size)
    mask = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4) % 12 * 2
    values = {"a": values_for(net)["a"], "b": mask}
    expected = np.zeros((2, size[0] * size[1]), np.float32)
    for channel in range(2):
        expected[channel, mask[0, channel].astype(int).ravel()] = values["a"][0, channel].ravel()
    assert_same(by_torch(net, values), [expected.reshape(1, 2, *size)])


@pytest.mark.parametrize("param", ["upsample_h: 4", "pad_out_w: true"])
def test_what_only_unpooling_has_is_refused_without_a_mask(param: str) -> None:
    with pytest.raises(LayerError, match=f"{param.partition(':')[0]}: only for unpooling"):
        net_of(f'type: "Upsample" bottom: "a" top: "y" upsample_param {{ {param} }}', (1, 2, 3, 4))


def places() -> list[np.ndarray]:
    """Values, and for each of a channel another place among the first 23."""
    return [np.random.default_rng(0).standard_normal((1, 2, 3, 4)).astype(np.float32),
            (np.arange(24, dtype=np.float32) % 12 * 2).reshape(1, 2, 3, 4)]  # fmt: skip


def unpooled(field: str, value: float, others: str, size: tuple[int, int]) -> Alone:
    """SegNet's unpooling to a size: zeros but where the mask says."""

    def expected(net, values):
        planes = np.zeros((2, size[0] * size[1]), np.float32)
        for channel, i, j in np.ndindex(2, 3, 4):
            planes[channel, int(values["b"][0, channel, i, j])] = values["a"][0, channel, i, j]
        return [planes.reshape(1, 2, *size)]

    text = f'bottom: "a" bottom: "b" top: "y" upsample_param {{ {others} }}'
    return Alone("Upsample", f"upsample_param.{field}", value, text, [(1, 2, 3, 4)] * 2, expected, places)


def repeated(field: str, others: str, times: tuple[int, int]) -> Alone:
    """Darknet's: each value 3 times."""
    text = f'bottom: "a" top: "y" upsample_param {{ {others} }}'
    return Alone(
        "Upsample", f"upsample_param.{field}", 3, text, [X],
        lambda net, values: [values["a"].repeat(times[0], 2).repeat(times[1], 3)],
    )  # fmt: skip


def test_bilinear_interpolation_takes_its_size_from_the_second_bottom() -> None:
    """The loops of bilinear_layer.cpp of ctensmeyer/caffe."""
    net = net_of('type: "BilinearInterpolation" bottom: "a" bottom: "b" top: "y"', (2, 3, 4, 5), (2, 1, 7, 3))
    values = values_for(net)
    padded = np.pad(values["a"], [(0, 0), (0, 0), (0, 1), (0, 1)])  # the pixels past the end have weight 0
    expected = np.zeros((2, 3, 7, 3))
    for h, w in np.ndindex(7, 3):
        y, x = h * (4 - 1) / (7 - 1), w * (5 - 1) / (3 - 1)
        top, left = int(y), int(x)
        for row, column, weight in (
            (top, left, (top + 1 - y) * (left + 1 - x)),
            (top, left + 1, (top + 1 - y) * (x - left)),
            (top + 1, left, (y - top) * (left + 1 - x)),
            (top + 1, left + 1, (y - top) * (x - left)),
        ):
            expected[:, :, h, w] += weight * padded[:, :, row, column]
    np.testing.assert_allclose(by_torch(net, values)[0], expected, rtol=0, atol=1e-5)
    check_every_form(net)


def test_bilinear_interpolation_to_one_row_is_refused() -> None:
    with pytest.raises(LayerError, match="must have more than one row and one column"):
        net_of('type: "BilinearInterpolation" bottom: "a" bottom: "b" top: "y"', (2, 3, 4, 5), (2, 1, 1, 3))


ALONE = [
    unpooled("scale_h", 3, "scale_h: 2 scale_w: 2", (9, 8)),
    unpooled("scale_w", 3, "scale_h: 2 scale_w: 2", (6, 12)),
    unpooled("pad_out_h", True, "", (5, 8)),
    unpooled("pad_out_w", True, "", (6, 7)),
    unpooled("upsample_h", 7, "upsample_h: 6 upsample_w: 6", (7, 6)),
    unpooled("upsample_w", 7, "upsample_h: 6 upsample_w: 6", (6, 7)),
    repeated("stride", "", (3, 3)),
    repeated("stride_h", "stride_h: 1 stride_w: 2", (3, 2)),
    repeated("stride_w", "stride_h: 2 stride_w: 1", (2, 3)),
    Alone(
        "Interp", "interp_param.use_blob_size", True, 'bottom: "a" bottom: "b" top: "y" interp_param { height: 4 width: 4 }',
        [X, (2, 1, 9, 3)], 'type: "Interp" bottom: "a" top: "y" interp_param { height: 9 width: 3 }',
        refused="its second bottom determines the size",
    ),
]  # fmt: skip
