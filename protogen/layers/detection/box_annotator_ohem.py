"""BoxAnnotatorOHEM: selects the hardest boxes in R-FCN's training (box_annotator_ohem_layer.cu of daijifeng001/caffe-rfcn)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..base import LayerType
from ..fields import Fields
from ..loss import legacy
from ..registry import register

if TYPE_CHECKING:
    from torch import Tensor


@register("BoxAnnotatorOHEM")
class BoxAnnotatorOHEM(LayerType):
    """Online hard example mining: keeps the `roi_per_img` boxes of each image with the highest losses.

    Bottoms: rois (R, 5), their losses, labels and box weights (R, K). Tops: labels (R, 1, H, W), `ignore_label` (-1) for boxes
    that are not kept, and box weights (R, K, H, W), 0 for these (box_annotator_ohem_layer of daijifeng001/caffe-rfcn).
    """

    param_name = "box_annotator_ohem_param"
    fields = Fields("roi_per_img ignore_label")
    n_bottoms = (4, 4)
    n_tops = (2, 2)
    has_gradient = False
    index_bottoms = (2,)
    only_trains = True
    onnx_note = "mining is for training only"

    def setup(self) -> None:
        rois, loss, labels, weights = self.bottoms
        self.kept = int(self.param.roi_per_img or 0)
        self.check(self.kept > 0, "roi_per_img must be set, and positive")
        self.check(all(len(shape) <= 4 for shape in self.bottoms), "its bottoms must have at most 4 axes")
        self.check(legacy(rois, 1) == 5, f"its first bottom must be (rois, 5), not {rois}")
        self.check(legacy(loss, 1) == legacy(labels, 1) == 1, f"losses {loss} and labels {labels} must have one channel")
        fits = all(legacy(shape, axis) == legacy(rois, axis) for shape in (loss, labels, weights) for axis in (0, 2, 3))
        self.check(fits, f"bottoms {rois}, {loss}, {labels} and {weights} must agree in all but the channels")
        places = (legacy(rois, 2), legacy(rois, 3))
        self.tops = [(rois[0], 1, *places), (rois[0], legacy(weights, 1), *places)]

    def forward(
        self, rois: Tensor, loss: Tensor, labels: Tensor, weights: Tensor, *, blobs: Sequence[Tensor], training: bool
    ) -> list[Tensor]:
        import torch

        n, places = rois.shape[0], self.tops[0][2:]
        image = rois.detach().reshape(n, 5, -1)[:, 0].reshape(-1).long()
        order = loss.detach().reshape(-1).argsort(descending=True, stable=True)
        order = order[image[order].argsort(stable=True)]  # by image, the highest loss first
        sorted_image = image[order].contiguous()
        rank = torch.arange(order.numel(), device=rois.device) - torch.searchsorted(sorted_image, sorted_image)
        kept = torch.empty_like(order).scatter(0, order, rank) < self.kept
        kept = kept.reshape(n, 1, *places)
        top = labels.detach().reshape(n, 1, *places).masked_fill(~kept, float(self.param.ignore_label))
        return [top, weights.detach().reshape(n, -1, *places).masked_fill(~kept, 0)]
