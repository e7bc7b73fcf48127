"""Targets that a region proposal network is trained with: the Python layers AnchorTargetLayer and ProposalTargetLayer.

Sources: lib/rpn/anchor_target_layer.py, lib/rpn/proposal_target_layer.py, lib/utils/bbox.pyx, lib/fast_rcnn/config.py and
experiments/cfgs/faster_rcnn_end2end.yml of rbgirshick/py-faster-rcnn, and what R-FCN's programs (soeaver/py-RFCN-priv) changed.

Both draw examples at random, here by `torch.randperm`, there by numpy: no two runs agree, and none agrees with Caffe's. What is
drawn from, how many, and the targets of each are the same.

Most settings were in the program's configuration, not in the prototxt. They are class attributes here, with the values of
py-faster-rcnn's end-to-end training: for others, subclass and `register_python` again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import ProtogenError
from ..base import Shape
from ..detection import boxes as box_ops
from ..python import PythonLayer, arguments, register_python
from .proposal import anchor_corners

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

LARGEST = 1e6  # pixels, or times: of numbers in `param_str`


def sample(candidates: Tensor, limit: int | Tensor) -> Tensor:
    """A mask of at most `limit` of the candidates (K,), a mask itself, drawn at random.

    >>> import torch
    >>> sample(torch.tensor([True, False, True, True]), 2).sum()
    tensor(2)
    """
    import torch

    order = torch.randperm(len(candidates), device=candidates.device)
    shuffled = candidates[order]
    return torch.zeros_like(candidates).scatter(0, order, shuffled & (shuffled.cumsum(0) <= limit))


def overlaps(boxes: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union (K, G) of boxes (K, 4) and (G, 4) whose corners are pixels, in float64 as py-faster-rcnn's."""
    return box_ops.iou(boxes.double().unsqueeze(1), truth.double(), pixel=1.0, least=-1.0)


def offsets(boxes: Tensor, truth: Tensor) -> Tensor:
    """(K, 4): by how much of its size a box's center is moved, and the logarithm of how its sides grow, to be the true box."""
    import torch

    size, true_size = (box[:, 2:] - box[:, :2] + 1 for box in (boxes, truth))
    move = truth[:, :2] + 0.5 * true_size - (boxes[:, :2] + 0.5 * size)
    return torch.cat([move / size, (true_size / size).log()], 1)


