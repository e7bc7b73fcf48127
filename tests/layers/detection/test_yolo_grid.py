"""YOLO's losses against plain loops over cells, anchors and boxes, written from the description of the layers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import LayerError, ProtogenWarning
from tests.corpus import CORPUS, needs_corpus
from tests.layers.forms import net_of
from tests.layers.test_activation import compile_whole

CLASSES, SIDE, ROWS = 3, 4, 8
V2 = {"object": 1.0, "noobject": 0.5, "class": 1.0, "coord": 5.0, "thresh": 0.2, "bias_match": 1, "rescore": 1}
V2_ANCHORS = [(0.6, 0.8), (1.5, 1.2), (2.0, 3.0), (3.5, 1.5), (3.0, 3.6)]
V3 = {
    "object": 1.0, "class": 1.0, "coord": 5.0, "thresh": 0.2, "logic": False, "focal": False, "kind": "MSE", "normalizer": 0.25,
    "iou_thresh": 0.5, "max_delta": 10.0, "accumulate": True, "smooth": 0.1, "mask": (3, 4, 5),
}  # fmt: skip
V3_ANCHORS = [(10, 14), (23, 27), (37, 58), (30, 38), (70, 90), (110, 60)]
SCALE = 32  # pixels of a cell


def biases(anchors) -> str:
    return " ".join(f"biases: {value}" for anchor in anchors for value in anchor)


def region_text(**s) -> str:
    s = {**V2, **s}
    return f"""type: "RegionLoss" bottom: "a" bottom: "b" top: "loss" region_loss_param {{ num: 5 num_class: {CLASSES}
        {biases(V2_ANCHORS)} object_scale: {s["object"]} noobject_scale: {s["noobject"]} class_scale: {s["class"]}
        coord_scale: {s["coord"]} thresh: {s["thresh"]} bias_match: {s["bias_match"]} rescore: {s["rescore"]} }}"""


def yolov3_text(**s) -> str:
    s = {**V3, **s}
    mask = " ".join(f"mask: {n}" for n in s["mask"])
    return f"""type: "Yolov3" bottom: "a" bottom: "b" top: "loss" yolov3_param {{ num: {len(s["mask"])} num_class: {CLASSES}
        {biases(V3_ANCHORS)} {mask} anchors_scale: {SCALE} object_scale: {s["object"]} class_scale: {s["class"]}
        coord_scale: {s["coord"]} thresh: {s["thresh"]} use_logic_gradient: {str(s["logic"]).lower()}
        use_focal_loss: {str(s["focal"]).lower()} iou_loss: {s["kind"]} iou_normalizer: {s["normalizer"]}
        iou_thresh: {s["iou_thresh"]} max_delta: {s["max_delta"]} accumulate: {str(s["accumulate"]).lower()}
        label_smooth_eps: {s["smooth"]} }}"""


def labels(rng: np.random.Generator, images: int, anchors) -> np.ndarray:
    """Image 0 has boxes that share cells and anchors, image 1 has none, others a few; what follows the end mark is rubbish."""
    label = np.zeros((images, 1, ROWS, 5), np.float32)
    for image in range(images):
        n = (6, 0, 3)[image % 3]
        size = np.array(anchors)[rng.integers(0, len(anchors), n)] * rng.uniform(0.8, 1.25, (n, 2))
        label[image, 0, :n] = np.c_[rng.integers(0, CLASSES, n), rng.uniform(0.05, 0.95, (n, 2)), size.clip(0.02, 0.9)]
        if n == 6:
            label[image, 0, 1] = label[image, 0, 0] + np.float32([0, 0.001, 0.002, 0.01, 0.01])
            label[image, 0, 2, 1:] = label[image, 0, 0, 1:]
            label[image, 0, 2, 0] = (label[image, 0, 0, 0] + 1) % CLASSES
        label[image, 0, n + 1 :] = 0.5
    return label


def relative(anchors, unit: float) -> list[tuple[float, float]]:
    return [(w / unit, h / unit) for w, h in anchors]


def case(version: int, boxes: int, seed: int = 0, images: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and labels."""
    rng = np.random.default_rng(seed)
    anchors = relative(V2_ANCHORS, SIDE) if version == 2 else relative(V3_ANCHORS[-3:], SIDE * SCALE)
    x = rng.normal(0, 0.8, (images, boxes * (5 + CLASSES), SIDE, SIDE)).astype(np.float32)
    return x, labels(rng, images, anchors)


