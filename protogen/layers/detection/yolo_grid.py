"""The common parts of the losses of YOLO v2 and v3 in eric612/MobileNet-YOLO: a grid of predictions, and the boxes to find.

These losses, like that of the segmentation branch, first compute a delta, one value for each prediction. The gradient is the
delta divided by the batch size; the loss is the sum of the delta's squares divided by the batch size, of which that gradient is
not the derivative. The statistics that the fork logs are left out.

Labels are (N, 1, 300, 5), rows of class (from 0), x, y, width and height of a box, as fractions of the image; x and y are its
middle. Other numbers of rows are accepted, too. Rows end at the first one without x (when predictions are compared to boxes) or
without width (when boxes are assigned to anchors).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..base import count
from ..loss import Loss, straight_through
from .box_similarity import similarity

if TYPE_CHECKING:
    from torch import Tensor

Grid = tuple[int, int]  # cells in a row, cells in a column


class Truth(NamedTuple):
    """Boxes to find: `label` (N, R), `box` (N, R, 4), and masks (N, R) of the rows to compare and to match."""

    label: Tensor
    box: Tensor
    compared: Tensor
    matched: Tensor


class Match(NamedTuple):
    """Assignments (E,) of boxes to predictions, in the fork's order.

    Attributes:
        place: flat index of the prediction over images, anchors and cells; one past the last if there is none.
        row: flat index of the box over images and rows.
        anchor: index of the anchor.
    """

    place: Tensor
    row: Tensor
    anchor: Tensor


# ---- boxes to find, and the predictions for them


def ground_truth(label: Tensor, x: Tensor) -> Truth:
    """The boxes in labels (N, ...), in the dtype of `x`; unless a graph is being compiled, unused rows are removed."""
    import torch

    rows = label.reshape(x.shape[0], -1, 5).to(x.dtype)
    compared, matched = ((rows[..., i] == 0).cumsum(1) == 0 for i in (1, 3))
    if not torch.compiler.is_compiling():
        most = max(int((compared | matched).sum(1).max()), 1)
        rows, compared, matched = rows[:, :most], compared[:, :most], matched[:, :most]
    return Truth(rows[..., 0].long(), rows[..., 1:], compared, matched)


def best_overlap(boxes: Tensor, truth: Truth, kind: str) -> Tensor:
    """The largest similarity of each prediction to a box, at least 0: (N, boxes, cells, 1).

    Args:
        boxes: predicted boxes (N, boxes, cells, 4).
        truth: the boxes to find.
        kind: see `similarity`.
    """
    alike = similarity(boxes[..., None, :], truth.box[:, None, None], kind)
    return alike.nan_to_num(0.0).masked_fill(~truth.compared[:, None, None], 0).amax(-1, keepdim=True).clamp(min=0)


def anchor_similarity(sizes: Tensor, truth: Truth, kind: str) -> Tensor:
    """The similarity of each box to anchors around the same middle: (N, R, anchors).

    Args:
        sizes: sizes of the anchors (..., anchors, 2).
        truth: the boxes to find.
        kind: see `similarity`.
    """
    from torch.nn import functional as F

    return similarity(F.pad(sizes, (2, 0)), F.pad(truth.box[..., None, 2:], (2, 0)), kind).nan_to_num(0.0)


def cells_of(truth: Truth, grid: Grid) -> tuple[Tensor, Tensor]:
    """Index (N, R) of the cell that contains the middle of each box, or the nearest one, and its x and y (N, R, 2)."""
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
    """(total,) each: the first and last index in `place` (E,) of each number below `total`; E and -1 if it does not occur."""
    import torch

    number = torch.arange(place.numel(), device=place.device)
    first = torch.full((total + 1,), place.numel(), device=place.device).scatter_reduce(0, place, number, "amin")
    last = torch.full((total + 1,), -1, device=place.device).scatter_reduce(0, place, number, "amax")
    return first[:-1], last[:-1]


def one_hot(label: Tensor, classes: int) -> Tensor:
    """(..., classes) mask of each label; empty for one that is not a class."""
    import torch

    return label[..., None] == torch.arange(classes, device=label.device)


def slope(y: Tensor) -> Tensor:
    """Derivative of the sigmoid at the point where its value is `y`."""
    return y * (1 - y)


# ---- base of the losses


class GridLoss(Loss):
    """A loss of predictions (N, boxes * (5 + classes), H, W) around the cells of a grid, and of the boxes to find.

    A prediction is x and y within the cell, the logarithms of width and height over those of an anchor, objectness, classes.

    Attributes:
        classes, boxes: numbers of classes and of predictions per cell.
        anchors: width and height of each anchor, in cells or pixels.
    """

    def setup(self) -> None:
        super().setup()
        p, (x, label) = self.param, self.bottoms
        self.classes, self.boxes = int(p.num_class), int(p.num)
        self.check(self.classes > 0 and self.boxes > 0, "num_class and num must be positive")
        channels = self.boxes * (5 + self.classes)
        self.check(
            len(x) == 4 and x[1] == channels,
            f"needs predictions (N, {channels}, H, W), {self.boxes} boxes of 5 + {self.classes} values, not {x}",
        )
        values = count(label[1:])
        self.check(
            values > 0 and values % 5 == 0, f"needs labels (N, 1, 300, 5), rows of class, x, y, width and height, not {label}"
        )
        biases = [float(value) for value in p.biases]
        self.check(all(value > 0 for value in biases), "biases, the anchors' widths and heights, must be positive")
        self.anchors = list(zip(biases[::2], biases[1::2]))

    def forward(self, x: Tensor, label: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        images, _, height, width = x.shape
        cells = x.reshape(images, self.boxes, 5 + self.classes, height * width).transpose(2, 3)
        with torch.no_grad():
            value, delta = self.value_and_delta(cells.detach(), ground_truth(label.detach(), x), (width, height))
        return straight_through(value / images, (cells * delta).sum() / images)

    def value_and_delta(self, x: Tensor, truth: Truth, grid: Grid) -> tuple[Tensor, Tensor]:
        """The loss and its gradient, both times N.

        Args:
            x: predictions (N, boxes, cells, 5 + classes).
            truth: the boxes to find.
            grid: the size of the map in cells.
        """
        raise NotImplementedError
