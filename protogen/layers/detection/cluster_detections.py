"""ClusterDetections, the last layer of DetectNet: boxes from a grid of predictions, by OpenCV's grouping of rectangles.

Sources: python/caffe/layers/detectnet/clustering.py of NVIDIA/caffe; `groupRectangles` in
modules/objdetect/src/cascadedetect.cpp and the conversion of lists in modules/python/src2/cv2.cpp of opencv/opencv, versions 2.4
and 3 (later ones refuse the layer's list).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..python import PythonLayer, register_python
from .onnx_clusters import MAX_BOXES, Clustering, cluster

if TYPE_CHECKING:
    from torch import Tensor

    from ..forms.onnx_graph import OnnxGraph

PARAM_STR = "image width, image height, stride, least coverage, group threshold, group eps, least height[, classes]"


@register_python("ClusterDetections", "caffe.layers.detectnet.clustering")
class ClusterDetections(PythonLayer):
    """Boxes (N, 50, 5) of each class, a top per class: x1, y1, x2, y2 and a confidence, zeros after the last one.

    Bottoms: coverage (N, classes, H, W) and boxes (N, 4, H, W), which hold the corners relative to each cell's. `param_str` lists
    the image's width and height, the stride, the least coverage, the group threshold, the group eps, the least height of a box,
    and optionally the number of classes (1). Boxes of the cells with enough coverage are rounded to pixels. Those that are
    similar, directly or through others, make one group, whose box is their mean and whose confidence is the logarithm of their
    number. Groups of no more boxes than the threshold go, and those inside a larger group. The numbers of the tops are rounded
    to half precision.

    Caffe fails where an image has more than 50 boxes of a class; here the first 50 are returned.
    """

    n_bottoms = (2, 2)
    n_tops = (1, None)
    has_gradient = False
    is_postprocess = True
    is_exportable = False

    def setup(self) -> None:
        width, height, stride, least, threshold, eps, min_height, classes = self._settings()
        self.check(stride > 0 and width % stride == 0 and height % stride == 0 and min(width, height) > 0,
                   f"the image's size, {width}x{height}, must be a multiple of the stride, {stride}")  # fmt: skip
        self.check(threshold > 0, f"the group threshold must be positive, not {threshold}")
        coverage, boxes = self.bottoms
        self.check(len(coverage) == 4 and coverage[1] == classes, f"coverage must be (N, {classes}, H, W), not {coverage}")
        wanted = (coverage[0], 4, *coverage[2:])
        self.check(boxes == wanted, f"boxes for a coverage of {coverage} must be {wanted}, not {boxes}")
        self.check(len(self.layer.tops) == classes, f"needs a top for each of {classes} classes, has {len(self.layer.tops)}")
        grid = (min(height // stride, coverage[2]), min(width // stride, coverage[3]))
        steps = math.ceil(math.log2(max(grid[0] * grid[1], 2)))  # chains of similar boxes double in length with each
        self.settings = Clustering(coverage, grid, stride, least, threshold, eps, min_height, steps)
        self.tops = [(coverage[0], MAX_BOXES, 5)] * classes

    def _settings(self) -> tuple[int, int, int, float, int, float, int, int]:
        parts = self.param.param_str.split(",")
        try:
            width, height, stride = (int(part) for part in parts[:3])
            least, eps = float(parts[3]), float(parts[5])
            threshold, min_height = int(parts[4]), int(parts[6])
            classes = int(parts[7]) if len(parts) > 7 else 1
        except (ValueError, IndexError):
            raise self.error(f"param_str must be {PARAM_STR!r}, not {self.param.param_str!r}") from None
        return width, height, stride, least, threshold, eps, min_height, classes

    def refusals(self) -> list[str]:
        return super(PythonLayer, self).refusals()

    # ---- PyTorch

    def forward(self, coverage: Tensor, boxes: Tensor, *, blobs: Sequence[Tensor], training: bool) -> list[Tensor]:
        import torch

        (height, width), (n, classes) = self.settings.grid, coverage.shape[:2]
        found = coverage.detach()[:, :, :height, :width] >= self.settings.least
        image, kind, y, x = found.nonzero(as_tuple=True)
        cell = torch.stack([x, y, x, y], 1) * self.settings.stride
        corners = boxes.detach()[image, :, y, x].double() + cell
        set_of = image * classes + kind
        rects = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1).round()  # x, y, width, height
        same_set = set_of[:, None] == set_of
        counts, means, first = self.grouped(rects, same_set)
        not_zero = ((corners != 0).any(1)[:, None] & same_set).any(0)
        kept = self.chosen(counts, means, first & not_zero, same_set)
        rank = (same_set & kept[:, None]).double().triu(1).sum(0).long()
        kept &= rank < MAX_BOXES
        ends = torch.cat([means[:, :2], means[:, :2] + means[:, 2:], counts.log()[:, None]], 1)
        rows = coverage.new_zeros((n * classes * MAX_BOXES, 5))
        rows[(set_of * MAX_BOXES + rank)[kept]] = ends[kept].half().to(rows)
        return list(rows.reshape(n, classes, MAX_BOXES, 5).unbind(1))

    def grouped(self, rects: Tensor, same_set: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """For each of P boxes, its group's number of boxes (P,) and mean (P, 4), and whether it is the group's first box (P,)."""
        import torch

        size = torch.minimum(rects[:, None, 2:], rects[:, 2:]).sum(2)
        ends = torch.cat([rects[:, :2], rects[:, :2] + rects[:, 2:]], 1)
        near = ((ends[:, None] - ends).abs() <= (self.settings.eps * size * 0.5)[:, :, None]).all(2)
        number = len(rects)
        linked = (near & same_set | torch.eye(number, dtype=torch.bool, device=rects.device)).float()
        for _ in range(self.settings.steps):
            linked = (linked @ linked).clamp(max=1)
        counts = linked.sum(1)
        means = ((linked.double() @ rects).float() * (1 / counts)[:, None]).round().double()
        return counts.double(), means, linked.tril(-1).sum(1) == 0

    def chosen(self, counts: Tensor, means: Tensor, first: Tensor, same_set: Tensor) -> Tensor:
        """Mask of the groups, each at its first box, that are large enough and not inside a larger one."""
        large = first & (counts > self.settings.threshold)
        low, size = means[:, :2], means[:, 2:]
        slack = (size * self.settings.eps).round()
        within = (low[:, None] >= low - slack).all(2) & ((low + size)[:, None] <= low + size + slack).all(2)
        weaker = (counts > counts[:, None].clamp(min=3)) | (counts < 3)[:, None]
        other = large & same_set & ~same_set.new_ones(same_set.shape).tril().triu()
        return large & ~(within & weaker & other).any(1) & (size[:, 1] >= self.settings.min_height)

    # ---- ONNX

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> list[str]:
        if graph.dynamic_size:
            raise graph.refuse("the size of its grid is part of param_str; open sizes (--dynamic-size) are not possible")
        return cluster(self.settings, graph, *bottoms)
