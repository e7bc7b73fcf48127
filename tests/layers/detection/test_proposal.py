"""Proposal, box by box as its C++ is written, and py-faster-rcnn's Python layer: opsets, batches, what is dropped, refusals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import LayerError
from tests.layers.alone import Alone
from tests.layers.detection.test_quick_sort import sort_box
from tests.layers.nets import net_of
from tests.running import NEWEST, Arrays, by_onnx, by_torch, shape_of

ANCHORS = "feat_stride: 16 base_size: 16 ratio: 0.5 ratio: 1 ratio: 2 scale: 1 scale: 2"
PARAM = ANCHORS + " min_size: 8 post_nms_topn: 15 nms_thresh: 0.5"
TOPS = 'top: "rois" top: "scores"'


def layer(param: str = PARAM, tops: str = TOPS) -> str:
    return f'type: "Proposal" bottom: "a" bottom: "b" bottom: "c" {tops} proposal_param {{ {param} }}'


def python(text: str, tops: str = 'top: "rois"') -> str:
    param = f'module: "rpn.proposal_layer" layer: "ProposalLayer" param_str: "{text}"'
    return f'type: "Python" bottom: "a" bottom: "b" bottom: "c" {tops} python_param {{ {param} }}'


def shapes(images: int = 1, anchors: int = 6) -> list[tuple[int, ...]]:
    return [(images, 2 * anchors, 5, 6), (images, 4 * anchors, 5, 6), (images, 3)]


def values(images: int = 1, anchors: int = 6) -> Arrays:
    rng = np.random.default_rng(5)
    scores, offsets = shapes(images, anchors)[:2]
    made = {"a": rng.random(scores), "b": rng.standard_normal(offsets) * 0.3, "c": np.tile([80.0, 96.0, 1.5], (images, 1))}
    return {name: value.astype(np.float32) for name, value in made.items()}


@pytest.mark.parametrize("opset", [11, 13, 18, NEWEST])
def test_onnx_gives_the_same_regions_for_any_number_of_images(opset: int) -> None:
    net = net_of(layer(), *shapes())
    for images in (1, 3):
        given = values(images)
        rois, scores = by_torch(net, given)
        assert sorted(set(rois[:, 0])) == list(range(images))
        assert scores.shape == rois.shape[:1]
        made = by_onnx(net, given, opset=opset, dynamic_batch=True)
        np.testing.assert_allclose(made[0], rois, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(made[1], scores, rtol=1e-6)


def test_regions_lie_in_the_image_are_large_enough_and_overlap_little() -> None:
    net, given = net_of(layer(PARAM + " pre_nms_topn: 100"), *shapes()), values()
    rois, scores = by_torch(net, given)
    assert 1 < len(rois) <= 15
    assert (np.diff(scores) <= 0).all()
    low, high = rois[:, 1:3], rois[:, 3:]
    assert (low >= 0).all()
    assert (high <= (95, 79)).all()
    assert (high - low + 1 >= 8 * 1.5)[scores > 0].all()
    side = (np.minimum(high[:, None], high) - np.maximum(low[:, None], low) + 1).clip(min=0)
    area = (high - low + 1).prod(1)
    common = side.prod(2)
    overlap = common / (area[:, None] + area - common)
    assert (overlap[~np.eye(len(rois), dtype=bool)] <= 0.5 + 1e-6).all()


# ---- the C++ layer


def moved(anchor: np.ndarray, offset: np.ndarray, info: np.ndarray, least: int) -> tuple[list[np.float32], int]:
    """`transform_box` of proposal_layer.cpp: the box, and whether (1 or 0) it is large enough."""
    f = np.float32
    size = [anchor[2] - anchor[0] + f(1), anchor[3] - anchor[1] + f(1)]
    box: list[np.float32] = [f(0)] * 4
    for axis in (0, 1):
        center = offset[axis] * size[axis] + (anchor[axis] + f(0.5) * size[axis])
        extent = np.exp(offset[2 + axis]) * size[axis]
        limit = info[1 - axis] - f(1)
        box[axis] = max(f(0), min(center - f(0.5) * extent, limit))
        box[2 + axis] = max(f(0), min(center + f(0.5) * extent, limit))
    scale_h, scale_w = info[2], info[3] if len(info) > 3 else info[2]
    wide = box[2] - box[0] + f(1) >= f(least) * scale_w
    return box, int(wide and box[3] - box[1] + f(1) >= f(least) * scale_h)


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """`iou` of nms.cpp."""
    if a[0] > b[2] or a[1] > b[3] or a[2] < b[0] or a[3] < b[1]:
        return 0.0
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + 1)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + 1)
    area_a, area_b = ((box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b))
    return width * height / (area_a + area_b - width * height)


def by_hand(net: protogen.Net, given: Arrays, anchors: Sequence[Sequence[float]] = ()) -> tuple[np.ndarray, np.ndarray]:
    """`Forward_cpu`, by default with anchors as the layer states them (they are held against Caffe's elsewhere)."""
    p, anchors = net.layers[-1].message.proposal_param, np.float32(anchors or net.ops[-1].anchors)
    scores, offsets, infos = (given[name] for name in "abc")
    rows, row_scores = [], []
    for image in range(len(scores)):
        boxes, found = [], []
        for h in range(scores.shape[2]):
            for w in range(scores.shape[3]):
                for k, anchor in enumerate(anchors):
                    at = anchor + np.float32([w, h, w, h]) * np.float32(p.feat_stride)
                    box, large = moved(at, offsets[image, 4 * k : 4 * k + 4, h, w], infos[image].ravel(), p.min_size)
                    found.append((float(large * scores[image, len(anchors) + k, h, w]), len(boxes)))
                    boxes.append(box)
        sort_box(found, 0, len(found) - 1, p.pre_nms_topn)
        kept: list[int] = []
        for score, i in found[: p.pre_nms_topn]:
            if len(kept) < p.post_nms_topn and all(overlap(boxes[i], boxes[k]) <= p.nms_thresh for k in kept):
                kept.append(i)
                rows.append([image, *boxes[i]])
                row_scores.append(score)
    return np.float32(rows).reshape(-1, 5), np.float32(row_scores)


MIN_SIZE = 14
SMALL = ANCHORS + f" min_size: {MIN_SIZE}"
LISTED = {
    "some small boxes are listed": " pre_nms_topn: 300 nms_thresh: 0.7 post_nms_topn: 90",
    "small boxes are cut off amid their equals": " pre_nms_topn: 100 nms_thresh: 0.95 post_nms_topn: 90",
    "nothing is dropped for its overlap": " pre_nms_topn: 300 nms_thresh: 1 post_nms_topn: 200",
}


@pytest.mark.parametrize("facts", [3, 4])
@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("more", LISTED.values(), ids=LISTED)
def test_regions_are_those_of_the_cpp_layers_steps(more: str, images: int, facts: int) -> None:
    sizes = [*shapes(images)[:2], (images, facts)]
    net, given = net_of(layer(SMALL + more), *sizes), values(images)
    given["c"] = np.float32([[80, 96, 1.5, 0.75][:facts], [70, 90, 1, 1.25][:facts], [60, 96, 2, 1][:facts]])[:images]
    rois, scores = by_hand(net, given)
    assert (scores == 0).any()
    assert (scores > 0).any()
    for opset in (11, 17, NEWEST):
        for options in ({}, {"dynamic_batch": True, "dynamic_size": True}):
            made = by_onnx(net, given, opset=opset, **options)
            np.testing.assert_allclose(made[0], rois, rtol=1e-5, atol=1e-4)
            np.testing.assert_allclose(made[1], scores, rtol=1e-6)
    made = by_torch(net, given)
    np.testing.assert_allclose(made[0], rois, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(made[1], scores, rtol=1e-6)


def test_boxes_that_are_too_small_keep_their_place_with_a_score_of_0() -> None:
    net, given = net_of(layer(PARAM.replace("min_size: 8", "min_size: 100")), *shapes()), values()
    for rois, scores in (by_torch(net, given), by_onnx(net, given)):
        assert rois.shape == (15, 5)
        np.testing.assert_array_equal(scores, np.zeros(15))


# ---- the Python layer


def test_the_python_layer_drops_boxes_that_are_too_small_even_if_nothing_is_left() -> None:
    net, given = net_of(python("'feat_stride': 16", TOPS), *shapes(anchors=9)), values(anchors=9)
    regions, scores = by_torch(net, given)
    assert len(regions) > 10
    assert (regions[:, 3:] - regions[:, 1:3] + 1 >= 16 * 1.5).all()
    assert (scores > 0).all()
    given["c"][:, 2] = 10
    for rois, scores in (by_torch(net, given), by_onnx(net, given)):
        assert rois.shape == (0, 5)
        assert scores.shape == (0, 1, 1, 1)


def test_the_python_layer_is_known_by_name_and_its_anchors_are_those_of_py_faster_rcnn() -> None:
    net = net_of(python("'feat_stride': 16", TOPS), *shapes(anchors=9))
    assert net.shapes["rois"] == (1, 5)
    assert net.shapes["scores"] == (1, 1, 1, 1)
    anchors = [[-84, -40, 99, 55], [-176, -88, 191, 103], [-360, -184, 375, 199], [-56, -56, 71, 71], [-120, -120, 135, 135],
               [-248, -248, 263, 263], [-36, -80, 51, 95], [-80, -168, 95, 183], [-168, -344, 183, 359]]  # fmt: skip
    assert net.ops[-1].anchors == anchors
    given = values(anchors=9)
    for made, expected in zip(by_onnx(net, given), by_torch(net, given)):
        np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-4)
    other = net_of(python("{'feat_stride': 8, 'scales': [2, 4]}"), *shapes())
    assert len(other.ops[-1].anchors) == 6
    assert other.ops[-1].stride == 8


def test_what_follows_the_regions_has_open_rows_too() -> None:
    text = (
        net_of(layer(tops='top: "rois"'), *shapes()).to_prototxt()
        + """
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 5 dim: 6 } } }
        layer { name: "pool" type: "ROIPooling" bottom: "data" bottom: "rois" top: "pool"
                roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0.0625 } }
        layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 7 } }
        layer { name: "relu" type: "ReLU" bottom: "fc" top: "fc" }"""
    )
    net = protogen.loads(text).fill()
    given = {**values(), "data": np.random.default_rng(6).standard_normal((1, 3, 5, 6)).astype(np.float32)}
    assert [shape_of(node) for node in net.to_onnx().graph.output] == [[0, 7]]
    expected = by_torch(net, given)[0]
    assert len(expected) > 1
    np.testing.assert_allclose(by_onnx(net, given)[0], expected, rtol=1e-4, atol=1e-5)


def test_no_gradient_comes_back() -> None:
    net, given = net_of(layer(), *shapes()), values()
    rois, scores = net.to_torch()(*[torch.tensor(value, requires_grad=True) for value in given.values()])
    assert not rois.requires_grad
    assert not scores.requires_grad


@pytest.mark.parametrize(
    ("text", "sizes", "message"),
    [
        (layer("ratio: 1"), shapes(), "at least one ratio and one scale"),
        (layer(PARAM.replace("feat_stride: 16", "feat_stride: 0")), shapes(), "feat_stride must be positive"),
        (layer(PARAM.replace("scale: 1 ", "scale: -1 ")), shapes(), "must be positive"),
        (layer(PARAM + " pre_nms_topn: 0"), shapes(), "pre_nms_topn and post_nms_topn must be positive"),
        (layer(), shapes(anchors=5), "6 anchors need scores (N, 12, H, W)"),
        (layer(), [*shapes()[:1], (1, 24, 5, 7), (1, 3)], "do not fit together"),
        (layer(), [*shapes()[:2], (1, 2)], "height, width and scale"),
        (layer(), [*shapes(2)[:2], (1, 3)], "differ in their batch"),
        (python("{}"), shapes(anchors=9), "feat_stride, a whole number"),
        (python("'feat_stride': 16, 'scales': []"), shapes(anchors=9), "scales must be a list"),
        (python("'feat_stride': 16, 'scales': __import__('os')"), shapes(anchors=9), "layer 'op'"),
        (python("'feat_stride': 16"), shapes(2, anchors=9), "one image at a time"),
    ],
)
def test_what_caffe_refuses_names_the_layer(text: str, sizes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(LayerError, match="layer 'op'") as error:
        net_of(text, *sizes)
    assert message in str(error.value)


# Around 9.5, the middle of a cell of 20 pixels: of ratio 0.5 28 x 14 pixels, of 1 20 x 20, of 2 14 x 28; each once more, doubled.
ANCHORS_OF_20 = [
    (-4, 3, 23, 16), (-18, -4, 37, 23), (0, 0, 19, 19), (-10, -10, 29, 29), (3, -4, 16, 23), (-4, -18, 23, 37),
]  # fmt: skip


def row(field: str, value: float, anchors: Sequence[Sequence[float]] = ()) -> Alone:
    text = f'bottom: "a" bottom: "b" bottom: "c" {TOPS} proposal_param {{ {SMALL} nms_thresh: 0.5 }}'
    return Alone(
        "Proposal", f"proposal_param.{field}", value, text, shapes(2),
        lambda net, given: by_hand(net, given, anchors), lambda: list(values(2).values()),
    )  # fmt: skip


ALONE = [row("feat_stride", 12), row("base_size", 20, ANCHORS_OF_20), row("min_size", 20), row("nms_thresh", 0.25)]
