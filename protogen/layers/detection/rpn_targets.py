"""Training targets of region proposal networks: the Python layers AnchorTargetLayer and ProposalTargetLayer.

Sources: lib/rpn/anchor_target_layer.py, lib/rpn/proposal_target_layer.py, lib/utils/bbox.pyx, lib/fast_rcnn/config.py and
experiments/cfgs/faster_rcnn_end2end.yml of rbgirshick/py-faster-rcnn, and the changes in R-FCN's programs (soeaver/py-RFCN-priv).

Both layers draw examples at random, here by `torch.randperm`, there by numpy: no two runs agree, and none agrees with Caffe's.
The candidates, the number drawn, and the targets of each are the same.

Most settings were in the program's configuration rather than in the prototxt. They are class attributes here, with the values of
py-faster-rcnn's end-to-end training; to change them, subclass and `register_python` again.
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

LARGEST = 1e6  # limit on the sizes and factors in `param_str`


def sample(candidates: Tensor, limit: int | Tensor) -> Tensor:
    """A mask of at most `limit` candidates, drawn at random from the mask `candidates` (K,).

    >>> import torch
    >>> sample(torch.tensor([True, False, True, True]), 2).sum()
    tensor(2)
    """
    import torch

    order = torch.randperm(len(candidates), device=candidates.device)
    shuffled = candidates[order]
    return torch.zeros_like(candidates).scatter(0, order, shuffled & (shuffled.cumsum(0) <= limit))


def overlaps(boxes: Tensor, truth: Tensor) -> Tensor:
    """IoU (K, G) of boxes (K, 4) and (G, 4), whose corners are inclusive pixels, in float64 as in py-faster-rcnn."""
    return box_ops.iou(boxes.double().unsqueeze(1), truth.double(), pixel=1.0, least=-1.0)


def offsets(boxes: Tensor, truth: Tensor) -> Tensor:
    """(K, 4): a true box's center relative to a box's, in units of the box's size, and the logarithms of the ratios of sizes."""
    import torch

    size, true_size = (box[:, 2:] - box[:, :2] + 1 for box in (boxes, truth))
    move = truth[:, :2] + 0.5 * true_size - (boxes[:, :2] + 0.5 * size)
    return torch.cat([move / size, (true_size / size).log()], 1)


