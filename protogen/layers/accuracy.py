"""How good predictions are: Accuracy (caffe/layers/accuracy_layer.cpp), SegAccuracy and SegmentationEvaluate of forks."""

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
    """How good predictions (N, C, ...), the first bottom, are by labels, the second; without gradient or ONNX form."""

    n_bottoms = (2, 2)
    has_gradient = False
    index_bottoms = (1,)
    only_trains = True
    onnx_note = "accuracy is for testing while training"


@register("Accuracy")
class Accuracy(Measure):
    """Share of labels among the `top_k` (1) best classes along `axis` (1); the second top (C,) is that of each class.

    Predictions (N, C, ...), labels (N, ...). A class counts as better than the label's also where both score the same.
    `ignore_label` leaves items out; a share of none is 0.
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
            f"needs {items} labels, one for each prediction of {shape} along axis {self.over}, not {label}",
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
        # The label's own class is at least as good as itself, hence "at most top_k".
        better = (scores >= scores.gather(1, whole)).sum(1, keepdim=True)
        right = (better <= self.top_k) & valid
        share = right.sum().to(x.dtype) / valid.sum().clamp(min=1)
        if len(self.layer.tops) < 2:
            return share
        zeros = torch.zeros(self.classes, dtype=torch.long, device=x.device)
        index = whole.reshape(-1)
        hits = zeros.scatter_add(0, index, right.reshape(-1).long())
        total = zeros.scatter_add(0, index, valid.reshape(-1).long())
        return [share, hits.to(x.dtype) / total.clamp(min=1)]


@register("SegAccuracy")
class SegAccuracy(Measure):
    """Pixel accuracy, mean recall over the classes seen, and mean intersection over union, as one blob (1, 1, 1, 3).

    Scores (N, C, H, W) and labels (N, 1, H, W); one channel is a yes or no at 0.5. Pixels with an `ignore_label` (several
    may be given) or a label that is no class are left out. A class that is neither there nor predicted has a union of 1.
    Counts start anew with each batch, as `reset: true` says (seg_accuracy_layer.cpp and confusion_matrix.cpp of
    hszhao/PSPNet).
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
        cell = torch.where(valid, actual * self.classes + predicted, self.classes**2)  # the last bin is thrown away
        bins = torch.zeros(self.classes**2 + 1, dtype=torch.long, device=scores.device)
        matrix = bins.scatter_add(0, cell, torch.ones_like(cell))[:-1].reshape(self.classes, self.classes).float()
        hits, there, union = matrix.diagonal(), matrix.sum(1), matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
        accuracy = hits.sum() / there.sum().clamp(min=1)
        recall = (hits / there.clamp(min=1)).sum() / (there > 0).sum().clamp(min=1)
        jaccard = torch.where(union > 0, hits / union.clamp(min=1), 1.0).mean()
        return torch.stack([accuracy, recall, jaccard]).reshape(1, 1, 1, 3).to(scores.dtype)


@register("SegmentationEvaluate")
class SegmentationEvaluate(Measure):
    """Intersection over union of each class, (1, 1, 1, C), of the first image: a pixel belongs to all classes above `threshold`.

    Predictions and labels (N, C, H, W), planes of 0 to 1. A class that is never hit has 0. Where the sizes differ Caffe shrinks
    8-bit images of the predictions by OpenCV, for which there is no PyTorch form (segmentation_evaluate_layer.cpp of
    eric612/MobileNet-YOLO).
    """

    param_name = "segmentation_evaluate_param"
    fields = Fields("num_classes threshold")

    def setup(self) -> None:
        found, label = self.bottoms
        self.check("num_classes" in self.param, "num_classes is missing")
        self.check(len(found) == len(label) == 4, f"its bottoms have 4 axes (N, C, H, W), not {found} and {label}")
        self.check(found[1] == label[1], f"predictions {found} and labels {label} must have as many channels")
        self.threshold: float = self.param.threshold
        self.tops = [(1, 1, 1, label[1])]

    def module(self) -> torch.nn.Module:
        found, label = self.bottoms
        self.check(found[2:] == label[2:], f"predictions {found} and labels {label} of different sizes have no PyTorch form")
        return super().module()

    def forward(self, found: Tensor, label: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        said, true = (x[0].flatten(1) > self.threshold for x in (found, label))
        hits, either = (said & true).sum(1), (said | true).sum(1)
        return (hits.float() / either.clamp(min=1)).reshape(1, 1, 1, -1).to(found.dtype)
