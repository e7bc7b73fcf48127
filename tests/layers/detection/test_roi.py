"""ROIPooling and PSROIPooling against a plain cell by cell account, with gradients; what Caffe refuses; every form."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import ConversionError, LayerError
from tests.layers.alone import Alone
from tests.layers.nets import check_every_form, net_of
from tests.running import NEWEST, Arrays, by_onnx

DATA = (2, 4, 9, 11)
ROI = 'type: "ROIPooling" bottom: "a" bottom: "b" top: "y" roi_pooling_param '
PSROI = 'type: "PSROIPooling" bottom: "a" bottom: "b" top: "y" psroi_pooling_param '


def regions(count: int = 60) -> np.ndarray:
    """Regions on half pixels, among them some that are inside out, tiny, or (partly) outside the map."""
    rng = np.random.default_rng(1)
    corners = rng.integers(-60, 400, (count, 2, 2)) * 0.5
    corners[count // 6 :] = np.sort(corners[count // 6 :], axis=1)
    return np.concatenate([rng.integers(0, 2, (count, 1)), corners.reshape(count, 4)], 1).astype(np.float32)


def values(ties: bool = False) -> Arrays:
    data = np.random.default_rng(2).standard_normal(DATA).astype(np.float32)
    return {"a": np.round(data).clip(0, 1) if ties else data, "b": regions()}


def away(x: float) -> float:
    return math.copysign(math.floor(abs(x) + 0.5), x)


def roi_cells(region: np.ndarray, axis: int, cells: int, scale: float, pad: float) -> list[tuple[int, int]]:
    low, high = np.float32(region[2 - axis]), np.float32(region[4 - axis])
    margin = (high - low + np.float32(1)) * np.float32(pad)
    start, end = (away(float(edge * np.float32(scale))) for edge in (low - margin, high + margin))
    size, first = np.float32(max(end - start + 1, 1)) / np.float32(cells), int(start)
    return [(math.floor(np.float32(i) * size) + first, math.ceil(np.float32(i + 1) * size) + first) for i in range(cells)]


def psroi_cells(region: np.ndarray, axis: int, cells: int, scale: float) -> list[tuple[int, int]]:
    factor = np.float32(scale)
    start, end = np.float32(away(region[2 - axis])) * factor, np.float32(away(region[4 - axis]) + 1) * factor
    size = np.float32(max(end - start, np.float32(0.1))) / np.float32(cells)
    return [(math.floor(np.float32(i) * size + start), math.ceil(np.float32(i + 1) * size + start)) for i in range(cells)]


def by_hand(net: protogen.Net, given: Arrays, top_diff: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The top, and the gradient of the map for a gradient of the top."""
    layer, data = net.layers[-1], given["a"]
    p = layer.message.roi_pooling_param if layer.type == "ROIPooling" else layer.message.psroi_pooling_param
    cells_of = partial(roi_cells, pad=p.pad_ratio) if layer.type == "ROIPooling" else psroi_cells
    y, diff = np.zeros(net.shapes["y"], np.float32), np.zeros_like(data)
    for (r, c, i, j), slope in np.ndenumerate(top_diff):
        region = given["b"][r].reshape(-1)
        cells = [cells_of(region, axis, y.shape[2 + axis], p.spatial_scale) for axis in (0, 1)]
        (top, bottom), (left, right) = ([min(max(v, 0), DATA[2 + axis]) for v in cells[axis][(i, j)[axis]]] for axis in (0, 1))
        if bottom <= top or right <= left:
            continue
        channel = c if layer.type == "ROIPooling" else (c * p.group_size + i) * p.group_size + j
        plane, grad = data[int(region[0]), channel], diff[int(region[0]), channel]
        window = plane[top:bottom, left:right]
        if layer.type == "ROIPooling":
            y[r, c, i, j] = window.max()
            row, column = divmod(int(window.argmax()), right - left)
            grad[top + row, left + column] += slope
        else:
            y[r, c, i, j] = window.mean(dtype=np.float64)
            grad[top:bottom, left:right] += slope / window.size
    return y, diff


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    "layer",
    [
        ROI + "{ pooled_h: 3 pooled_w: 2 spatial_scale: 0.0625 }",
        ROI + "{ pooled_size: 6 spatial_scale: 0.05 }",
        ROI + "{ pooled_h: 3 pooled_w: 4 spatial_scale: 0.0625 pad_ratio: 0.25 }",
        ROI + "{ pooled_h: 2 pooled_w: 2 spatial_scale: 0.05 pad_ratio: 1.5 }",
        PSROI + "{ output_dim: 1 group_size: 2 spatial_scale: 0.0625 }",
        PSROI + "{ output_dim: 4 group_size: 1 spatial_scale: 0.3 }",
    ],
)
def test_cells_and_gradients_are_those_of_caffes_steps(layer: str, ties: bool) -> None:
    net, given = net_of(layer, DATA, (60, 5)), values(ties)
    top_diff = np.random.default_rng(4).standard_normal(net.shapes["y"]).astype(np.float32)
    expected, expected_diff = by_hand(net, given, top_diff)
    data, rois = torch.tensor(given["a"], requires_grad=True), torch.tensor(given["b"], requires_grad=True)
    y = net.to_torch()(data, rois)
    y.backward(torch.tensor(top_diff))
    np.testing.assert_allclose(y.detach().numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(data.grad.numpy(), expected_diff, atol=1e-5)
    assert rois.grad is None
    for opset in (11, 21, NEWEST):
        np.testing.assert_allclose(by_onnx(net, given, opset=opset)[0], expected, atol=1e-6)
        if opset < 22 or "PSROI" in layer:
            np.testing.assert_allclose(by_onnx(net, given, opset=opset, dynamic_size=True)[0], expected, atol=1e-6)
        else:
            with pytest.raises(ConversionError, match=r"layer 'op': a dynamic size needs MaxRoiPool.* opset 21 only"):
                net.to_onnx(opset=opset, dynamic_size=True)


def test_context_around_a_region_is_not_cut_off_at_the_map() -> None:
    """Cascade R-CNN's roi_pooling_layer.cpp: with half of its size around it, x 2 to 4 is 0.5 to 5.5, rounded 1 to 6, and y -2
    to 1 is -4 to 3, in two cells of which the upper one is none of the map's."""
    net = net_of(ROI + "{ pooled_w: 2 pooled_h: 2 spatial_scale: 1 pad_ratio: 0.5 }", (1, 1, 8, 8), (1, 5))
    given = {"a": np.arange(64, dtype=np.float32).reshape(1, 1, 8, 8), "b": np.float32([[0, 2, -2, 4, 1]])}
    for made in (by_onnx(net, given)[0], net.to_torch()(*map(torch.tensor, given.values())).numpy()):
        np.testing.assert_array_equal(made[0, 0], [[0, 0], [27, 30]])


@pytest.mark.parametrize(
    "layer",
    [
        ROI + "{ pooled_h: 2 pooled_w: 3 spatial_scale: 4 pad_ratio: 0.3 }",
        PSROI + "{ output_dim: 1 group_size: 2 spatial_scale: 2 }",
    ],
)
def test_every_form_agrees(layer: str) -> None:
    check_every_form(net_of(layer, (2, 4, 9, 11), (5, 5, 1, 1)), below=2, batch=None)


def test_regions_and_images_may_differ_in_number() -> None:
    net = net_of(ROI + "{ pooled_h: 2 pooled_w: 2 spatial_scale: 0.0625 }", DATA, (60, 5))
    given = values()
    assert net.to_torch()(torch.tensor(given["a"]), torch.tensor(given["b"][:7])).shape == (7, 4, 2, 2)
    assert net.to_torch()(torch.tensor(given["a"]), torch.zeros(0, 5)).shape == (0, 4, 2, 2)


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        (ROI + "{ pooled_h: 2 }", [DATA, (3, 5)], "pooled_h and pooled_w must be positive, not 2, 0"),
        (ROI + "{ pooled_size: 2 pooled_size: 3 pooled_size: 4 }", [DATA, (3, 5)], "height and width, not 3 numbers"),
        (ROI + "{ pooled_h: 2 pooled_w: 2 }", [DATA, (3, 4)], "5 values each"),
        (ROI + "{ pooled_h: 2 pooled_w: 2 }", [(2, 4, 9), (3, 5)], "4 axes"),
        (PSROI + "{ output_dim: 0 group_size: 2 spatial_scale: 1 }", [DATA, (3, 5)], "output_dim must be positive"),
        (PSROI + "{ output_dim: 1 group_size: 0 spatial_scale: 1 }", [DATA, (3, 5)], "group_size must be positive"),
        (PSROI + "{ output_dim: 1 group_size: 3 spatial_scale: 1 }", [DATA, (3, 5)], "needs 9 channels"),
    ],
)
def test_what_caffe_refuses_names_the_layer(layer: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(LayerError, match="layer 'op'") as error:
        net_of(layer, *shapes)
    assert message in str(error.value)


TEXT = 'bottom: "a" bottom: "b" top: "y" roi_pooling_param { pooled_h: %d pooled_w: %d spatial_scale: 0.0625 }'
REGIONS = [DATA, (60, 5)]


def placed() -> list[np.ndarray]:
    return list(values().values())


ALONE = [
    Alone(
        "ROIPooling", "roi_pooling_param.pooled_size", [3, 2], TEXT % (1, 1), REGIONS, f'type: "ROIPooling" {TEXT % (3, 2)}',
        placed, gradient=("a",),
    ),
    Alone(
        "ROIPooling", "roi_pooling_param.pad_ratio", 0.25, TEXT % (3, 2), REGIONS,
        lambda net, given: by_hand(net, given, np.ones((60, 4, 3, 2), np.float32)), placed, gradient=("a",),
    ),
]  # fmt: skip
