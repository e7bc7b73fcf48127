"""Yolov3, the loss of YOLO v3 in eric612/MobileNet-YOLO (yolov3_layer.cpp)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..fields import Fields
from ..registry import register
from .box_similarity import DIFFERENT, areas, similarity, similarity_gradient
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


@register("Yolov3")
class Yolov3(GridLoss):
    """YOLO v3: squared errors of the predictions, summed and divided by N (yolov3_layer.cpp).

    Bottoms: predictions (N, num * (5 + num_class), H, W), labels (N, 1, 300, 5). `biases` are the sizes of all anchors in
    pixels, `mask` the indices of the `num` anchors predicted here, `anchors_scale` (32) the pixels per cell. The target of
    objectness is 0 unless a box overlaps the prediction by more than `thresh` (0.2). In the cell of a box's middle, the box
    should be predicted by the most similar of all anchors, if it is in `mask`, and by the anchors of `mask` that overlap it by
    more than `iou_thresh` (0.5; 1 for none): place and size (`coord_scale` 5, times 2 - area), objectness 1, and classes by
    sigmoid (`class_scale` 1), smoothed by `label_smooth_eps` (0.1) or, with `use_focal_loss`, by a focal loss (gamma 2, alpha
    0.5). The delta is that of cross entropy: it includes the sigmoid's derivative only with `use_logic_gradient`, and
    `object_scale` is used only then. As in the fork, `noobject_scale` and `side` have no effect.

    With an `iou_loss` other than MSE, boxes are compared by it, and the delta of place and size is `iou_normalizer` (0.25)
    times its gradient (see `similarity_gradient`), limited to `max_delta` (10) and summed over boxes unless `accumulate` is
    false; in the loss, `iou_normalizer` times the mean of 1 - similarity (DIOU for IOU, too) replaces the squares.

    If several boxes share a prediction, place and size are those of the last one, and all their classes count. As the fork
    confuses the index of an anchor with its position in `mask`, it assigns a box twice to its best anchor unless the two are
    equal (if its overlap is above `iou_thresh`), which doubles the delta of an `iou_loss` and, in a focal loss, replaces that
    of a class by the plain one. Unlike in the fork, a middle outside the grid belongs to the nearest cell, and there are no
    special cases for an IoU rounded to more than 1, or for a class whose delta is exactly 0 when a second box of that class is
    processed.
    """

    param_name = "yolov3_param"
    decoder = "Yolov3DetectionOutput"
    fields = Fields(
        "num_class num object_scale class_scale coord_scale thresh anchors_scale biases mask use_logic_gradient use_focal_loss "
        "iou_loss iou_normalizer iou_thresh max_delta accumulate label_smooth_eps",
        side="eric612/MobileNet-YOLO src/caffe/layers/yolov3_layer.cpp:411: the map's own size counts",
        noobject_scale="eric612/MobileNet-YOLO src/caffe/layers/yolov3_layer.cpp:415: unread",
    )

    def setup(self) -> None:
        super().setup()
        p, number = self.param, len(self.anchors)
        self.mask = [int(anchor) for anchor in p.mask[: self.boxes]]
        self.check(len(self.mask) == self.boxes, f"num: {self.boxes} needs as many entries of mask, not {len(self.mask)}")
        self.check(max(self.mask) < number, f"mask has anchor {max(self.mask)}; {len(p.biases)} biases define {number} anchors")
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
            # For losses other than MSE, the fork has already restored the place to its value before the sigmoid.
            slopes = slope(torch.cat([(y if plain else x)[..., :2], y[..., 4:]], -1))
            delta = delta * torch.cat([slopes[..., :2], torch.ones_like(middles), slopes[..., 2:]], -1)
        return value, delta

    def match(self, truth: Truth, sizes: Tensor, grid: Grid) -> Match:
        """Assign to each box its best anchor, then those of `mask` that overlap it enough.

        Args:
            truth: the boxes to find.
            sizes: sizes of all anchors (anchors, 2), as fractions of the image.
            grid: the size of the map in cells.
        """
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
        assigned = torch.cat([slot[..., None] >= 0, more], -1) & truth.matched[..., None]
        image = torch.arange(images, device=sizes.device)[:, None, None]
        place = (image * self.boxes + slots) * cells + cells_of(truth, grid)[0][..., None]
        place = torch.where(assigned, place, images * self.boxes * cells)
        row = torch.arange(images * rows, device=sizes.device).reshape(images, rows, 1)
        anchors = torch.cat([anchor[..., None], ours.expand(more.shape)], -1)
        return Match(place.reshape(-1), row.expand(place.shape).reshape(-1), anchors.reshape(-1))

    def squared(self, y: Tensor, truth: Truth, sizes: Tensor, at: Match, last: Tensor, grid: Grid) -> Tensor:
        """Deltas of place and size (predictions, 4) for squared errors.

        Args:
            y: activated predictions (N, boxes, cells, 5 + classes).
            truth: the boxes to find.
            sizes: sizes of all anchors (anchors, 2), as fractions of the image.
            at: assignments of the boxes.
            last: index of each prediction's last assignment, -1 for none.
            grid: the size of the map in cells.
        """
        import torch

        now = y[..., :4].reshape(-1, 4)[at.place.clamp(max=len(last) - 1)]
        box, cell = truth.box.reshape(-1, 4)[at.row], cells_of(truth, grid)[1].reshape(-1, 2)[at.row]
        goal = torch.cat([box[:, :2] * y.new_tensor(grid) - cell, (box[:, 2:] / sizes[at.anchor]).log()], 1)
        delta = self.param.coord_scale * (2 - areas(box)[:, None]) * (now - goal)
        return torch.where(last[:, None] >= 0, delta[last.clamp(min=0)], 0)

    def by_iou(self, y: Tensor, boxes: Tensor, truth: Truth, at: Match, last: Tensor) -> tuple[Tensor, Tensor]:
        """Deltas of place and size (predictions, 4) for `iou_loss`, and its part of the loss.

        Args:
            y, truth, at, last: see `squared`.
            boxes: the predicted boxes (N, boxes, cells, 4).
        """
        import torch

        p, total = self.param, len(last)
        here = at.place.clamp(max=total - 1)
        predicted, box = boxes.reshape(-1, 4)[here], truth.box.reshape(-1, 4)[at.row]
        assigned = at.place < total
        short = 1 - similarity(predicted, box, p.iou_loss if p.iou_loss in DIFFERENT else "DIOU")
        lost = p.iou_normalizer * short.masked_fill(~assigned, 0).sum() / assigned.sum().clamp(min=1)

        predicted = torch.cat([predicted[:, :2], torch.where(predicted[:, 2:] == 0, 1, predicted[:, 2:])], 1)
        by_middle, by_size = similarity_gradient(predicted, box, p.iou_loss).split(2, 1)
        rise = torch.cat([by_middle, by_size * y[..., 2:4].reshape(-1, 2)[here].exp()], 1) * p.iou_normalizer
        fall = -torch.where(rise.isfinite(), rise, 0).clamp(-p.max_delta, p.max_delta)
        if p.accumulate:
            return fall.new_zeros(total + 1, 4).index_add(0, at.place, fall)[:-1], lost
        return torch.where(last[:, None] >= 0, fall[last.clamp(min=0)], 0), lost

    def class_delta(self, y: Tensor, truth: Truth, at: Match, order: tuple[Tensor, Tensor]) -> Tensor:
        """Deltas of the classes (predictions, classes): the first box assigned sets all, each later one only its class's.

        Args:
            y: activated class predictions (predictions, classes).
            truth: the boxes to find.
            at: assignments of the boxes.
            order: indices of each prediction's first and last assignment, see `first_and_last`.
        """
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
        # If the delta of a box's class is exactly 0 (possible in a focal loss), its second assignment changes nothing.
        also = also & ~(hit[leader] & (delta == 0))
        delta = p.class_scale * torch.where(also, y - high, delta)
        return torch.where(last[:, None] >= 0, delta, 0)
