"""Training of YOLO v2, YOLO v3 and their segmentation branch, as eric612/MobileNet-YOLO has it.

Sources: region_loss_layer.cpp, yolov3_layer.cpp, yolo_seg.cpp, assisted_excitation_layer.cpp and bbox_util.cpp of that fork.

The three losses first make a delta, one value for each prediction. The gradient is the delta divided by the batch size; the
loss is the sum of the delta's squares divided by the batch size, which that gradient is no derivative of. What the fork
counts for its log is left out.

Labels are (N, 1, 300, 5): rows of class (from 0), x, y, width and height of a box, in parts of the image, x and y being its
middle. Other numbers of rows are taken, too. Rows end at the first without x (when predictions are held against boxes) or
without width (when boxes are given to anchors).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from ..base import LayerType, Shape, count
from ..detection import boxes as box_ops
from ..fields import Fields
from ..loss import Loss, legacy, straight_through
from ..registry import register

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Grid = tuple[int, int]  # cells in a row, cells in a column
DIFFERENT = ("GIOU", "DIOU", "CIOU")  # kinds of `iou_loss` that compare boxes in another way than by their plain IoU


class Truth(NamedTuple):
    """Boxes to find: `label` (N, R), `box` (N, R, 4), and which rows count in either pass (N, R)."""

    label: Tensor
    box: Tensor
    compared: Tensor
    matched: Tensor


class Match(NamedTuple):
    """Boxes given to predictions (E,), in the fork's order.

    Attributes:
        place: number of the prediction, counted over images, anchors and cells; beyond the last if there is none.
        row: number of the box, counted over images and rows.
        anchor: number of the anchor.
    """

    place: Tensor
    row: Tensor
    anchor: Tensor


# ---- boxes as x, y, width, height in the last axis


def corners(boxes: Tensor) -> Tensor:
    """Boxes x1, y1, x2, y2 (..., 4)."""
    return box_ops.around(boxes[..., :2], boxes[..., 2:] / 2)


def areas(boxes: Tensor) -> Tensor:
    """Width times height. Not `boxes.areas` of the corners: those are rounded, and their difference is another number."""
    return boxes[..., 2] * boxes[..., 3]


def intersection(a: Tensor, b: Tensor) -> Tensor:
    """The area that boxes share, 0 where they are apart."""
    return box_ops.intersection(corners(a), corners(b))


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes that broadcast against each other; NaN for two without any area."""
    return box_ops.over_union(intersection(a, b), areas(a), areas(b))


def hull(a: Tensor, b: Tensor) -> Tensor:
    """Width and height (..., 2) of the least box around two."""
    import torch

    (low, high), (low_b, high_b) = (corners(boxes).split(2, -1) for boxes in (a, b))
    return torch.maximum(high, high_b) - torch.minimum(low, low_b)


def slant(boxes: Tensor) -> Tensor:
    """The diagonal's angle against the height."""
    return (boxes[..., 2] / boxes[..., 3]).atan()


def similarity(a: Tensor, b: Tensor, kind: str) -> Tensor:
    """The IoU, less what a variant takes off: GIOU the empty part of the hull, DIOU the distance, CIOU the shape, too.

    The fork's DIOU has the distance to the power 1.2 instead of 2.
    """
    import torch

    plain = iou(a, b)
    if kind not in DIFFERENT:
        return plain
    around = hull(a, b)
    if kind == "GIOU":
        whole = around.prod(-1)
        union = areas(a) + areas(b) - intersection(a, b)
        return torch.where(whole == 0, plain, plain - (whole - union) / whole)
    diagonal = around.square().sum(-1)
    distance = (a[..., :2] - b[..., :2]).square().sum(-1) / diagonal
    if kind == "DIOU":
        return torch.where(diagonal == 0, plain, plain - distance.pow(0.6))
    shape = 4 / math.pi**2 * (slant(b) - slant(a)).square()
    return torch.where(diagonal == 0, plain, plain - distance - shape * shape / (1 - plain + shape + 1e-6))