class Targets(PythonLayer):
    """The base of both layers; ground truth (G, 5) is x1, y1, x2, y2 in pixels of the network's input, and a label, per box.

    In person_search's nets it is (G, 6), with the number of the person.
    """

    has_gradient = False
    only_trains = True
    onnx_note = "target sampling is for training only"

    def setup(self) -> None:
        truth = self.bottoms[1]
        self.columns = _values(truth)
        self.check(self.columns in (5, 6), f"gt_boxes must have rows of x1, y1, x2, y2, label, not {truth}")

    def example(self, index: int, rng: np.random.Generator) -> np.ndarray | None:
        """Boxes of about a hundred pixels, with labels; see `LayerType.example`."""
        import numpy as np

        if index != 1:
            return None
        count = self.bottoms[1][0]
        corners = rng.integers(0, 100, (count, 2))
        rows = np.concatenate([corners, corners + rng.integers(20, 120, (count, 2)), np.ones((count, self.columns - 4))], 1)
        return rows.reshape(self.bottoms[1])

    def ground_truth(self, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes (G, 4), and labels (G, 1) or, with a person's number, (G, 2).

        Raises:
            ProtogenError: there is none; py-faster-rcnn removes images without boxes before training.
        """
        rows = truth.detach().reshape(-1, self.columns)
        if not len(rows):
            raise ProtogenError(f"{self.label}: cannot train on an image without ground truth boxes; leave it out")
        return rows[:, :4], rows[:, 4:]


@register_python("AnchorTargetLayer", "rpn.anchor_target_layer")
class AnchorTarget(Targets):
    """The region proposal network's targets for each anchor, for one image.

    Bottoms: a map (1, any, H, W) of which only H and W matter (`rpn_cls_score`), ground truth (G, 5), `im_info` (1, 2 or more)
    with height and width, and optionally the image, which is not read. Tops, for A anchors: labels (1, 1, A * H, W), offsets to
    the ground truth (1, 4 * A, H, W), and inside and outside weights of that shape.

    `param_str` sets `feat_stride`, and optionally `scales` (8, 16, 32), `ratios` (0.5, 1, 2), `base_size` (16), and
    `allowed_border` (0), the number of pixels by which an anchor may extend beyond the image. Anchors within the image are
    candidates. A candidate is positive (label 1) if it overlaps a box by 0.7 or more, or if no other overlaps some box more; it
    is negative (0) if it overlaps all boxes by less than 0.3. At most 128 positive ones are drawn, and negative ones to make a
    total of 256. All others have label -1. Offsets are those to the box that an anchor overlaps most. Inside weights are 1 for
    positive anchors, outside weights 1 / (number of positive and negative ones) for both.

    As in py-faster-rcnn, a box that no candidate overlaps makes all candidates positive, as none overlaps it more.

    Attributes:
        anchors: corners (A, 4) of the boxes around the first cell.
    """

    known_arguments = frozenset(("feat_stride", "scales", "ratios", "base_size", "allowed_border"))
    n_bottoms = (3, 4)
    n_tops = (4, 4)
    positive_overlap: ClassVar[float] = 0.7  # RPN_POSITIVE_OVERLAP
    negative_overlap: ClassVar[float] = 0.3  # RPN_NEGATIVE_OVERLAP
    drawn: ClassVar[int] = 256  # RPN_BATCHSIZE
    fraction: ClassVar[float] = 0.5  # RPN_FG_FRACTION: largest fraction of positive ones

    def setup(self) -> None:
        super().setup()
        scores, _, info = self.bottoms[:3]
        self.check(len(scores) == 4 and scores[0] == 1, f"takes the map of one image (1, C, H, W), not {scores}")
        self.check(info[:1] == (1,) and _values(info) >= 2, f"im_info must hold height and width of one image, not {info}")
        settings = arguments(self.layer)
        self.stride = self._whole("feat_stride", settings.get("feat_stride"))
        base = self._whole("base_size", settings.get("base_size", 16))
        self.border = settings.get("allowed_border", 0)
        self.check(_is_number(self.border), f"allowed_border must be a number, not {self.border!r}")
        scales = self._sizes("scales", settings.get("scales", (8, 16, 32)))
        ratios = self._sizes("ratios", settings.get("ratios", (0.5, 1, 2)))
        self.anchors = list(anchor_corners(base, ratios, scales, round))
        number, (height, width) = len(self.anchors), scores[2:]
        self.tops = [(1, 1, number * height, width), *[(1, 4 * number, height, width)] * 3]

    def example(self, index: int, rng: np.random.Generator) -> np.ndarray | None:
        """As for both layers, and `im_info` for an image whose size corresponds to the map; see `LayerType.example`."""
        import numpy as np

        if index != 2:
            return super().example(index, rng)
        info = np.ones(self.bottoms[2], np.float32)
        info.reshape(-1)[:2] = [side * self.stride for side in self.bottoms[0][2:]]
        return info

    def _whole(self, name: str, value: Any) -> int:
        if not isinstance(value, int) or not 0 < value <= LARGEST:
            raise self.error(f"param_str must set {name}, a positive whole number: {self.param.param_str!r}")
        return value

    def _sizes(self, name: str, values: Any) -> Sequence[float]:
        numbers = isinstance(values, (list, tuple)) and all(_is_number(x) and 1 / LARGEST <= x <= LARGEST for x in values)
        self.check(numbers and len(values) > 0, f"{name} must be positive numbers, not {values!r}")
        return values

    def candidates(self, height: int, width: int, info: Tensor) -> tuple[Tensor, Tensor]:
        """Anchors around every cell (H * W * A, 4), in float64, and a mask of those within the image.

        Args:
            height, width: size of the map.
            info: `im_info`.
        """
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
    """A sample of regions for training the detector, and the targets of each, for one image.

    Bottoms: regions (R, 5), each its image's index, 0, and x1, y1, x2, y2; ground truth (G, 5). Tops, for the S regions drawn
    and C classes (`num_classes` in `param_str`; class 0 is the background): regions (S, 5, 1, 1), labels (S, 1, 1, 1), offsets
    to the ground truth (S, 4 * C, 1, 1), and inside and outside weights of that shape. As for all Python layers with a
    data-dependent number of rows, `tops` has 1 for S. The axes of size 1 are added by R-FCN's programs; py-faster-rcnn does not
    have them, and nets accept either.

    The ground truth boxes are regions, too. Regions that overlap a box by 0.5 or more are drawn with the label of the box that
    they overlap most, at most 32; others are drawn with label 0, the background, to make a total of 128, or fewer if there are
    not enough. Offsets are in units of their typical deviations (0.1, 0.1, 0.2, 0.2). They are in the four columns of the
    region's label, where both weights are 1; all else is 0. With two classes, these are background and object, regardless of
    the label: R-FCN's class-agnostic boxes.

    In inference the regions are passed on unchanged.

    A sixth top (S, 1, 1, 1), of ShuangLI59/person_search, is the number of the person of each region, `bg_aux_label` (0) for
    the background.
    """

    known_arguments = frozenset(("num_classes", "bg_aux_label"))
    n_bottoms = (2, 2)
    n_tops = (5, 6)
    dynamic_rows = 0
    is_exportable = False
    passes_first = True
    drawn: ClassVar[int] = 128  # BATCH_SIZE; a number beyond that of the regions takes all, like -1 in R-FCN's configuration
    fraction: ClassVar[float] = 0.25  # FG_FRACTION: largest fraction with labels other than the background
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
            raise self.error(f"param_str must set num_classes, a whole number of at least 2: {self.param.param_str!r}")
        self.classes = classes
        nobody = arguments(self.layer).get("bg_aux_label", 0)
        self.check(_is_number(nobody), f"bg_aux_label must be a number, not {nobody!r}")
        self.nobody = float(nobody)
        fits = len(self.layer.tops) < 6 or self.columns == 6
        self.check(fits, f"with six tops, gt_boxes must have rows of x1, y1, x2, y2, label, person, not {self.bottoms[1]}")
        columns = (5, 1, *[4 * classes] * 3, 1)[: len(self.layer.tops)]
        self.tops = [(1, number, 1, 1) for number in columns]

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
        label = torch.where(positive, labels[box, 0], 0)[rows]
        targets = self.targets(regions[rows, 1:], boxes[box[rows]].to(regions))
        weights = self.columns_of(label).to(regions)
        tops = [regions[rows], label.to(regions), torch.where(weights > 0, targets.repeat(1, self.classes), 0), weights, weights]
        if len(self.layer.tops) > 5:
            tops.append(torch.where(positive, labels[box, 1], self.nobody)[rows].to(regions))
        return [x.reshape(len(rows), -1, 1, 1) for x in tops]

    def targets(self, regions: Tensor, boxes: Tensor) -> Tensor:
        """Offsets (S, 4), normalized by their typical means and deviations."""
        return (offsets(regions, boxes) - regions.new_tensor(self.means)) / regions.new_tensor(self.deviations)

    def columns_of(self, label: Tensor) -> Tensor:
        """Mask (S, 4 * C) of the columns of each label (S,); none for the background."""
        import torch

        number = label.long().clamp(max=1) if self.classes == 2 else label.long()
        own = number.unsqueeze(1) == torch.arange(self.classes, device=label.device)
        return (own & (number > 0).unsqueeze(1)).repeat_interleave(4, 1)


def _values(shape: Shape) -> int:
    """Number of values in each row of a blob; 0 for a blob with fewer than two axes."""
    return math.prod(shape[1:]) if len(shape) > 1 else 0


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