class Targets(PythonLayer):
    """What both layers share: ground truth (G, 5), for each box x1, y1, x2, y2 in pixels of the network's input and a label."""

    has_gradient = False
    only_trains = True
    onnx_note = "target sampling is for training only"

    def setup(self) -> None:
        truth = self.bottoms[1]
        self.check(_values(truth) == 5, f"gt_boxes must hold rows of x1, y1, x2, y2, label, not {truth}")

    def example(self, index: int, rng: np.random.Generator) -> np.ndarray | None:
        """Boxes of a hundred pixels or so, with labels; see `LayerType.example`."""
        import numpy as np

        if index != 1:
            return None
        count = self.bottoms[1][0]
        corners = rng.integers(0, 100, (count, 2))
        rows = np.concatenate([corners, corners + rng.integers(20, 120, (count, 2)), np.ones((count, 1))], 1)
        return rows.reshape(self.bottoms[1])

    def ground_truth(self, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (G, 4) and labels (G,).

        Raises:
            ProtogenError: there is none; py-faster-rcnn leaves such images out before training.
        """
        rows = truth.detach().reshape(-1, 5)
        if not len(rows):
            raise ProtogenError(f"{self.label}: an image without ground truth boxes cannot be trained with; leave it out")
        return rows[:, :4], rows[:, 4]


@register_python("AnchorTargetLayer", "rpn.anchor_target_layer")
class AnchorTarget(Targets):
    """What the region proposal network should say for each anchor, for one image.

    Bottoms: a map (1, any, H, W) that only tells H and W (`rpn_cls_score`), ground truth (G, 5), `im_info` (1, 2 or more) of
    height and width, and perhaps the image, which is not read. Tops, for A anchors: labels (1, 1, A * H, W), offsets to the
    ground truth (1, 4 * A, H, W), and inside and outside weights of that shape.

    `param_str` gives `feat_stride`, and optionally `scales` (8, 16, 32), `ratios` (0.5, 1, 2), `base_size` (16), and
    `allowed_border` (0), the pixels an anchor may reach over the image. Anchors within the image are candidates: positive
    (label 1) is one that overlaps a box by 0.7 or more or that no other overlaps a box more than, negative (0) one that
    overlaps all boxes by less than 0.3. Of the positive ones 128 are drawn, of the negative ones as many as make that 256.
    All others have label -1. Offsets are those to the box an anchor overlaps most. Inside weights are 1 for positive
    anchors, outside weights 1 / (number of positive and negative ones) for both.

    As in py-faster-rcnn, a box that no candidate overlaps makes positive all candidates: none overlaps it more.

    Attributes:
        anchors: corners (A, 4) of the boxes around the first cell.
    """

    known_arguments = frozenset(("feat_stride", "scales", "ratios", "base_size", "allowed_border"))
    n_bottoms = (3, 4)
    n_tops = (4, 4)
    positive_overlap: ClassVar[float] = 0.7  # RPN_POSITIVE_OVERLAP
    negative_overlap: ClassVar[float] = 0.3  # RPN_NEGATIVE_OVERLAP
    drawn: ClassVar[int] = 256  # RPN_BATCHSIZE
    fraction: ClassVar[float] = 0.5  # RPN_FG_FRACTION: positive ones, at most

    def setup(self) -> None:
        super().setup()
        scores, _, info = self.bottoms[:3]
        self.check(len(scores) == 4 and scores[0] == 1, f"takes the map of one image (1, C, H, W), not {scores}")
        self.check(info[:1] == (1,) and _values(info) >= 2, f"im_info must hold height and width of one image, not {info}")
        given = arguments(self.layer)
        self.stride = self._whole("feat_stride", given.get("feat_stride"))
        base = self._whole("base_size", given.get("base_size", 16))
        self.border = given.get("allowed_border", 0)
        self.check(_is_number(self.border), f"allowed_border must be a number, not {self.border!r}")
        scales = self._sizes("scales", given.get("scales", (8, 16, 32)))
        ratios = self._sizes("ratios", given.get("ratios", (0.5, 1, 2)))
        self.anchors = list(anchor_corners(base, ratios, scales, round))
        number, (height, width) = len(self.anchors), scores[2:]
        self.tops = [(1, 1, number * height, width), *[(1, 4 * number, height, width)] * 3]

    def example(self, index: int, rng: np.random.Generator) -> np.ndarray | None:
        """Also `im_info`, of an image as large as the map says; see `LayerType.example`."""
        import numpy as np

        if index != 2:
            return super().example(index, rng)
        info = np.ones(self.bottoms[2], np.float32)
        info.reshape(-1)[:2] = [side * self.stride for side in self.bottoms[0][2:]]
        return info

    def _whole(self, name: str, value: Any) -> int:
        if not isinstance(value, int) or not 0 < value <= LARGEST:
            raise self.error(f"param_str must give {name}, a positive whole number: {self.param.param_str!r}")
        return value

    def _sizes(self, name: str, values: Any) -> Sequence[float]:
        numbers = isinstance(values, (list, tuple)) and all(_is_number(x) and 1 / LARGEST <= x <= LARGEST for x in values)
        self.check(numbers and len(values) > 0, f"{name} must be positive numbers, not {values!r}")
        return values

    def candidates(self, height: int, width: int, info: Tensor) -> tuple[Tensor, Tensor]:
        """Anchors around every cell (H * W * A, 4), in float64, and a mask of those within the image."""
        import torch

        y, x = (torch.arange(side, dtype=torch.float64, device=info.device) * self.stride for side in (height, width))
        corner = torch.stack(torch.meshgrid(x, y, indexing="xy"), 2)
        shift = torch.cat([corner, corner], 2).unsqueeze(2)  # (H, W, 1, 4)
        anchors = (shift + torch.tensor(self.anchors, dtype=torch.float64, device=info.device)).reshape(-1, 4)
        sides = info.reshape(-1)[[1, 0]] + self.border
        return anchors, (anchors[:, :2] >= -self.border).all(1) & (anchors[:, 2:] < sides).all(1)

    def forward(
        self, scores: Tensor, truth: Tensor, info: Tensor, *image: Tensor, blobs: Sequence[Tensor], training: bool
    ) -> list[Tensor]:
        import torch

        height, width = scores.shape[2:]
        boxes, _ = self.ground_truth(truth)
        anchors, inside = self.candidates(height, width, info.detach())
        overlap = overlaps(anchors, boxes).masked_fill(~inside.unsqueeze(1), -1)
        most, box = overlap.max(1)
        positive = inside & ((overlap == overlap.amax(0)).any(1) | (most >= self.positive_overlap))
        negative = inside & (most < self.negative_overlap) & ~positive
        positive = sample(positive, int(self.fraction * self.drawn))
        negative = sample(negative, self.drawn - positive.sum())
        labels = torch.where(positive, 1, torch.where(negative, 0, -1)).to(scores)
        targets = torch.where(inside.unsqueeze(1), offsets(anchors, boxes[box].double()), 0)
        inner = positive.unsqueeze(1).expand(-1, 4).to(scores)
        outer = (positive | negative).unsqueeze(1).expand(-1, 4).to(scores)
        weights = [inner, outer / (positive | negative).sum().clamp(min=1)]
        maps = [x.reshape(1, height, width, -1).permute(0, 3, 1, 2) for x in (labels, targets.to(scores), *weights)]
        return [maps[0].reshape(1, 1, -1, width), *maps[1:]]


@register_python("ProposalTargetLayer", "rpn.proposal_target_layer")
class ProposalTarget(Targets):
    """A sample of regions to train the detector with, and what it should say for each, for one image.

    Bottoms: regions (R, 5), each its image's index, 0, and x1, y1, x2, y2; ground truth (G, 5). Tops, for the S regions drawn
    and C classes (`num_classes` in `param_str`, the background is class 0): regions (S, 5, 1, 1), labels (S, 1, 1, 1), offsets
    to the ground truth (S, 4 * C, 1, 1), and inside and outside weights of that shape. As for all Python layers whose rows the
    data tell, S is stated as 1. Axes of 1 are what R-FCN's programs add; py-faster-rcnn does without, and nets take either.

    The boxes of the ground truth are regions, too. One that overlaps a box by 0.5 or more may be drawn for the label of the box
    it overlaps most, at most 32; all others for the background, label 0, as many as make that 128. Fewer are drawn where
    there are no more. Offsets are in units of their usual spread (0.1, 0.1, 0.2, 0.2). They stand in the four columns of the
    region's label, where both weights are 1; all else is 0. With two classes these are background and object, whatever
    the label: R-FCN's class-agnostic boxes.

    In inference the regions go on as they are.
    """

    known_arguments = frozenset(("num_classes",))
    n_bottoms = (2, 2)
    n_tops = (5, 5)
    dynamic_rows = 0
    passes_first = True
    drawn: ClassVar[int] = 128  # BATCH_SIZE; a number beyond all regions takes all, as -1 does in R-FCN's configuration
    fraction: ClassVar[float] = 0.25  # FG_FRACTION: for labels other than the background, at most
    positive_overlap: ClassVar[float] = 0.5  # FG_THRESH
    negative_overlap: ClassVar[tuple[float, float]] = (0.0, 0.5)  # BG_THRESH_LO and BG_THRESH_HI
    means: ClassVar[Sequence[float]] = (0.0, 0.0, 0.0, 0.0)  # BBOX_NORMALIZE_MEANS
    deviations: ClassVar[Sequence[float]] = (0.1, 0.1, 0.2, 0.2)  # BBOX_NORMALIZE_STDS

    def setup(self) -> None:
        super().setup()
        regions = self.bottoms[0]
        self.check(_values(regions) == 5, f"regions must have 5 values each (image, x1, y1, x2, y2), not {regions}")
        classes = arguments(self.layer).get("num_classes")
        if not isinstance(classes, int) or not 2 <= classes <= LARGEST:
            raise self.error(f"param_str must give num_classes, a whole number from 2 on: {self.param.param_str!r}")
        self.classes = classes
        self.tops = [(1, columns, 1, 1) for columns in (5, 1, *[4 * classes] * 3)]

    def forward(self, regions: Tensor, truth: Tensor, *, blobs: Sequence[Tensor], training: bool) -> list[Tensor]:
        import torch
        from torch.nn import functional as F

        boxes, labels = self.ground_truth(truth)
        regions = torch.cat([regions.detach().reshape(-1, 5), F.pad(boxes, (1, 0)).to(regions)])
        most, box = overlaps(regions[:, 1:], boxes).max(1)
        low, high = self.negative_overlap
        positive = sample(most >= self.positive_overlap, round(self.fraction * self.drawn))
        negative = sample((most >= low) & (most < high), self.drawn - positive.sum())
        rows = torch.cat([positive.nonzero(), negative.nonzero()])[:, 0]
        label = torch.where(positive, labels[box], 0)[rows]
        targets = self.targets(regions[rows, 1:], boxes[box[rows]].to(regions))
        weights = self.columns(label).to(regions)
        made = [regions[rows], label.to(regions), torch.where(weights > 0, targets.repeat(1, self.classes), 0), weights, weights]
        return [x.reshape(len(rows), -1, 1, 1) for x in made]

    def targets(self, regions: Tensor, boxes: Tensor) -> Tensor:
        """(S, 4) offsets, in units of their spread."""
        return (offsets(regions, boxes) - regions.new_tensor(self.means)) / regions.new_tensor(self.deviations)

    def columns(self, label: Tensor) -> Tensor:
        """Which of the 4 * C columns are those of each label (S,); none for the background."""
        import torch

        number = label.long().clamp(max=1) if self.classes == 2 else label.long()
        own = number.unsqueeze(1) == torch.arange(self.classes, device=label.device)
        return (own & (number > 0).unsqueeze(1)).repeat_interleave(4, 1)


def _values(shape: Shape) -> int:
    """How many values each row of a blob has; 0 for a blob without rows."""
    return math.prod(shape[1:]) if len(shape) > 1 else 0


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