def similarity_gradient(a: Tensor, b: Tensor, kind: str) -> Tensor:
    """What the fork takes for the gradient of `similarity` by the boxes `a`: (..., 4).

    It is not the derivative in every term. By width and height the part of the IoU and of the GIOU is twice as large; where boxes
    are apart only the variant's own part counts; DIOU is that of the squared distance, in which the hull changes with the
    middle the wrong way round; CIOU's part for the shape is not divided by the squared diagonal.
    """
    import torch

    (low, high), (low_b, high_b) = (corners(boxes).split(2, -1) for boxes in (a, b))
    inner = box_ops.common_sides(corners(a), corners(b))
    shared = inner.prod(-1, keepdim=True)
    union = (high - low).prod(-1, keepdim=True) + (high_b - low_b).prod(-1, keepdim=True) - shared
    # By the lower and the upper borders, for x and y: one that moves along x sweeps the length along y.
    sweep = (high - low).flip(-1)
    shared_low, shared_high = (low > low_b) * -inner.flip(-1), (high < high_b) * inner.flip(-1)
    union_low, union_high = -sweep - shared_low, sweep - shared_high
    by_low = torch.where(union > 0, (union * shared_low - shared * union_low) / union.square(), 0)
    by_high = torch.where(union > 0, (union * shared_high - shared * union_high) / union.square(), 0)
    by_low = torch.where(low < high, by_low, by_high)
    gradient = torch.cat([by_low + by_high, by_high - by_low], -1)
    if kind not in DIFFERENT:
        return gradient

    around = hull(a, b)
    juts_low, juts_high = (low < low_b).to(a.dtype), (high > high_b).to(a.dtype)
    if kind == "GIOU":
        whole = around.prod(-1, keepdim=True)
        by_low = whole * union_low + union * juts_low * around.flip(-1)
        by_high = whole * union_high - union * juts_high * around.flip(-1)
        own = torch.cat([by_low + by_high, by_high - by_low], -1) / whole.square()
    else:
        diagonal = around.square().sum(-1, keepdim=True)
        away = b[..., :2] - a[..., :2]
        distance = away.square().sum(-1, keepdim=True)
        by_middle = 2 * away * diagonal - 2 * around * (juts_high - juts_low) * distance
        by_size = around * (juts_high + juts_low) * distance
        own = torch.cat([by_middle, by_size], -1) / diagonal.square()
    if kind == "CIOU":
        turn = (slant(b) - slant(a))[..., None]
        shape = 4 / math.pi**2 * turn.square()
        weight = shape / (1 - shared / union + shape + 1e-6) * (8 / math.pi**2) * turn
        own = own + torch.cat([torch.zeros_like(away), weight * a[..., 3:], -weight * a[..., 2:3]], -1)
    return torch.where((inner <= 0).any(-1, keepdim=True), own, gradient + own)


# ---- boxes to find, and the predictions that should


def ground_truth(label: Tensor, x: Tensor) -> Truth:
    """Labels (N, ...) in the precision of `x`; while a graph is compiled all rows, else as many as some image fills."""
    import torch

    rows = label.reshape(x.shape[0], -1, 5).to(x.dtype)
    compared, matched = ((rows[..., i] == 0).cumsum(1) == 0 for i in (1, 3))
    if not torch.compiler.is_compiling():
        most = max(int((compared | matched).sum(1).max()), 1)
        rows, compared, matched = rows[:, :most], compared[:, :most], matched[:, :most]
    return Truth(rows[..., 0].long(), rows[..., 1:], compared, matched)


def best_overlap(boxes: Tensor, truth: Truth, kind: str) -> Tensor:
    """(N, boxes, cells, 1): the largest similarity of each prediction with a box, at least 0."""
    found = similarity(boxes[..., None, :], truth.box[:, None, None], kind)
    return found.nan_to_num(0.0).masked_fill(~truth.compared[:, None, None], 0).amax(-1, keepdim=True).clamp(min=0)


def anchor_similarity(sizes: Tensor, truth: Truth, kind: str) -> Tensor:
    """(N, R, anchors): similarity of boxes with anchors (..., anchors, 2) around the same middle."""
    from torch.nn import functional as F

    return similarity(F.pad(sizes, (2, 0)), F.pad(truth.box[..., None, 2:], (2, 0)), kind).nan_to_num(0.0)