# ---- the plain recomputation, in double precision


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def slope(y):
    return y * (1 - y)


def plain_iou(a, b):
    w = min(a[0] + a[2] / 2, b[0] + b[2] / 2) - max(a[0] - a[2] / 2, b[0] - b[2] / 2)
    h = min(a[1] + a[3] / 2, b[1] + b[3] / 2) - max(a[1] - a[3] / 2, b[1] - b[3] / 2)
    shared = 0 if w < 0 or h < 0 else w * h
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def hull(a, b):
    w = max(a[0] + a[2] / 2, b[0] + b[2] / 2) - min(a[0] - a[2] / 2, b[0] - b[2] / 2)
    h = max(a[1] + a[3] / 2, b[1] + b[3] / 2) - min(a[1] - a[3] / 2, b[1] - b[3] / 2)
    return w, h


def shape_term(a, b):
    return 4 / math.pi**2 * (math.atan(b[2] / b[3]) - math.atan(a[2] / a[3])) ** 2


def alike(a, b, kind):
    """Similarity of boxes x, y, width, height."""
    iou, (w, h) = plain_iou(a, b), hull(a, b)
    distance = ((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) / (w * w + h * h)
    if kind == "GIOU":
        union = (a[2] * a[3] + b[2] * b[3]) / (1 + iou)
        return iou - (w * h - union) / (w * h)
    if kind == "DIOU":
        return iou - distance**0.6
    if kind == "CIOU":
        v = shape_term(a, b)
        return iou - distance - v * v / (1 - iou + v + 1e-6)
    return iou


def numeric(function, a):
    """Central differences by x, y, width and height."""
    step = 1e-6
    made = []
    for i in range(4):
        up, down = list(a), list(a)
        up[i] += step
        down[i] -= step
        made.append((function(up) - function(down)) / (2 * step))
    return np.array(made)


def plain_rise(a, b, kind):
    """The fork's gradient of the similarity, from derivatives of its parts; for boxes with no borders in common."""
    w, h = hull(a, b)
    diagonal, distance = w * w + h * h, (a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2
    by_iou = numeric(lambda v: plain_iou(v, b), a) * [1, 1, 2, 2]
    apart = by_iou[0] == by_iou[2] == 0
    own = np.zeros(4)
    if kind == "GIOU":
        # Apart, the fork multiplies the two negative overlaps into an area all the same: see the test of the gradients.
        own = numeric(lambda v: alike(v, b, "GIOU") - plain_iou(v, b), a) * [1, 1, 2, 2]
    if kind in ("DIOU", "CIOU"):
        stretch = numeric(lambda v: sum(side * side for side in hull(v, b)), a)
        own[:2] = (2 * (np.array(b[:2]) - a[:2]) * diagonal - stretch[:2] * distance) / diagonal**2
        own[2:] = stretch[2:] * distance / diagonal**2
    if kind == "CIOU":
        v, turn = shape_term(a, b), math.atan(b[2] / b[3]) - math.atan(a[2] / a[3])
        weight = v / (1 - plain_iou(a, b) + v + 1e-6) * 8 / math.pi**2 * turn
        own[2:] += [weight * a[3], -weight * a[2]]
    return own if apart and kind != "IOU" else by_iou + own


def rows_of(label, column):
    """Rows before the first whose column is 0."""
    for row in label.reshape(-1, 5).astype(float):
        if row[column] == 0:
            return
        yield int(row[0]), row[1:]


def plain_region(x, label, **s):
    """Loss and gradient."""
    s = {**V2, **s}
    x = x.astype(float).reshape(len(x), 5, 5 + CLASSES, SIDE, SIDE)
    delta = np.zeros_like(x)
    for image, now in enumerate(x):

        def box(n, j, i, now=now):
            w, h = V2_ANCHORS[n]
            v = now[n, :, j, i]
            return [(i + sigmoid(v[0])) / SIDE, (j + sigmoid(v[1])) / SIDE, math.exp(v[2]) * w / SIDE, math.exp(v[3]) * h / SIDE]

        for n, j, i in np.ndindex(5, SIDE, SIDE):
            best = max((plain_iou(box(n, j, i), truth) for _, truth in rows_of(label[image], 1)), default=0)
            y = sigmoid(now[n, 4, j, i])
            delta[image, n, 4, j, i] = 0 if best > s["thresh"] else s["noobject"] * y * slope(y)
        for c, truth in rows_of(label[image], 3):
            i, j = int(truth[0] * SIDE), int(truth[1] * SIDE)
            sizes = [box(n, j, i)[2:] for n in range(5)] if not s["bias_match"] else relative(V2_ANCHORS, SIDE)
            n = int(np.argmax([plain_iou([0, 0, *size], [0, 0, *truth[2:]]) for size in sizes]))
            v, weight = now[n, :, j, i], s["coord"] * (1 if s["rescore"] else 2 - truth[2] * truth[3])
            place, y = sigmoid(v[:2]), sigmoid(v[4])
            goal = plain_iou(box(n, j, i), truth) if s["rescore"] else 1
            softmax = np.exp(v[5:]) / np.exp(v[5:]).sum()
            d = delta[image, n, :, j, i]
            d[:2] = weight * (place - (truth[:2] * SIDE - [i, j])) * slope(place)
            d[2:4] = weight * (v[2:4] - np.log(truth[2:] * SIDE / V2_ANCHORS[n]))
            d[4] = s["object"] * (y - goal) * slope(y)
            d[5:] = s["class"] * (softmax - (np.arange(CLASSES) == c))
    return (delta**2).sum() / len(x), delta.reshape(len(x), -1, SIDE, SIDE) / len(x)


def plain_yolov3(x, label, **s):
    """Loss and gradient."""
    s = {**V3, **s}
    mask, kind = s["mask"], s["kind"]
    x = x.astype(float).reshape(len(x), len(mask), 5 + CLASSES, SIDE, SIDE)
    y = np.concatenate([sigmoid(x[:, :, :2]), x[:, :, 2:4], sigmoid(x[:, :, 4:])], 2)
    sizes = relative(V3_ANCHORS, SIDE * SCALE)
    delta, lost, given = np.zeros_like(x), 0.0, 0
    low, high = s["smooth"] / 2, 1 - s["smooth"] / 2

    def box(image, k, j, i):
        v, (w, h) = y[image, k, :, j, i], sizes[mask[k]]
        return [(i + v[0]) / SIDE, (j + v[1]) / SIDE, math.exp(v[2]) * w, math.exp(v[3]) * h]

    def give(image, k, j, i, c, truth):
        v, d = y[image, k, :, j, i], delta[image, k, :, j, i]
        now = box(image, k, j, i)
        if kind == "MSE":
            weight = s["coord"] * (2 - truth[2] * truth[3])
            d[:2] = weight * (v[:2] - (truth[:2] * SIDE - [i, j]))
            d[2:4] = weight * (v[2:4] - np.log(truth[2:] / sizes[mask[k]]))
        else:
            rise = plain_rise(now, list(truth), kind) * [1, 1, math.exp(v[2]), math.exp(v[3])] * s["normalizer"]
            d[:4] = (d[:4] if s["accumulate"] else 0) - rise.clip(-s["max_delta"], s["max_delta"])
        d[4] = (v[4] - 1) * (s["object"] if s["logic"] else 1)
        p = v[5:]
        if d[5 + c]:
            d[5 + c] = s["class"] * (p[c] - high)
        elif s["focal"]:
            focus = -(1 - p[c]) * (2 * p[c] * math.log(p[c]) + p[c] - 1)
            d[5:] = s["class"] * (p - (np.arange(CLASSES) == c)) * 0.5 * focus
        else:
            d[5:] = s["class"] * (p - np.where(np.arange(CLASSES) == c, high, low))
        return 1 - alike(now, truth, "DIOU" if kind == "IOU" else kind)

    for image in range(len(x)):
        for k, j, i in np.ndindex(len(mask), SIDE, SIDE):
            best = max((alike(box(image, k, j, i), truth, kind) for _, truth in rows_of(label[image], 1)), default=0)
            delta[image, k, 4, j, i] = 0 if best > s["thresh"] else y[image, k, 4, j, i]
        for c, truth in rows_of(label[image], 3):
            i, j = int(truth[0] * SIDE), int(truth[1] * SIDE)
            like = [alike([0, 0, *size], [0, 0, *truth[2:]], kind) for size in sizes]
            best = int(np.argmax(like)) if max(like) > 0 else -1
            done = best
            if best in mask:
                done = mask.index(best)
                lost, given = lost + give(image, done, j, i, c, truth), given + 1
            for n in range(len(sizes)):
                if n in mask and n != done and s["iou_thresh"] < 1 and like[n] > s["iou_thresh"]:
                    lost, given = lost + give(image, mask.index(n), j, i, c, truth), given + 1
    loss = (delta**2).sum() if kind == "MSE" else (delta[:, :, 4:] ** 2).sum() + s["normalizer"] * lost / max(given, 1)
    if s["logic"]:
        slopes = slope(y)
        slopes[:, :, 2:4] = 1
        if kind != "MSE":
            slopes[:, :, :2] = slope(x[:, :, :2])
        delta = delta * slopes
    return loss / len(x), delta.reshape(len(x), -1, SIDE, SIDE) / len(x)


def run(text: str, x: np.ndarray, *others: np.ndarray) -> tuple[float, np.ndarray]:
    """Loss and gradient of the layer."""
    module = net_of(text, x.shape, *[other.shape for other in others], phase="TRAIN").to_torch()
    given = torch.tensor(x, requires_grad=True)
    loss = module.loss(given, *map(torch.tensor, others))
    loss.backward()
    return loss.item(), given.grad.numpy()


def check(actual, expected) -> None:
    assert actual[0] == pytest.approx(expected[0], rel=2e-5)
    np.testing.assert_allclose(actual[1], expected[1], rtol=2e-4, atol=2e-6)


REGION_SETTINGS = [
    {},
    {"rescore": 0},
    {"bias_match": 0},
    {"object": 5.0, "noobject": 1.0, "coord": 1.0, "thresh": 0.6},
    {"thresh": 0.0, "class": 2.5, "bias_match": 0, "rescore": 0},
]


@pytest.mark.parametrize("settings", REGION_SETTINGS, ids=str)
def test_region_loss_is_the_plain_loop(settings: dict) -> None:
    for seed in range(3):
        x, label = case(2, 5, seed)
        check(run(region_text(**settings), x, label), plain_region(x, label, **settings))


YOLO_SETTINGS = [
    {},
    {"mask": (3, 4, 5), "coord": 1.0, "object": 5.0, "thresh": 0.6, "class": 2.0},
    {"mask": (0, 1, 2)},
    {"mask": (5, 3)},
    {"iou_thresh": 1.0, "smooth": 0.0},
    {"iou_thresh": 0.2},
    {"logic": True, "object": 5.0},
    {"focal": True},
    {"focal": True, "iou_thresh": 1.0, "mask": (3, 4, 5, 2)},
    *({"kind": kind} for kind in ("IOU", "GIOU", "DIOU", "CIOU")),
    *({"kind": kind, "accumulate": False, "normalizer": 2.0, "max_delta": 1.5} for kind in ("IOU", "GIOU", "DIOU", "CIOU")),
    {"kind": "CIOU", "logic": True, "iou_thresh": 0.1},
]


@pytest.mark.parametrize("settings", YOLO_SETTINGS, ids=str)
def test_yolov3_is_the_plain_loop(settings: dict) -> None:
    for seed in range(3):
        x, label = case(3, len({**V3, **settings}["mask"]), seed)
        check(run(yolov3_text(**settings), x, label), plain_yolov3(x, label, **settings))


# What the fork's own code, compiled alone, gives for `wild_case`: the loss and the sum of the gradient's absolute values.
FORK = [
    (2, {}, (483.3026, 44.63083)),
    (2, {"bias_match": 0, "rescore": 0}, (328.0835, 38.07092)),
    (3, {"logic": True, "mask": (3, 4, 5)}, (17.49046, 2.833773)),
    (3, {"kind": "IOU", "mask": (0, 1, 2), "iou_thresh": 0.3}, (21.94671, 34.79419)),
    (3, {"kind": "GIOU", "mask": (0, 1, 2), "iou_thresh": 0.3}, (21.74695, 36.23333)),
    (3, {"kind": "DIOU", "mask": (0, 1, 2), "iou_thresh": 0.3}, (21.94671, 35.26782)),
    (3, {"kind": "CIOU", "mask": (0, 1, 2), "iou_thresh": 0.3}, (21.9411, 35.37053)),
]


def wild_case(version: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions far off; for YOLO v3 boxes so small that some lie apart from what is predicted for them."""
    x, label = case(version, 5 if version == 2 else 3, seed=4)
    if version == 3:
        label[..., 3:] *= np.float32(0.25)
    return 3 * x, label


@pytest.mark.parametrize(("version", "settings", "expected"), FORK, ids=str)
def test_far_off_predictions_give_what_the_fork_gives(version: int, settings: dict, expected: tuple[float, float]) -> None:
    text = region_text(**settings) if version == 2 else yolov3_text(**settings)
    loss, gradient = run(text, *wild_case(version))
    assert (loss, np.abs(gradient).sum()) == pytest.approx(expected, rel=2e-5)


# ---- laws


def perfect(version: int) -> tuple[np.ndarray, np.ndarray]:
    """One box, and predictions that find it and nothing else."""
    boxes, anchors = (5, relative(V2_ANCHORS, SIDE)) if version == 2 else (3, relative(V3_ANCHORS[3:], SIDE * SCALE))
    x = np.zeros((1, boxes, 5 + CLASSES, SIDE, SIDE), np.float32)
    x[:, :, 4:] = -30
    x[0, 1, 4:6, 2, 1] = 30  # anchor 1, row 2, column 1: an object of class 0
    label = np.zeros((1, 1, 2, 5), np.float32)
    label[0, 0, 0] = [0, 1.5 / SIDE, 2.5 / SIDE, *anchors[1]]
    return x.reshape(1, -1, SIDE, SIDE), label


@pytest.mark.parametrize(
    ("version", "text"),
    [(2, region_text()), (3, yolov3_text(smooth=0.0)), (3, yolov3_text(smooth=0.0, kind="GIOU")), (3, yolov3_text(focal=True))],
)
def test_perfect_predictions_have_neither_loss_nor_gradient(version: int, text: str) -> None:
    loss, gradient = run(text, *perfect(version))
    assert loss < 1e-9
    assert np.abs(gradient).max() < 1e-5


@pytest.mark.parametrize("version", [2, 3])
def test_without_boxes_only_objectness_counts(version: int) -> None:
    boxes, text = (5, region_text(noobject=2.0)) if version == 2 else (3, yolov3_text(object=7.0))
    x, label = case(version, boxes)
    loss, gradient = run(text, x, label * 0)
    y = sigmoid(x.reshape(3, boxes, -1, SIDE, SIDE)[:, :, 4].astype(float))
    delta = 2 * y * slope(y) if version == 2 else y
    assert loss == pytest.approx((delta**2).sum() / 3, rel=1e-5)
    gradient = gradient.reshape(3, boxes, -1, SIDE, SIDE)
    np.testing.assert_allclose(gradient[:, :, 4], delta / 3, rtol=1e-5, atol=1e-7)
    gradient[:, :, 4] = 0
    assert not gradient.any()


def test_loss_weight_scales_the_gradient_and_images_share_it() -> None:
    x, label = case(3, 3)
    loss, gradient = run(yolov3_text(), x, label)
    twice = run(yolov3_text().replace("top:", "loss_weight: 2 top:"), x, label)
    check(twice, (2 * loss, 2 * gradient))
    check(run(yolov3_text(), np.tile(x, (2, 1, 1, 1)), np.tile(label, (2, 1, 1, 1))), (loss, np.tile(gradient, (2, 1, 1, 1)) / 2))


def test_grids_need_not_be_square_nor_as_they_were_built() -> None:
    x, label = case(3, 3)
    module = net_of(yolov3_text(), x.shape, label.shape, phase="TRAIN").to_torch()
    wide = np.zeros((2, x.shape[1], 3, 6), np.float32)
    shape = torch.tensor(np.float32([[[[1, 5.5 / 6, 0.5, 30 / (6 * SCALE), 38 / (3 * SCALE)]]]])).expand(2, 1, 1, 5)
    given = torch.tensor(wide, requires_grad=True)
    module(given, shape).backward()
    found = given.grad.reshape(2, 3, 8, 3, 6)
    assert {tuple(place) for place in found[0, :, 6].nonzero().tolist()} == {(0, 1, 5)}
    assert not found[0, 0, :4, 1, 5].abs().max() > 1e-5


@pytest.mark.parametrize("text", [region_text(), yolov3_text(), yolov3_text(kind="CIOU"), yolov3_text(focal=True)])
def test_losses_compile_into_one_graph(text: str) -> None:
    version, boxes = (2, 5) if "RegionLoss" in text else (3, 3)
    first, second = ([torch.tensor(value) for value in case(version, boxes, seed)] for seed in range(2))
    module = net_of(text, *(value.shape for value in first), phase="TRAIN").to_torch()
    compiled = compile_whole(module)
    exported = torch.export.export(module, tuple(first), strict=False).module()
    for values in (first, second):  # nothing of the data was taken as fixed
        assert torch.allclose(compiled(*values), module(*values))
        assert torch.allclose(exported(*values), module(*values))


@pytest.mark.parametrize("text", [region_text(), yolov3_text(), yolov3_text(kind="DIOU")])
def test_boxes_on_the_border_or_without_size_do_no_harm(text: str) -> None:
    x, label = case(*((2, 5) if "RegionLoss" in text else (3, 3)))
    label[:, 0, :4] = [[0, 1, 1, 0.4, 0.4], [1, 0.5, 0.5, 0.2, 0], [9, 0.5, 0.5, 0.3, 0.3], [-1, -3, 7, 0.3, 0.3]]
    loss, gradient = run(text, x, label)
    assert math.isfinite(loss)
    assert np.isfinite(gradient).all()


# ---- mistakes

X2, X3, BOXES = (1, 5 * 8, 4, 4), (1, 3 * 8, 4, 4), (1, 1, 300, 5)


@pytest.mark.parametrize(
    ("text", "shapes", "why"),
    [
        (region_text(), [(1, 39, 4, 4), BOXES], r"predictions \(N, 40, H, W\)"),
        (region_text(), [(1, 40, 4, 5), BOXES], "square"),
        (region_text(), [X2, (2, 1, 300, 5)], "first axis"),
        (region_text(), [X2, (1, 1, 3, 8)], r"labels \(N, 1, 300, 5\)"),
        (region_text().replace("num: 5", "num: 5 coords: 5"), [X2, BOXES], "coords"),
        (region_text().replace(" biases: 3.6", ""), [X2, BOXES], "biases"),
        (region_text().replace("biases: 0.6 ", "biases: 0 "), [X2, BOXES], "positive"),
        (region_text().replace("num: 5", "num: 0"), [X2, BOXES], "num"),
        (yolov3_text().replace("top:", 'bottom: "b" top:'), [X3, BOXES], "2 bottoms"),
        (yolov3_text(), [(1, 25, 4, 4), BOXES], r"predictions \(N, 24, H, W\)"),
        (yolov3_text().replace("mask: 5", ""), [X3, BOXES], "mask"),
        (yolov3_text().replace("mask: 5", "mask: 6"), [X3, BOXES], "mask names anchor 6"),
        (yolov3_text().replace(f"anchors_scale: {SCALE}", "anchors_scale: 0"), [X3, BOXES], "anchors_scale"),
    ],
)  # fmt: skip
def test_mistakes_name_the_layer(text: str, shapes: list, why: str) -> None:
    with pytest.raises(LayerError, match=why) as error:
        net_of(text, *shapes, phase="TRAIN")
    assert "'op'" in str(error.value)


# ---- training


@pytest.mark.parametrize("text", [region_text(), yolov3_text(), yolov3_text(kind="GIOU", normalizer=1.0)])
def test_a_small_net_learns(text: str) -> None:
    channels = (5 if "RegionLoss" in text else 3) * (5 + CLASSES)
    net = protogen.loads(
        f"""layer {{ name: "in" type: "Input" top: "data" top: "b" input_param {{ shape {{ dim: 2 dim: 3 dim: 32 dim: 32 }}
          shape {{ dim: 2 dim: 1 dim: {ROWS} dim: 5 }} }} }}
        layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {{ num_output: 16 kernel_size: 8
          stride: 8 weight_filler {{ type: "xavier" }} }} }}
        layer {{ name: "relu" type: "ReLU" bottom: "conv" top: "conv" }}
        layer {{ name: "head" type: "Convolution" bottom: "conv" top: "a" convolution_param {{
          num_output: {channels} kernel_size: 1 weight_filler {{ type: "xavier" }} }} }}
        layer {{ name: "op" {text} }}""",
        phase="TRAIN",
    ).fill()
    module = net.to_torch()
    _, label = case(2 if "RegionLoss" in text else 3, 3, images=2)
    inputs = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.tensor(label)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.02, momentum=0.9)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = module.loss(*inputs)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


# ---- published nets

MODELS = CORPUS / "eric612+MobileNet-YOLO" / "models"
PUBLISHED = {
    "mobilenetv3_voc/train_AE.prototxt": {"label": (1, 1, 300, 5)},
    "yolov2/mobilenet_yolo_train.prototxt": {"label": (1, 1, 300, 5)},
    "tusimple/mobilenet_yolov3_lite_train.prototxt": {"label": (1, 1, 300, 5), "seg_label": (1, 1, 24, 24)},
}


@needs_corpus
@pytest.mark.parametrize("path", PUBLISHED)
def test_published_nets_train_and_convert(path: str) -> None:
    shapes = {"data": (1, 3, 96, 96), **PUBLISHED[path]}
    net = protogen.load(MODELS / path, phase="TRAIN", inputs=shapes).fill()
    rng = np.random.default_rng(0)
    inputs = {name: torch.tensor(rng.random(net.shapes[name]).astype(np.float32)) for name in net.inputs}
    inputs["label"] = torch.zeros(1, 1, 300, 5)
    inputs["label"][0, 0, :2] = torch.tensor([[3, 0.3, 0.4, 0.3, 0.5], [7, 0.6, 0.7, 0.6, 0.4]])
    module = net.to_torch()
    loss = module.loss(*(inputs[name] for name in net.inputs))
    loss.backward()
    assert 0 < loss.item() < math.inf
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    with pytest.warns(ProtogenWarning, match="left out"):
        model = net.to_onnx()
    assert [value.name for value in model.graph.input] == ["data"]
