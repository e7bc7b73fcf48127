"""DetectionEvaluate: compares detections to the ground truth, from which a mean average precision is computed."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from ..base import LayerType
from ..detection import boxes as box_ops
from ..fields import Fields
from ..registry import register

if TYPE_CHECKING:
    from torch import Tensor

Row = list[float]


@register("DetectionEvaluate")
class DetectionEvaluate(LayerType):
    """True and false positives among detections (SSD, caffe/layers/detection_evaluate_layer.cpp).

    Bottoms: detections (1, 1, K, 7) of image, label, score, x1, y1, x2, y2, and ground truth (1, 1, G, 8) of image, label,
    instance, box, difficult. Top (1, 1, classes + K, 5): first -1, label, number of boxes to find, -1, -1 for each class but the
    background, then image, label, score, true positive, false positive for each detection. How many of the K rows are detections
    is data-dependent; the shape of the top assumes all. Boxes are compared in relative coordinates; a `name_size_file`, which
    makes Caffe compare pixels, is refused.
    """

    param_name = "detection_evaluate_param"
    fields = Fields("num_classes background_label_id overlap_threshold evaluate_difficult_gt")
    n_bottoms = (2, 2)
    has_gradient = False
    is_postprocess = True
    is_exportable = False
    only_trains = True
    onnx_note = "it evaluates detections against ground truth"

    def setup(self) -> None:
        p, (detections, truth) = self.param, self.bottoms
        self.check(p.num_classes > 0, "num_classes must be positive")
        self.check(p.overlap_threshold > 0, f"overlap_threshold must be positive, not {p.overlap_threshold:g}")
        for what, shape, width in (("detections", detections, 7), ("ground truth", truth, 8)):
            fits = len(shape) == 4 and shape[:2] == (1, 1) and shape[3] == width
            self.check(fits, f"the {what} must have the shape (1, 1, rows, {width}), not {shape}")
        self.classes = [label for label in range(p.num_classes) if label != p.background_label_id]
        self.tops = [(1, 1, len(self.classes) + detections[2], 5)]

    def forward(self, x: Tensor, truth: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        boxes = _by_image_and_label(_until_padding(truth.reshape(-1, 8).tolist()))
        detections = x.reshape(-1, 7).tolist()
        rows = [[-1.0, label, self._to_find(label, boxes), -1.0, -1.0] for label in self.classes]
        for key, group in sorted(_by_image_and_label([row for row in detections if row[0] != -1 and row[1] != -1]).items()):
            rows += self._judge(group, boxes.get(key, []))
        missing = len(self.classes) + sum(row[1] != -1 for row in detections) - len(rows)
        return x.new_tensor(rows + [[0.0] * 5] * missing).reshape(1, 1, -1, 5)

    def _to_find(self, label: int, boxes: dict[tuple[int, int], list[Row]]) -> int:
        """The number of boxes of a label that count: all, or those that are not difficult."""
        every = self.param.evaluate_difficult_gt
        return sum(bool(every or not row[7]) for key, rows in boxes.items() if key[1] == label for row in rows)

    def _judge(self, detections: list[Row], truth: list[Row]) -> list[Row]:
        """Rows of the top for the detections of one label in one image; detections claim boxes in order of their scores."""
        import torch

        if truth:
            detections = sorted(detections, key=lambda row: -row[2])
        corners = ([row[3:7] for row in rows] for rows in (detections, truth))
        boxes, true = (torch.tensor(rows, dtype=torch.float64).reshape(-1, 4) for rows in corners)
        overlap = box_ops.iou(boxes.unsqueeze(1), true, guarded=True).tolist()
        taken: set[int] = set()
        result = []
        for (image, label, score, *_), overlaps in zip(detections, overlap):
            best = max(range(len(overlaps)), key=overlaps.__getitem__, default=-1)
            hit = best >= 0 and overlaps[best] >= self.param.overlap_threshold
            counts = not hit or self.param.evaluate_difficult_gt or not truth[best][7]
            first = hit and best not in taken
            result.append([image, label, score, float(counts and first), float(counts and not first)])
            if hit and counts:
                taken.add(best)
        return result


def _until_padding(truth: list[Row]) -> list[Row]:
    """Ground truth up to the first row of image -1, the padding of a batch without any boxes."""
    end = next((i for i, row in enumerate(truth) if row[0] == -1), len(truth))
    return truth[:end]


def _by_image_and_label(rows: list[Row]) -> dict[tuple[int, int], list[Row]]:
    def key(row: Row) -> tuple[int, int]:
        return (int(row[0]), int(row[1]))

    return {place: list(group) for place, group in groupby(sorted(rows, key=key), key)}
