"""Metrics: Accuracy (caffe/layers/accuracy_layer.cpp), and the forks' SegAccuracy and SegmentationEvaluate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .base import LayerType, count
from .fields import Fields
from .loss import legacy
from .registry import register

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Measure(LayerType):
    """Compares predictions (N, C, ...), the first bottom, to labels, the second; has no gradient and no ONNX form."""

    n_bottoms = (2, 2)
    has_gradient = False
    index_bottoms = (1,)
    only_trains = True
    onnx_note = "accuracy is for testing while training"


@register("Accuracy")
class Accuracy(Measure):
    """Fraction of labels among the `top_k` (1) best classes along `axis` (1); the second top (C,) has it for each class.

    Predictions (N, C, ...), labels (N, ...). A class with the same score as the label's counts as better. Items with
    `ignore_label` are left out; the accuracy over no items is 0.
    """

    param_name = "accuracy_param"
    fields = Fields("top_k axis ignore_label")
    n_tops = (1, 2)

    def setup(self) -> None:
        p = self.param
        shape, label = self.bottoms
        self.over = self.axis(p.axis)
        self.classes, self.top_k = shape[self.over], int(p.top_k)
        self.ignore_label: int | None = p.get("ignore_label")
        items = count(shape) // max(self.classes, 1)
        self.check(
            items == count(label),
            f"needs {items} labels, one per prediction of {shape} along axis {self.over}, not {label}",
        )
        self.check(self.top_k <= self.classes, f"top_k {self.top_k} is more than the {self.classes} classes")
        self.tops = [(), (self.classes,)][: len(self.layer.tops)]

    def forward(self, x: Tensor, label: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor | list[Tensor]:
        import torch

        outer, inner = math.prod(x.shape[: self.over]), math.prod(x.shape[self.over + 1 :])
        scores = x.detach().reshape(outer, self.classes, inner)
        whole = label.reshape(outer, 1, inner).long()
        valid = torch.ones_like(whole, dtype=torch.bool) if self.ignore_label is None else whole != self.ignore_label
        whole = whole.masked_fill(~valid, 0)
        # The count includes the label's own class, hence "at most top_k".
        better = (scores >= scores.gather(1, whole)).sum(1, keepdim=True)
        right = (better <= self.top_k) & valid
        accuracy = right.sum().to(x.dtype) / valid.sum().clamp(min=1)
        if len(self.layer.tops) < 2:
            return accuracy
        zeros = torch.zeros(self.classes, dtype=torch.long, device=x.device)
        index = whole.reshape(-1)
        hits = zeros.scatter_add(0, index, right.reshape(-1).long())
        total = zeros.scatter_add(0, index, valid.reshape(-1).long())
        return [accuracy, hits.to(x.dtype) / total.clamp(min=1)]


@register("SegAccuracy")
class SegAccuracy(Measure):
    """Pixel accuracy, mean recall over the classes present, and mean intersection over union, as one blob (1, 1, 1, 3).

    Scores (N, C, H, W) and labels (N, 1, H, W); a single channel means two classes, split at 0.5. Pixels with an `ignore_label`
    (it may be repeated) or a label that is not a class are left out. A class that is neither present nor predicted has an IoU of
    1. Counts are reset for each batch, as with `reset: true` (seg_accuracy_layer.cpp and confusion_matrix.cpp of hszhao/PSPNet).
    """

    param_name = "seg_accuracy_param"
    fields = Fields("ignore_label", metric="hszhao/PSPNet src/caffe/layers/seg_accuracy_layer.cpp:102: all three are computed")

    def setup(self) -> None:
        scores, label = self.bottoms
        self.check(max(len(scores), len(label)) <= 4, f"its bottoms have at most 4 axes (N, C, H, W), not {scores} and {label}")
        self.check(legacy(label, 1) == 1, f"its labels have one channel, not {label}")
        same = all(legacy(scores, axis) == legacy(label, axis) for axis in (0, 2, 3))
        self.check(same and legacy(scores, 1) > 0, f"scores {scores} and labels {label} must agree in all but the channels")
        self.classes = max(legacy(scores, 1), 2)
        self.ignored = list(self.param.ignore_label)
        self.tops = [(1, 1, 1, 3)]

    def forward(self, scores: Tensor, label: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        predicted = (scores > 0.5).long() if legacy(self.bottoms[0], 1) == 1 else scores.argmax(1)
        actual, predicted = label.reshape(-1).long(), predicted.reshape(-1)
        valid = (actual >= 0) & (actual < self.classes)
        for ignored in self.ignored:
            valid = valid & (actual != ignored)
        cell = torch.where(valid, actual * self.classes + predicted, self.classes**2)  # the last bin is discarded
        bins = torch.zeros(self.classes**2 + 1, dtype=torch.long, device=scores.device)
        matrix = bins.scatter_add(0, cell, torch.ones_like(cell))[:-1].reshape(self.classes, self.classes).float()
        hits, labelled, union = matrix.diagonal(), matrix.sum(1), matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
        accuracy = hits.sum() / labelled.sum().clamp(min=1)
        recall = (hits / labelled.clamp(min=1)).sum() / (labelled > 0).sum().clamp(min=1)
        jaccard = torch.where(union > 0, hits / union.clamp(min=1), 1.0).mean()
        return torch.stack([accuracy, recall, jaccard]).reshape(1, 1, 1, 3).to(scores.dtype)


@register("SegmentationEvaluate")
class SegmentationEvaluate(Measure):
    """Intersection over union of each class in the first image, (1, 1, 1, C); a pixel belongs to all classes above `threshold`.

    Predictions and labels (N, C, H, W), planes of values from 0 to 1. A class without any correct pixel has 0. If the sizes
    differ, Caffe shrinks 8-bit images of the predictions with OpenCV, which has no PyTorch form
    (segmentation_evaluate_layer.cpp of eric612/MobileNet-YOLO).
    """

    param_name = "segmentation_evaluate_param"
    fields = Fields("num_classes threshold")

    def setup(self) -> None:
        predicted, label = self.bottoms
        self.check("num_classes" in self.param, "num_classes is missing")
        self.check(len(predicted) == len(label) == 4, f"takes bottoms with 4 axes (N, C, H, W), not {predicted} and {label}")
        self.check(predicted[1] == label[1], f"predictions {predicted} and labels {label} must have the same number of channels")
        self.threshold: float = self.param.threshold
        self.tops = [(1, 1, 1, label[1])]

    def module(self) -> torch.nn.Module:
        predicted, label = self.bottoms
        same = predicted[2:] == label[2:]
        self.check(same, f"predictions {predicted} and labels {label} of different sizes have no PyTorch form")
        return super().module()

    def forward(self, x: Tensor, label: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        predicted, actual = (planes[0].flatten(1) > self.threshold for planes in (x, label))
        hits, either = (predicted & actual).sum(1), (predicted | actual).sum(1)
        return (hits.float() / either.clamp(min=1)).reshape(1, 1, 1, -1).to(x.dtype)
