"""Layers that move values: what Caffe refuses, every form, and shapes the reference cases leave out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import LayerError
from tests.layers.alone import Alone
from tests.layers.nets import check_every_form, net_of, values_for
from tests.running import NEWEST, Arrays, assert_same, by_onnx, by_torch

ONE = 'bottom: "a" top: "y" '
X = (2, 6, 4, 4)

REFUSED = [
    ('type: "Flatten" flatten_param { axis: 4 }', [X], "axis 4 is out of range"),
    ('type: "Flatten" flatten_param { axis: 3 end_axis: 1 }', [X], "end_axis 1 comes before axis 3"),
    ('type: "Reshape" reshape_param { shape { dim: -1 dim: -1 } }', [X], "at most one dimension"),
    ('type: "Reshape" reshape_param { shape { dim: 0 dim: 5 dim: -1 } }', [X], "do not divide"),
    ('type: "Reshape" reshape_param { shape { dim: 7 } }', [X], "has 192 values"),
    ('type: "Reshape" reshape_param { shape { dim: 0 dim: 0 dim: 0 dim: 0 dim: 0 } }', [X], "no axis"),
    ('type: "Reshape" reshape_param { shape { dim: -2 } }', [X], "-2"),
    ('type: "Reshape" reshape_param { axis: 5 }', [X], "axis 5 is out of range"),
    ('type: "Reshape" reshape_param { axis: 3 num_axes: 2 shape { dim: 4 } }', [X], "reach beyond"),
    ('type: "Reshape" reshape_param { num_axes: -2 }', [X], "num_axes"),
    ('type: "Permute" permute_param { order: 4 }', [X], "order"),
    ('type: "Permute" permute_param { order: 1 order: 1 }', [X], "twice"),
    ('type: "Slice" top: "z" slice_param { slice_point: 0 }', [X], "must increase from 1 to 5"),
    ('type: "Slice" top: "z" slice_param { slice_point: 6 }', [X], "must increase"),
    ('type: "Slice" top: "z" top: "u" slice_param { slice_point: 4 slice_point: 2 }', [X], "must increase"),
    ('type: "Slice" top: "z" slice_param { slice_point: 1 slice_point: 2 }', [X], "2 slice points give 3 parts"),
    ('type: "Slice" top: "z" top: "u" top: "v"', [X], "does not divide into 4"),
    ('type: "Slice" slice_param { axis: 1 slice_dim: 1 }', [X], "either axis or slice_dim"),
    ('type: "Slice" slice_param { slice_dim: 4 }', [X], "slice_dim 4 is out of range"),
    ('type: "Tile" tile_param { axis: 1 }', [X], "tiles is missing"),
    ('type: "Tile" tile_param { tiles: 0 }', [X], "tiles must be positive"),
    ('type: "ShuffleChannel" shuffle_channel_param { group: 4 }', [X], "group 4 does not divide the 6 channels"),
    ('type: "ShuffleChannel" shuffle_channel_param { group: 0 }', [X], "group must be positive"),
    ('type: "Transpose" transpose_param { dim: 1 dim: 0 }', [X], "must name each of the 4 axes"),
    ('type: "Reorg" reorg_param { stride: 2 }', [X], "does not divide the 6 channels"),
    ('type: "Reorg" reorg_param { stride: 2 }', [(1, 4, 3, 4)], "does not divide the 3x4 pixels"),
    ('type: "Reorg" reorg_param { stride: 0 }', [X], "stride must be positive"),
    ('type: "Flip"', [(2, 3)], "4 axes"),
    ('type: "BatchReindex" bottom: "b"', [X, (2, 1)], "must have one axis"),
    ('type: "Filter" bottom: "b"', [X, (3,)], "differ in the first axis"),
    ('type: "Filter" bottom: "b"', [X, (2, 2)], "selector"),
    ('type: "Filter" bottom: "b" top: "z"', [X, (2,)], "1 bottoms to filter and 2 tops"),
]


@pytest.mark.parametrize(("layer", "shapes", "message"), REFUSED)
def test_what_caffe_refuses_names_the_layer(layer: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(LayerError, match=r"layer 'op' \(\w+\)") as error:
        net_of(ONE + layer, *shapes)
    assert message in str(error.value)


@pytest.mark.parametrize("type", ["Flatten", "Reshape"])
def test_in_place_is_refused_as_by_caffe(type: str) -> None:
    with pytest.raises(LayerError, match="in place"):
        net_of(f'type: "{type}" bottom: "a" top: "a" reshape_param {{ shape {{ dim: -1 }} }}', X)


FORMS = [
    ('type: "Flatten"', [X]),
    ('type: "Flatten" flatten_param { axis: 2 end_axis: -1 }', [X]),
    ('type: "Flatten" flatten_param { axis: 0 end_axis: 1 }', [X]),
    ('type: "Flatten" flatten_param { axis: 2 end_axis: 1 }', [X]),
    ('type: "Reshape" reshape_param { shape { dim: 0 dim: 3 dim: -1 dim: 4 } }', [X]),
    ('type: "Reshape" reshape_param { axis: 1 num_axes: 1 shape { dim: 2 dim: 3 } }', [X]),
    ('type: "Reshape" reshape_param { axis: 0 num_axes: 0 shape { dim: 1 dim: 1 } }', [X]),
    ('type: "Reshape" reshape_param { axis: -1 num_axes: 0 shape { dim: 1 } }', [X]),
    ('type: "Reshape" reshape_param { shape { dim: -1 dim: 16 } }', [X]),
    ('type: "Permute" permute_param { order: 0 order: 2 order: 3 order: 1 }', [X]),
    ('type: "Transpose" transpose_param { dim: 0 dim: 2 dim: 3 dim: 1 }', [X]),
    ('type: "Slice" top: "z" slice_param { slice_point: 2 }', [X]),
    ('type: "Slice" top: "z" top: "u" slice_param { axis: -1 slice_point: 1 slice_point: 3 }', [X]),
    ('type: "Slice"', [X]),
    ('type: "Split" top: "z"', [X]),
    ('type: "Tile" tile_param { axis: 2 tiles: 3 }', [X]),
    ('type: "Tile" tile_param { axis: 0 tiles: 2 }', [X]),
    ('type: "ShuffleChannel" shuffle_channel_param { group: 2 }', [X]),
    ('type: "ShuffleChannel" shuffle_channel_param { group: 6 }', [X]),
    ('type: "Reorg" reorg_param { stride: 2 }', [(2, 8, 4, 6)]),
    ('type: "Reorg" reorg_param { stride: 2 reverse: true }', [(2, 8, 3, 2)]),
    ('type: "Flip" flip_param { flip_height: true }', [X]),
    ('type: "Flip" flip_param { flip_width: false }', [X]),
]


@pytest.mark.parametrize(("layer", "shapes"), FORMS)
def test_every_form_agrees(layer: str, shapes: list[tuple[int, ...]]) -> None:
    check_every_form(net_of(ONE + layer, *shapes))


def test_batch_slices_follow_an_open_batch() -> None:
    net = net_of(ONE + 'type: "Slice" top: "z" slice_param { axis: 0 slice_point: 1 }', (2, 3))
    values = values_for(net, 6)
    for opset in (11, 18):
        made = by_onnx(net, values, dynamic_batch=True, opset=opset)
        assert [y.shape for y in made] == [(1, 3), (5, 3)]
        assert_same(made, by_torch(net, values))


def test_batch_reindex_in_every_form() -> None:
    net = net_of(ONE + 'type: "BatchReindex" bottom: "b"', (3, 2, 2), (4,))
    check_every_form(net, below=3, batch=None)


def test_batch_reindex_adds_up_gradients_of_an_item_taken_twice() -> None:
    module = net_of(ONE + 'type: "BatchReindex" bottom: "b"', (3, 2), (4,)).to_torch()
    x = torch.randn(3, 2, requires_grad=True)
    module(x, torch.tensor([1.0, 1.0, 0.0, 1.0])).sum().backward()
    assert x.grad is not None
    assert x.grad[:, 0].tolist() == [1, 3, 0]


@pytest.mark.parametrize("chosen", [[1, 0, -2], [0, 0, 0], [1, 1, 1]])
def test_filter_keeps_what_the_selector_says(chosen: list[float]) -> None:
    net = net_of(ONE + 'type: "Filter" bottom: "b" bottom: "c" top: "z"', (3, 2), (3, 1, 2), (3, 1))
    values = {**values_for(net), "c": np.array(chosen, np.float32).reshape(3, 1)}
    expected = [values["a"][values["c"].ravel() != 0], values["b"][values["c"].ravel() != 0]]
    assert_same(by_torch(net, values), expected)
    for opset in (11, NEWEST):
        assert_same(by_onnx(net, values, opset=opset), expected)


def test_reorg_reverse_puts_channel_groups_side_by_side() -> None:
    net = net_of(ONE + 'type: "Reorg" reorg_param { stride: 2 reverse: true }', (1, 4, 1, 1))
    made = by_torch(net, {"a": np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1)})[0]
    assert made.tolist() == [[[[0, 1], [2, 3]]]]


def spread(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    """Value for value where reorg_layer.hpp of eric612/MobileNet-YOLO puts it: each quarter of the channels at its own offset."""
    (n, c, h, w), x = net.shapes["a"], values["a"]
    y = np.zeros((n, c // 4, 2 * h, 2 * w), np.float32)
    for k, j, i in np.ndindex(c, h, w):
        offset, channel = divmod(k, c // 4)
        y[:, channel, 2 * j + offset // 2, 2 * i + offset % 2] = x[:, k, j, i]
    return [y]


ALONE = [
    Alone(
        "Transpose", "transpose_param.dim", [2, 0, 1], ONE, [(2, 3, 4)], lambda net, values: [values["a"].transpose(2, 0, 1)],
        refused="must name each of the 3 axes",
    ),
    Alone("Reorg", "reorg_param.stride", 1, ONE, [(2, 8, 2, 4)], lambda net, values: [values["a"]]),
    Alone("Reorg", "reorg_param.reverse", True, ONE + "reorg_param { stride: 2 }", [(2, 8, 2, 4)], spread),
    Alone("Slice", "slice_param.slice_dim", 2, ONE + 'top: "z"', [X], lambda net, values: np.split(values["a"], 2, 2)),
]  # fmt: skip
