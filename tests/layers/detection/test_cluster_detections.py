"""DetectNet's ClusterDetections against OpenCV's own groupRectangles, called as clustering.py of NVIDIA/caffe calls it."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

import protogen
from protogen.errors import LayerError
from tests.layers.nets import net_of
from tests.running import Arrays, by_onnx, by_torch

GRID = (6, 9)


def detectnet(text: str, images: int = 1, classes: int = 1, grid: tuple[int, int] = GRID) -> protogen.Net:
    tops = " ".join(f'top: "t{i}"' for i in range(classes))
    param = f'module: "caffe.layers.detectnet.clustering" layer: "ClusterDetections" param_str: "{text}"'
    layer = f'type: "Python" bottom: "a" bottom: "b" {tops} python_param {{ {param} }}'
    return net_of(layer, (images, classes, *grid), (images, 4, *grid))


def values(images: int, classes: int, grid: tuple[int, int] = GRID, spread: float = 3.0, seed: int = 0) -> Arrays:
    """Cells that see one of a few objects, each a little differently, some of them inside others."""
    rng = np.random.default_rng(seed)
    objects = np.array([[10, 8, 70, 60], [14, 12, 64, 55], [80, 20, 130, 90], [30, 30, 50, 50], [81, 22, 129, 88]], float)
    boxes = np.zeros((images, 4, *grid))
    for image, y, x in np.ndindex(images, *grid):
        box = objects[rng.integers(len(objects))] + rng.normal(0, spread, 4)
        boxes[image, :, y, x] = box - np.array([x, y, x, y]) * 16
    return {"a": rng.random((images, classes, *grid)).astype(np.float32), "b": boxes.astype(np.float32)}


def plain(text: str, given: Arrays) -> list[np.ndarray]:
    """`cluster`, `gridbox_to_boxes` and `vote_boxes`; lists of numbers become rectangles by rounding (OpenCV 2.4 and 3)."""
    width, height, stride, least, threshold, eps, min_height, *_ = (float(part) for part in text.split(","))
    coverage, boxes = given["a"], given["b"].astype(np.float64)
    tops = np.zeros((coverage.shape[1], len(coverage), 50, 5), np.float32)
    for image, kind in np.ndindex(coverage.shape[:2]):
        corners = []
        for y, x in np.ndindex(int(height / stride), int(width / stride)):
            if coverage[image, kind, y, x] >= np.float32(least):
                corners.append(boxes[image, :, y, x] + np.array([x, y, x, y]) * stride)
        if not np.any(corners):
            continue
        rects = [[round(a), round(b), round(c - a), round(d - b)] for a, b, c, d in np.array(corners).tolist()]
        groups, weights = cv2.groupRectangles(rects, int(threshold), eps)
        good = [(rect, n) for rect, n in zip(groups, np.ravel(weights)) if rect[3] >= min_height]
        rows = [[x, y, x + w, y + h, math.log(n)] for (x, y, w, h), n in good]
        if rows:
            tops[kind, image, : len(rows)] = np.array(rows, np.float16)
    return list(tops)


CASES = [
    ("144, 96, 16, 0.3, 1, 0.2, 5, 1", 1, 1),
    ("144, 96, 16, 0.3, 1, 0.1, 5", 2, 1),
    ("144, 96, 16, 0.05, 2, 0.3, 25, 3", 2, 3),
    ("144, 96, 16, 0.05, 3, 0.05, 1, 2", 1, 2),
    ("128, 80, 16, 0.2, 1, 0.2, 1, 1", 1, 1),  # a smaller grid than the maps'
    ("144, 96, 16, 1.5, 1, 0.2, 1, 1", 1, 1),  # no box
]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("text", "images", "classes"), CASES)
def test_boxes_are_opencvs_groups(text: str, images: int, classes: int, seed: int) -> None:
    net, given = detectnet(text, images, classes), values(images, classes, spread=1.0 + seed, seed=seed)
    expected = plain(text, given)
    for made in (by_torch(net, given), by_onnx(net, given, opset=17)):
        for top, wanted in zip(made, expected, strict=True):
            np.testing.assert_array_equal(top, wanted)


def test_the_cases_have_many_boxes_and_drop_some() -> None:
    """So that those above decide something: groups inside others are left out."""
    text, images, classes = CASES[0]
    given = values(images, classes, spread=2.0, seed=1)
    counts = [int((top[..., 4] > 0).sum()) for top in plain(text, given)]
    strict = [int((top[..., 4] > 0).sum()) for top in plain(text.replace("0.2", "0.02"), given)]
    assert 1 < sum(counts) < 10
    assert counts != strict


def test_no_postprocess_cuts_it_off() -> None:
    text = net_of('type: "ReLU" bottom: "a" top: "coverage"', (1, 1, *GRID), (1, 4, *GRID)).to_prototxt()
    text += """layer { name: "cluster" type: "Python" bottom: "coverage" bottom: "b" top: "list" python_param {
        module: "caffe.layers.detectnet.clustering" layer: "ClusterDetections" param_str: "144, 96, 16, 0.3, 1, 0.2, 5, 1" } }"""
    model = protogen.loads(text).to_onnx(postprocess=False)
    assert [value.name for value in model.graph.output] == ["coverage"]


@pytest.mark.parametrize(("text", "message"), [
    ("144, 96", "param_str must be 'image width"),
    ("144, 96, 16, much, 1, 0.2, 5", "param_str must be 'image width"),
    ("150, 96, 16, 0.3, 1, 0.2, 5", "150x96, must be a multiple of the stride, 16"),
    ("144, 96, 16, 0.3, 0, 0.2, 5", "the group threshold must be positive"),
    ("144, 96, 16, 0.3, 1, 0.2, 5, 2", r"coverage must be \(N, 2, H, W\)"),
])  # fmt: skip
def test_settings_that_cannot_be_computed_are_refused(text: str, message: str) -> None:
    with pytest.raises(LayerError, match=message):
        detectnet(text)
