"""RegionLoss, the loss of YOLO v2 in eric612/MobileNet-YOLO (region_loss_layer.cpp)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..fields import Fields
from ..registry import register
from .box_similarity import areas, iou
from .yolo_grid import (
    Grid,
    GridLoss,
    Match,
    Truth,
    anchor_similarity,
    best_overlap,
    cell_corners,
    cells_of,
    first_and_last,
    one_hot,
    slope,
)

if TYPE_CHECKING:
    from torch import Tensor


@register("RegionLoss")
class RegionLoss(GridLoss):
    """YOLO v2: squared errors of the predictions, summed and divided by N (region_loss_layer.cpp).

    Bottoms: predictions (N, num * (5 + num_class), S, S), labels (N, 1, 300, 5). `biases` (at least 10) are the anchors' sizes
    in cells. The target of objectness is 0 (`noobject_scale` 0.5) unless a box overlaps the prediction by more than `thresh`
    (0.2). In the cell of a box's middle, the anchor (with `bias_match: 0`, the predicted size) most similar to the box should
    predict its place and size (`coord_scale` 5), objectness (`object_scale` 1) and class by softmax (`class_scale` 1); of
    several boxes for the same prediction, the last one counts. With `rescore` (1) the target of objectness is the IoU; without,
    it is 1, and place and size are weighted by 2 - area.

    The delta includes the derivative of the sigmoid for place and objectness, but not that of the softmax. As in the fork,
    `softmax`, `jitter`, `absolute`, `random`, `softmax_tree` and `class_map` have no effect. Unlike in the fork, which then
    writes to other predictions, a middle outside the grid belongs to the nearest cell, and a box that overlaps no anchor is not
    assigned.
    """

    param_name = "region_loss_param"
    decoder = "YoloDetectionOutput"
    fields = Fields(
        "num_class bias_match num rescore object_scale class_scale noobject_scale coord_scale thresh biases",
        side="eric612/MobileNet-YOLO src/caffe/layers/region_loss_layer.cpp:133: unread",
        softmax="eric612/MobileNet-YOLO src/caffe/layers/region_loss_layer.cpp:138: unread",
        jitter="eric612/MobileNet-YOLO src/caffe/layers/region_loss_layer.cpp:133: not among the fields read",
        absolute="eric612/MobileNet-YOLO src/caffe/layers/region_loss_layer.cpp:166: unread",
        random="eric612/MobileNet-YOLO src/caffe/layers/region_loss_layer.cpp:168: unread",
        softmax_tree="eric612/MobileNet-YOLO src/caffe/layers/region_loss_layer.cpp:133: not among the fields read",
        class_map="eric612/MobileNet-YOLO src/caffe/layers/region_loss_layer.cpp:141: read into a table that is never used",
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
        """Assign one anchor to each box.

        Args:
            truth: the boxes to find.
            boxes: the predicted boxes (N, num, cells, 4).
            grid: the size of the map in cells.
        """
        import torch

        (images, rows), cells = truth.label.shape, grid[0] * grid[1]
        cell, _ = cells_of(truth, grid)
        image = torch.arange(images, device=cell.device)[:, None]
        sizes = boxes.new_tensor(self.anchors) / grid[0] if self.param.bias_match else boxes[image, :, cell, 2:]
        best, anchor = anchor_similarity(sizes, truth, "IOU").max(-1)
        place = (image * self.boxes + anchor) * cells + cell
        place = torch.where(truth.matched & (best > 0), place, images * self.boxes * cells)
        return Match(place.reshape(-1), torch.arange(images * rows, device=cell.device), anchor.reshape(-1))
