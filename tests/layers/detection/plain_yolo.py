"""What YOLO's losses give by plain loops over cells, anchors and boxes, written from the description of the layers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.layers.nets import net_of

CLASSES, SIDE, ROWS = 3, 4, 8
SCALE = 32  # pixels of a cell
V2_ANCHORS = [(0.6, 0.8), (1.5, 1.2), (2.0, 3.0), (3.5, 1.5), (3.0, 3.6)]
V3_ANCHORS = [(10, 14), (23, 27), (37, 58), (30, 38), (70, 90), (110, 60)]
V2 = {
    "object": 1.0, "noobject": 0.5, "class": 1.0, "coord": 5.0, "thresh": 0.2, "bias_match": 1, "rescore": 1,
    "anchors": V2_ANCHORS,
}  # fmt: skip
V3 = {
    "object": 1.0, "class": 1.0, "coord": 5.0, "thresh": 0.2, "logic": False, "focal": False, "kind": "MSE", "normalizer": 0.25,
    "iou_thresh": 0.5, "max_delta": 10.0, "accumulate": True, "smooth": 0.1, "mask": (3, 4, 5),
    "anchors": V3_ANCHORS, "scale": SCALE,
}  # fmt: skip


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
    anchors = s["anchors"]
    x = x.astype(float).reshape(len(x), len(anchors), -1, SIDE, SIDE)
    delta = np.zeros_like(x)
    for image, now in enumerate(x):

        def box(n, j, i, now=now):
            w, h = anchors[n]
            v = now[n, :, j, i]
            return [(i + sigmoid(v[0])) / SIDE, (j + sigmoid(v[1])) / SIDE, math.exp(v[2]) * w / SIDE, math.exp(v[3]) * h / SIDE]

        for n, j, i in np.ndindex(len(anchors), SIDE, SIDE):
            best = max((plain_iou(box(n, j, i), truth) for _, truth in rows_of(label[image], 1)), default=0)
            y = sigmoid(now[n, 4, j, i])
            delta[image, n, 4, j, i] = 0 if best > s["thresh"] else s["noobject"] * y * slope(y)
        for c, truth in rows_of(label[image], 3):
            i, j = int(truth[0] * SIDE), int(truth[1] * SIDE)
            sizes = [box(n, j, i)[2:] for n in range(len(anchors))] if not s["bias_match"] else relative(anchors, SIDE)
            n = int(np.argmax([plain_iou([0, 0, *size], [0, 0, *truth[2:]]) for size in sizes]))
            v, weight = now[n, :, j, i], s["coord"] * (1 if s["rescore"] else 2 - truth[2] * truth[3])
            place, y = sigmoid(v[:2]), sigmoid(v[4])
            goal = plain_iou(box(n, j, i), truth) if s["rescore"] else 1
            softmax = np.exp(v[5:]) / np.exp(v[5:]).sum()
            d = delta[image, n, :, j, i]
            d[:2] = weight * (place - (truth[:2] * SIDE - [i, j])) * slope(place)
            d[2:4] = weight * (v[2:4] - np.log(truth[2:] * SIDE / anchors[n]))
            d[4] = s["object"] * (y - goal) * slope(y)
            d[5:] = s["class"] * (softmax - (np.arange(len(softmax)) == c))
    return (delta**2).sum() / len(x), delta.reshape(len(x), -1, SIDE, SIDE) / len(x)


class Yolov3:
    """The layer's predictions for some images, and the gradient as it grows."""

    def __init__(self, x, s) -> None:
        self.s, self.mask, self.kind = s, s["mask"], s["kind"]
        self.x = x.astype(float).reshape(len(x), len(self.mask), -1, SIDE, SIDE)
        self.y = np.concatenate([sigmoid(self.x[:, :, :2]), self.x[:, :, 2:4], sigmoid(self.x[:, :, 4:])], 2)
        self.sizes = relative(s["anchors"], SIDE * s["scale"])
        self.delta, self.lost, self.given = np.zeros_like(self.x), 0.0, 0

    def box(self, image, k, j, i):
        v, (w, h) = self.y[image, k, :, j, i], self.sizes[self.mask[k]]
        return [(i + v[0]) / SIDE, (j + v[1]) / SIDE, math.exp(v[2]) * w, math.exp(v[3]) * h]

    def give(self, image, k, j, i, c, truth):
        """Make one cell's box responsible for an object."""
        s, v, d = self.s, self.y[image, k, :, j, i], self.delta[image, k, :, j, i]
        now = self.box(image, k, j, i)
        if self.kind == "MSE":
            weight = s["coord"] * (2 - truth[2] * truth[3])
            d[:2] = weight * (v[:2] - (truth[:2] * SIDE - [i, j]))
            d[2:4] = weight * (v[2:4] - np.log(truth[2:] / self.sizes[self.mask[k]]))
        else:
            rise = plain_rise(now, list(truth), self.kind) * [1, 1, math.exp(v[2]), math.exp(v[3])] * s["normalizer"]
            d[:4] = (d[:4] if s["accumulate"] else 0) - rise.clip(-s["max_delta"], s["max_delta"])
        d[4] = (v[4] - 1) * (s["object"] if s["logic"] else 1)
        self.classify(v[5:], d, c)
        self.lost += 1 - alike(now, truth, "DIOU" if self.kind == "IOU" else self.kind)
        self.given += 1

    def classify(self, p, d, c):
        s, low, high = self.s, self.s["smooth"] / 2, 1 - self.s["smooth"] / 2
        if d[5 + c]:
            d[5 + c] = s["class"] * (p[c] - high)
        elif s["focal"]:
            focus = -(1 - p[c]) * (2 * p[c] * math.log(p[c]) + p[c] - 1)
            d[5:] = s["class"] * (p - (np.arange(len(p)) == c)) * 0.5 * focus
        else:
            d[5:] = s["class"] * (p - np.where(np.arange(len(p)) == c, high, low))

    def take(self, image, label):
        """One image: what is no object, then which boxes each object is given to."""
        for k, j, i in np.ndindex(len(self.mask), SIDE, SIDE):
            best = max((alike(self.box(image, k, j, i), truth, self.kind) for _, truth in rows_of(label, 1)), default=0)
            self.delta[image, k, 4, j, i] = 0 if best > self.s["thresh"] else self.y[image, k, 4, j, i]
        for c, truth in rows_of(label, 3):
            i, j = int(truth[0] * SIDE), int(truth[1] * SIDE)
            like = [alike([0, 0, *size], [0, 0, *truth[2:]], self.kind) for size in self.sizes]
            best = int(np.argmax(like)) if max(like) > 0 else -1
            done = best
            if best in self.mask:
                done = self.mask.index(best)
                self.give(image, done, j, i, c, truth)
            for n in range(len(self.sizes)):
                if n in self.mask and n != done and self.s["iou_thresh"] < 1 and like[n] > self.s["iou_thresh"]:
                    self.give(image, self.mask.index(n), j, i, c, truth)


def plain_yolov3(x, label, **s):
    """Loss and gradient."""
    s = {**V3, **s}
    plain = Yolov3(x, s)
    for image in range(len(x)):
        plain.take(image, label[image])
    delta, squares = plain.delta, plain.delta**2
    loss = squares.sum() if plain.kind == "MSE" else squares[:, :, 4:].sum() + s["normalizer"] * plain.lost / max(plain.given, 1)
    if s["logic"]:
        slopes = slope(plain.y)
        slopes[:, :, 2:4] = 1
        if plain.kind != "MSE":
            slopes[:, :, :2] = slope(plain.x[:, :, :2])
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
