"""YoloSeg, the loss of MobileNet-YOLO's segmentation branch (yolo_seg.cpp of eric612/MobileNet-YOLO)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from ..base import count
from ..fields import Fields
from ..loss import Loss, legacy, straight_through
from ..registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("YoloSeg")
class YoloSeg(Loss):
    """Squares of scale * (sigmoid(x) - label), summed and divided by N; the gradient is scale * (sigmoid(x) - label) / N.

    Bottoms: predictions (N, C, H, W), labels of that size, and the sum of each class's labels (N, C). The scale is
    `object_scale` (5), and where the label is above 0.5 also the factor 2 - (sum of labels) / (pixels minus that sum) of its
    class in the batch. As in the fork, the other parameters have no effect (yolo_seg.cpp).
    """

    param_name = "yolo_seg_param"
    prediction = "Sigmoid"
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

    def forward(self, x: Tensor, label: Tensor, positive: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        images, channels, height, width = x.shape
        goal = label.detach().reshape(x.shape).to(x.dtype)
        sums = positive.detach().to(x.dtype).reshape(images, channels, 1, 1).sum(0)
        weight = torch.where(goal > 0.5, 2 - sums / (images * height * width - sums), 1)
        delta = self.object_scale * weight * (x.detach().sigmoid() - goal)
        return straight_through(delta.square().sum() / images, (x * delta).sum() / images)