def cells_of(truth: Truth, grid: Grid) -> tuple[Tensor, Tensor]:
    """Number (N, R) of the cell that the middle of each box is in, or else the nearest; its x and y (N, R, 2)."""
    import torch

    size = truth.box.new_tensor(grid)
    at = torch.minimum((truth.box[..., :2] * size).trunc().clamp(min=0), size - 1)
    return (at[..., 1] * grid[0] + at[..., 0]).long(), at


def cell_corners(like: Tensor, grid: Grid) -> Tensor:
    """x and y of each cell: (cells, 2)."""
    import torch

    cell = torch.arange(grid[0] * grid[1], device=like.device)
    return torch.stack([cell % grid[0], cell // grid[0]], 1).to(like.dtype)


def first_and_last(place: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """(total,) each: where in `place` (E,) each number below `total` comes first and last; E and -1 where it does not."""
    import torch

    number = torch.arange(place.numel(), device=place.device)
    first = torch.full((total + 1,), place.numel(), device=place.device).scatter_reduce(0, place, number, "amin")
    last = torch.full((total + 1,), -1, device=place.device).scatter_reduce(0, place, number, "amax")
    return first[:-1], last[:-1]


def one_hot(label: Tensor, classes: int) -> Tensor:
    """(..., classes) mask of each label; empty for one that is no class."""
    import torch

    return label[..., None] == torch.arange(classes, device=label.device)


def slope(y: Tensor) -> Tensor:
    """Derivative of the sigmoid where its value is `y`."""
    return y * (1 - y)


# ---- the losses


class GridLoss(Loss):
    """Predictions (N, boxes * (5 + classes), H, W) around the cells of a grid, and the boxes to find.

    A prediction is x and y within the cell, the logarithms of width and height over those of an anchor, objectness, classes.

    Attributes:
        classes, boxes: numbers of classes and of predictions per cell.
        anchors: width and height of each, in cells or pixels.
    """

    def setup(self) -> None:
        super().setup()
        p, (x, label) = self.param, self.bottoms
        self.classes, self.boxes = int(p.num_class), int(p.num)
        self.check(self.classes > 0 and self.boxes > 0, "num_class and num must be positive")
        wanted = self.boxes * (5 + self.classes)
        self.check(
            len(x) == 4 and x[1] == wanted,
            f"needs predictions (N, {wanted}, H, W), {self.boxes} boxes of 5 + {self.classes} values, not {x}",
        )
        values = count(label[1:])
        self.check(
            values > 0 and values % 5 == 0, f"needs labels (N, 1, 300, 5), rows of class, x, y, width and height, not {label}"
        )
        biases = [float(value) for value in p.biases]
        self.check(all(value > 0 for value in biases), "biases, the anchors' widths and heights, must be positive")
        self.anchors = list(zip(biases[::2], biases[1::2]))

    def forward(self, x: Tensor, label: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:  # type: ignore[override]
        import torch

        images, _, height, width = x.shape
        cells = x.reshape(images, self.boxes, 5 + self.classes, height * width).transpose(2, 3)
        with torch.no_grad():
            value, delta = self.value_and_delta(cells.detach(), ground_truth(label.detach(), x), (width, height))
        return straight_through(value / images, (cells * delta).sum() / images)

    def value_and_delta(self, x: Tensor, truth: Truth, grid: Grid) -> tuple[Tensor, Tensor]:
        """The loss and the gradient, both times N, for predictions (N, boxes, cells, 5 + classes)."""
        raise NotImplementedError


@register("RegionLoss")
class RegionLoss(GridLoss):
    """YOLO v2: squares of what predictions lack, summed and divided by N (region_loss_layer.cpp).

    Bottoms: predictions (N, num * (5 + num_class), S, S), labels (N, 1, 300, 5). `biases` (at least 10) are the anchors'
    sizes in cells. Objectness should be 0 (`noobject_scale` 0.5), unless a box overlaps the prediction by more than `thresh`
    (0.2). In the cell of a box's middle, the anchor most like the box (with `bias_match: 0` the predicted size) should predict
    place and size (`coord_scale` 5), objectness (`object_scale` 1) and class by softmax (`class_scale` 1); of boxes that
    share it the last one counts. With `rescore` (1) objectness should be the IoU; without it should be 1, and place and size
    weigh 2 - area.

    The delta has the sigmoid's derivative for place and objectness, none of the softmax. As in the fork `softmax`,
    `jitter`, `absolute`, `random`, `softmax_tree` and `class_map` change nothing. Unlike in the fork, which then writes to other
    predictions, a middle outside the grid is in the nearest cell, and a box that overlaps no anchor has none.
    """

    param_name = "region_loss_param"
    fields = Fields(
        "num_class bias_match num rescore object_scale class_scale noobject_scale coord_scale thresh biases",
        side="eric612/MobileNet-YOLO src/caffe/layers/region_loss_layer.cpp:133: unread",
        softmax="eric612/MobileNet-YOLO src/caffe/layers/region_loss_layer.cpp:138: unread",
        jitter="eric612/MobileNet-YOLO src/caffe/layers/region_loss_layer.cpp: unread",
        absolute="eric612/MobileNet-YOLO src/caffe/layers/region_loss_layer.cpp:166: unread",
        random="eric612/MobileNet-YOLO src/caffe/layers/region_loss_layer.cpp:168: unread",
        softmax_tree="eric612/MobileNet-YOLO src/caffe/layers/region_loss_layer.cpp: unread",
        class_map="eric612/MobileNet-YOLO src/caffe/layers/region_loss_layer.cpp:141: read into a table that nothing uses",
    )

    def setup(self) -> None:
        super().setup()
        p, x = self.param, self.bottoms[0]
        self.check(x[2] == x[3], f"its grid must be square, not {x[2]} x {x[3]}")
        self.check(p.coords == 4, f"coords must be 4, not {p.coords}")
        least = max(10, 2 * self.boxes)
        self.check(len(p.biases) >= least, f"num: {self.boxes} needs at least {least} biases, not {len(p.biases)}")
        self.anchors = self.anchors[: self.boxes]

    def value_and_delta(self, x: Tensor, truth: Truth, grid: Grid) -> tuple[Tensor, Tensor]:
        import torch

        p, side = self.param, grid[0]
        anchors = x.new_tensor(self.anchors)
        y = torch.cat([x[..., :2].sigmoid(), x[..., 2:4], x[..., 4:5].sigmoid(), x[..., 5:].softmax(-1)], -1)
        boxes = torch.cat([(cell_corners(x, grid) + y[..., :2]) / side, x[..., 2:4].exp() * anchors[:, None] / side], -1)
        idle = p.noobject_scale * y[..., 4:5] * slope(y[..., 4:5])
        idle = idle.masked_fill(best_overlap(boxes, truth, "IOU") > p.thresh, 0)
        delta = torch.cat([torch.zeros_like(boxes), idle, torch.zeros_like(y[..., 5:])], -1)

        at, total = self.match(truth, boxes, grid), idle.numel()
        here = at.place.clamp(max=total - 1)
        place, size, objectness, classes = y.reshape(total, -1)[here].split([2, 2, 1, self.classes], 1)
        box, cell = truth.box.reshape(-1, 4)[at.row], cells_of(truth, grid)[1].reshape(-1, 2)[at.row]
        scale = p.coord_scale * (1 if p.rescore else 2 - areas(box)[:, None])
        goal = iou(boxes.reshape(total, 4)[here], box)[:, None] if p.rescore else 1
        hit = one_hot(truth.label.reshape(-1)[at.row], self.classes).to(y.dtype)
        parts = [
            scale * (place - (box[:, :2] * side - cell)) * slope(place),
            scale * (size - (box[:, 2:] * side / anchors[at.anchor]).log()),
            p.object_scale * (objectness - goal) * slope(objectness),
            p.class_scale * (classes - hit),
        ]
        _, last = first_and_last(at.place, total)
        last = last.reshape(x.shape[:3])
        delta = torch.where(last[..., None] >= 0, torch.cat(parts, 1)[last.clamp(min=0)], delta)
        return delta.square().sum(), delta

    def match(self, truth: Truth, boxes: Tensor, grid: Grid) -> Match:
        """One anchor for each box."""
        import torch

        (images, rows), cells = truth.label.shape, grid[0] * grid[1]
        cell, _ = cells_of(truth, grid)
        image = torch.arange(images, device=cell.device)[:, None]
        sizes = boxes.new_tensor(self.anchors) / grid[0] if self.param.bias_match else boxes[image, :, cell, 2:]
        best, anchor = anchor_similarity(sizes, truth, "IOU").max(-1)
        place = (image * self.boxes + anchor) * cells + cell
        place = torch.where(truth.matched & (best > 0), place, images * self.boxes * cells)
        return Match(place.reshape(-1), torch.arange(images * rows, device=cell.device), anchor.reshape(-1))


@register("Yolov3")
class Yolov3(GridLoss):
    """YOLO v3: squares of what predictions lack, summed and divided by N (yolov3_layer.cpp).

    Bottoms: predictions (N, num * (5 + num_class), H, W), labels (N, 1, 300, 5). `biases` are all anchors' sizes in pixels,
    `mask` the numbers of the `num` anchors predicted here, `anchors_scale` (32) the pixels of a cell. Objectness should be 0
    unless a box overlaps the prediction by more than `thresh` (0.2). In the cell of a box's middle, the anchor most like it
    of all, if it is in `mask`, and those of `mask` that overlap it by more than `iou_thresh` (0.5; 1 is none) should predict it:
    place and size (`coord_scale` 5, times 2 - area), objectness 1, and classes by sigmoid (`class_scale` 1), smoothed by
    `label_smooth_eps` (0.1), or with `use_focal_loss` (gamma 2, alpha 0.5). The delta is that of cross entropy: the sigmoid's
    derivative is in it only with `use_logic_gradient`, and only then `object_scale` counts. As in the fork `noobject_scale`
    and `side` change nothing.

    With an `iou_loss` other than MSE boxes are compared by it, the delta of place and size is `iou_normalizer` (0.25)
    times its gradient (see `similarity_gradient`), at most `max_delta` (10), added up over boxes unless `accumulate` is
    false; and in place of its squares the loss has `iou_normalizer` times the mean of 1 - similarity (DIOU for IOU, too).

    Where boxes share a prediction, place and size are those of the last one, and all their classes count. As the fork confuses
    the number of an anchor with its position in `mask`, it gives a box twice to its best anchor unless the two are equal
    (and its overlap is above `iou_thresh`), which doubles the delta of an `iou_loss`, and makes that of a class a plain one in
    a focal loss. Unlike in the fork a middle outside the grid is in the nearest cell, and neither an IoU that rounding makes
    greater than 1 nor a class whose delta is exactly 0 when a box of that class comes second is a special case.
    """

    param_name = "yolov3_param"
    fields = Fields(
        "num_class num object_scale class_scale coord_scale thresh anchors_scale biases mask use_logic_gradient use_focal_loss "
        "iou_loss iou_normalizer iou_thresh max_delta accumulate label_smooth_eps",
        side="eric612/MobileNet-YOLO src/caffe/layers/yolov3_layer.cpp:411: the map's own size counts",
        noobject_scale="eric612/MobileNet-YOLO src/caffe/layers/yolov3_layer.cpp:415: unread",
    )

    def setup(self) -> None:
        super().setup()
        p, known = self.param, len(self.anchors)
        self.mask = [int(anchor) for anchor in p.mask[: self.boxes]]
        self.check(len(self.mask) == self.boxes, f"num: {self.boxes} needs as many entries of mask, not {len(self.mask)}")
        self.check(max(self.mask) < known, f"mask names anchor {max(self.mask)}; {len(p.biases)} biases hold {known} anchors")
        self.check(p.anchors_scale > 0, "anchors_scale must be positive")
        self.slots = {anchor: self.mask.index(anchor) for anchor in sorted(self.mask)}

    def value_and_delta(self, x: Tensor, truth: Truth, grid: Grid) -> tuple[Tensor, Tensor]:
        import torch

        p, logic = self.param, self.param.use_logic_gradient
        plain = p.iou_loss == "MSE"
        sizes = x.new_tensor(self.anchors) / (x.new_tensor(grid) * p.anchors_scale)
        y = torch.cat([x[..., :2].sigmoid(), x[..., 2:4], x[..., 4:].sigmoid()], -1)
        middles = (cell_corners(x, grid) + y[..., :2]) / x.new_tensor(grid)
        boxes = torch.cat([middles, x[..., 2:4].exp() * sizes[self.mask][:, None]], -1)
        at = self.match(truth, sizes, grid)
        order = first_and_last(at.place, boxes[..., 0].numel())

        objectness = y[..., 4:5]
        idle = objectness.masked_fill(best_overlap(boxes, truth, p.iou_loss) > p.thresh, 0)
        matched = (order[1] >= 0).reshape(idle.shape)
        busy = torch.where(matched, (objectness - 1) * (p.object_scale if logic else 1), idle)
        if plain:
            place = self.squared(y, truth, sizes, at, order[1], grid)
        else:
            place, lost = self.by_iou(y, boxes, truth, at, order[1])
        classes = self.class_delta(y[..., 5:].reshape(-1, self.classes), truth, at, order)
        delta = torch.cat([place.reshape(boxes.shape), busy, classes.reshape(y[..., 5:].shape)], -1)
        value = delta.square().sum() if plain else delta[..., 4:].square().sum() + lost
        if logic:
            # For another loss than MSE the fork has put the place back as it came, before the sigmoid.
            slopes = slope(torch.cat([(y if plain else x)[..., :2], y[..., 4:]], -1))
            delta = delta * torch.cat([slopes[..., :2], torch.ones_like(middles), slopes[..., 2:]], -1)
        return value, delta

    def match(self, truth: Truth, sizes: Tensor, grid: Grid) -> Match:
        """The best anchor of each box, then those of `mask` that overlap it enough."""
        import torch

        p, (images, rows), cells = self.param, truth.label.shape, grid[0] * grid[1]
        alike = anchor_similarity(sizes, truth, p.iou_loss)
        best, anchor = alike.max(-1)
        slot_of = torch.tensor([self.slots.get(n, -1) for n in range(len(self.anchors))], device=sizes.device)
        slot = torch.where(best > 0, slot_of[anchor], -1)
        done = torch.where(slot >= 0, slot, torch.where(best > 0, anchor, -1))
        ours = torch.tensor(list(self.slots), device=sizes.device)
        more = (ours != done[..., None]) & (alike[..., ours] > p.iou_thresh) & bool(p.iou_thresh < 1)

        slots = torch.cat([slot[..., None], slot_of[ours].expand(more.shape)], -1)
        given = torch.cat([slot[..., None] >= 0, more], -1) & truth.matched[..., None]
        image = torch.arange(images, device=sizes.device)[:, None, None]
        place = (image * self.boxes + slots) * cells + cells_of(truth, grid)[0][..., None]
        place = torch.where(given, place, images * self.boxes * cells)
        row = torch.arange(images * rows, device=sizes.device).reshape(images, rows, 1)
        anchors = torch.cat([anchor[..., None], ours.expand(more.shape)], -1)
        return Match(place.reshape(-1), row.expand(place.shape).reshape(-1), anchors.reshape(-1))

    def squared(self, y: Tensor, truth: Truth, sizes: Tensor, at: Match, last: Tensor, grid: Grid) -> Tensor:
        """Deltas of place and size (predictions, 4) that squared errors give."""
        import torch

        now = y[..., :4].reshape(-1, 4)[at.place.clamp(max=len(last) - 1)]
        box, cell = truth.box.reshape(-1, 4)[at.row], cells_of(truth, grid)[1].reshape(-1, 2)[at.row]
        goal = torch.cat([box[:, :2] * y.new_tensor(grid) - cell, (box[:, 2:] / sizes[at.anchor]).log()], 1)
        delta = self.param.coord_scale * (2 - areas(box)[:, None]) * (now - goal)
        return torch.where(last[:, None] >= 0, delta[last.clamp(min=0)], 0)

    def by_iou(self, y: Tensor, boxes: Tensor, truth: Truth, at: Match, last: Tensor) -> tuple[Tensor, Tensor]:
        """Deltas of place and size (predictions, 4) that `iou_loss` gives, and its part of the loss."""
        import torch

        p, total = self.param, len(last)
        here = at.place.clamp(max=total - 1)
        found, box = boxes.reshape(-1, 4)[here], truth.box.reshape(-1, 4)[at.row]
        given = at.place < total
        short = 1 - similarity(found, box, p.iou_loss if p.iou_loss in DIFFERENT else "DIOU")
        lost = p.iou_normalizer * short.masked_fill(~given, 0).sum() / given.sum().clamp(min=1)

        found = torch.cat([found[:, :2], torch.where(found[:, 2:] == 0, 1, found[:, 2:])], 1)
        by_middle, by_size = similarity_gradient(found, box, p.iou_loss).split(2, 1)
        rise = torch.cat([by_middle, by_size * y[..., 2:4].reshape(-1, 2)[here].exp()], 1) * p.iou_normalizer
        fall = -torch.where(rise.isfinite(), rise, 0).clamp(-p.max_delta, p.max_delta)
        if p.accumulate:
            return fall.new_zeros(total + 1, 4).index_add(0, at.place, fall)[:-1], lost
        return torch.where(last[:, None] >= 0, fall[last.clamp(min=0)], 0), lost

    def class_delta(self, y: Tensor, truth: Truth, at: Match, order: tuple[Tensor, Tensor]) -> Tensor:
        """Deltas of the classes (predictions, classes): the first box given sets all, each one after it that of its class."""
        import torch

        p, (first, last) = self.param, order
        label = truth.label.reshape(-1)[at.row]
        hit = one_hot(label, self.classes)
        after = torch.arange(label.numel(), device=y.device) != torch.cat([first, first.new_zeros(1)])[at.place]
        also = y.new_zeros(len(y) + 1, self.classes).index_add(0, at.place, (hit & after[:, None]).to(y.dtype))[:-1] > 0

        leader = first.clamp(max=label.numel() - 1)
        low = 0.5 * p.label_smooth_eps
        high = 1 - p.label_smooth_eps + low
        if p.use_focal_loss:
            sure = y.gather(1, label[leader].clamp(0, self.classes - 1)[:, None]) + 1e-15
            delta = (y - hit[leader].to(y.dtype)) * -0.5 * (1 - sure) * (2 * sure * sure.log() + sure - 1)
        else:
            delta = y - torch.where(hit[leader], high, low)
        # A box given twice finds its own delta 0 where a focal loss is: then nothing changes.
        also = also & ~(hit[leader] & (delta == 0))
        delta = p.class_scale * torch.where(also, y - high, delta)
        return torch.where(last[:, None] >= 0, delta, 0)


@register("YoloSeg")
class YoloSeg(Loss):
    """Squares of scale * (sigmoid(x) - label), summed and divided by N; the gradient is scale * (sigmoid(x) - label) / N.

    Bottoms: predictions (N, C, H, W), labels of that size, and the sum of each class's labels (N, C). The scale is
    `object_scale` (5); where the label is above 0.5, times 2 - (sum of labels) / (pixels less that sum), of its class in the
    batch. As in the fork the other parameters change nothing (yolo_seg.cpp).
    """

    param_name = "yolo_seg_param"
    fields = Fields(
        "object_scale",
        num_class="eric612/MobileNet-YOLO src/caffe/layers/yolo_seg.cpp:40: unread",
        class_scale="eric612/MobileNet-YOLO src/caffe/layers/yolo_seg.cpp:39: unread",
        use_logic_gradient="eric612/MobileNet-YOLO src/caffe/layers/yolo_seg.cpp:36: unread",
        use_hardsigmoid="eric612/MobileNet-YOLO src/caffe/layers/yolo_seg.cpp:37: unread",
    )
    n_bottoms = (3, 3)
    index_bottoms: ClassVar[tuple[int, ...]] = (1, 2)

    def setup(self) -> None:
        super().setup()
        x, label, positive = self.bottoms
        self.check(
            len(x) == 4 and count(x) == count(label) and legacy(label, 1) == x[1],
            f"needs predictions (N, C, H, W) and labels of that shape, not {x} and {label}",
        )
        fits = positive[:1] == x[:1] and count(positive) == x[0] * x[1]
        self.check(fits, f"needs the sum of each class's labels {x[:2]}, not {positive}")
        self.object_scale: float = self.param.object_scale

    def forward(  # type: ignore[override]
        self, x: Tensor, label: Tensor, positive: Tensor, *, blobs: Sequence[Tensor], training: bool
    ) -> Tensor:
        import torch

        images, channels, height, width = x.shape
        goal = label.detach().reshape(x.shape).to(x.dtype)
        sums = positive.detach().to(x.dtype).reshape(images, channels, 1, 1).sum(0)
        weight = torch.where(goal > 0.5, 2 - sums / (images * height * width - sums), 1)
        delta = self.object_scale * weight * (x.detach().sigmoid() - goal)
        return straight_through(delta.square().sum() / images, (x * delta).sum() / images)


# ---- a layer that helps while training


@register("AssistedExcitation")
class AssistedExcitation(LayerType):
    """While training, adds the channels' mean where a box is; an identity in inference (assisted_excitation_layer.cpp).

    Bottoms: x (N, C, H, W), labels (N, 1, 300, 5), the mean (N, H, W) of the channels; the gradient goes to x alone. As in the
    fork, which adds the first image's part to each, only the first image of a batch is excited.

    The fork scales the mean by cos(pi / 2 * iteration / (0.75 * max_iter)), 0 at least. A net knows no iteration: the factor
    is the module's buffer `strength`, 1 as at the start, for a training loop to set. Nets to deploy are published
    without this layer, as at the end.

    >>> import protogen
    >>> net = protogen.loads('''
    ... layer { name: "in" type: "Input" top: "x" top: "label" top: "mean" input_param { shape { dim: 1 dim: 8 dim: 4 dim: 4 }
    ...   shape { dim: 1 dim: 1 dim: 300 dim: 5 } shape { dim: 1 dim: 4 dim: 4 } } }
    ... layer { name: "AE" type: "AssistedExcitation" bottom: "x" bottom: "label" bottom: "mean" top: "y" }''', phase="TRAIN")
    >>> module = net.to_torch()
    >>> module.AE.strength.fill_(0.5)
    tensor(0.5000)
    """

    n_bottoms = (3, 3)
    index_bottoms: ClassVar[tuple[int, ...]] = (1,)
    only_trains = True
    onnx_note = "it is for training only; in inference it passes its first bottom on"
    passes_first = True

    def setup(self) -> None:
        x, label, mean = self.bottoms
        self.check(len(x) == 4, f"needs a bottom (N, C, H, W), not {x}")
        self.check(label[:1] == x[:1] == mean[:1], f"bottoms {x}, {label} and {mean} must have the same first axis (the batch)")
        values = count(label[1:])
        self.check(
            values > 0 and values % 5 == 0, f"needs labels (N, 1, 300, 5), rows of class, x, y, width and height, not {label}"
        )
        wanted: Shape = (x[0], *x[2:])
        self.check(count(mean) == count(wanted), f"needs the mean of the channels {wanted}, not {mean}")
        self.tops = [x]

    @property
    def is_identity(self) -> bool:
        return True

    def module(self) -> torch.nn.Module:
        import torch

        from ...targets.torch.module import LayerModule

        module = LayerModule(self)
        module.register_buffer("strength", torch.ones(()), persistent=False)
        module.blob_names = ["strength"]
        return module

    def forward(  # type: ignore[override]
        self, x: Tensor, label: Tensor, mean: Tensor, *, blobs: Sequence[Tensor], training: bool
    ) -> Tensor:
        import torch

        if not training:
            return x
        height, width = x.shape[2:]
        truth = ground_truth(label[:1].detach(), x[:1])
        size = x.new_tensor([width, height])
        low, high = corners(truth.box).split(2, -1)
        low = torch.minimum((low * size).trunc().clamp(min=0), size - 1)[..., None]
        # The fork rounds up in double precision.
        high = torch.maximum(torch.minimum(((high * size).double() + 0.95).trunc(), size)[..., None], low + 1)
        across, down = (torch.arange(length, device=x.device) for length in (width, height))
        columns = (across >= low[:, :, 0]) & (across < high[:, :, 0])  # (1, R, W)
        rows = (down >= low[:, :, 1]) & (down < high[:, :, 1])
        covered = (rows[..., None] & columns[:, :, None] & truth.compared[..., None, None]).any(1)
        added = (blobs[0].to(x.dtype) * mean[:1].detach().reshape(1, height, width)).masked_fill(~covered, 0)
        return torch.cat([x[:1] + added[:, None], x[1:]])
