"""Proposals of a region proposal network: the C++ layer of Faster R-CNN's forks, and py-faster-rcnn's Python layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..base import LayerType
from ..detection import boxes as box_ops
from ..fields import Fields
from ..limits import LOWEST
from ..python import PythonLayer, arguments, register_python
from ..registry import register
from .quick_sort import onnx_quick_order, quick_order

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..forms.onnx_graph import OnnxGraph, Size


@register("Proposal")
class Proposal(LayerType):
    """Regions (R, 5), each its image's index and x1, y1, x2, y2, and optionally their scores (R,).

    Bottoms: scores (N, 2 * A, H, W), whose second half is the probability that each of A anchors contains an object; offsets
    (N, 4 * A, H, W); and the height, width and scale of each image (N, 3 or more). The anchors, one for each pair of a `ratio`
    and a `scale`, around each cell of `feat_stride` pixels, are moved by the offsets and clipped to the image. Those smaller
    than `min_size` (times the image's scale) stay, with a score of 0. The best `pre_nms_topn` go through suppression
    (`nms_thresh`), and the best `post_nms_topn` are kept (proposal_layer.cpp and nms.cpp of the forks; box widths count both
    end pixels). Equal scores are in the order in which the layer's quick sort leaves them.

    `scale` is in units of `base_size`, as in PVANet's and OpenVINO's forks; in happynear's it is in pixels, and files do not say
    which fork they are for.

    Attributes:
        anchors: corners (A, 4) of the boxes around the first cell.
    """

    param_name = "proposal_param"
    fields = Fields("feat_stride base_size min_size ratio scale pre_nms_topn post_nms_topn nms_thresh")
    n_bottoms = (3, 3)
    n_tops = (1, 2)
    has_gradient = False
    dynamic_rows = 0
    is_exportable = False
    least = 0.0  # smallest extent of an intersection, see `boxes.iou`

    def setup(self) -> None:
        p = self.param
        self.check(len(p.ratio) > 0 and len(p.scale) > 0, "give at least one ratio and one scale")
        self.configure(p.feat_stride, p.base_size, p.ratio, p.scale, lambda x: math.floor(x + 0.5))
        self.min_size, self.before, self.after, self.threshold = p.min_size, p.pre_nms_topn, p.post_nms_topn, p.nms_thresh
        self.check(self.before > 0 and self.after > 0, "pre_nms_topn and post_nms_topn must be positive")
        rows = self.bottoms[0][0] * self.after
        self.tops = [(rows, 5), (rows,)][: len(self.layer.tops)]

    def configure(
        self, stride: int, base: int, ratios: Sequence[float], scales: Sequence[float], rounded: Callable[[float], float]
    ) -> None:
        """Compute the anchors, and check the bottoms against their number.

        Args:
            stride: pixels per cell.
            base: pixels of a cell that the anchors are built around, see `anchor_corners`.
            ratios, scales: of the anchors.
            rounded: how to round their sizes.

        Raises:
            LayerError: a setting is not positive, or a bottom does not fit.
        """
        self.check(stride > 0, f"feat_stride must be positive, not {stride}")
        self.check(all(value > 0 for value in (base, *ratios, *scales)), "base_size, ratios and scales must be positive")
        self.stride = stride
        self.anchors = list(anchor_corners(base, ratios, scales, rounded))
        scores, offsets, info = self.bottoms
        a = len(self.anchors)
        for what, shape, channels in (("scores", scores, 2 * a), ("offsets", offsets, 4 * a)):
            self.check(len(shape) == 4 and shape[1] == channels, f"{a} anchors need {what} (N, {channels}, H, W), not {shape}")
        fits = (scores[0], *scores[2:]) == (offsets[0], *offsets[2:])
        self.check(fits, f"scores {scores} and offsets {offsets} do not fit together")
        self.facts = math.prod(info[1:])  # values per image
        self.check(len(info) > 1 and self.facts >= 3, f"im_info must hold height, width and scale of each image, not {info}")
        self.check(info[0] == scores[0], f"im_info {info} and scores {scores} differ in their batch")

    def example(self, index: int, rng: np.random.Generator) -> np.ndarray | None:
        """`im_info` for images whose size corresponds to the maps, with a scale of 1; see `LayerType.example`."""
        import numpy as np

        if index != 2:
            return None
        info = np.ones((self.bottoms[2][0], self.facts), np.float32)
        info[:, :2] = [side * self.stride for side in self.bottoms[0][2:]]
        return info.reshape(self.bottoms[2])

    def cells(self, rows: Any, columns: Any) -> list[Any]:
        """x1, y1, x2, y2 of the anchors around every cell, each (H * W * A, 1), float32.

        Args:
            rows, columns: 0, 1, 2, ... for each row and column of the map, float64: arrays, or values of an ONNX graph.
        """
        import numpy as np

        y, x = (rows * self.stride).reshape(-1, 1, 1), (columns * self.stride).reshape(1, -1, 1)
        x, y = x + 0 * y, y + 0 * x
        anchors = np.array(self.anchors, np.float64)
        return [(start + anchors[:, i]).reshape(-1, 1).astype("float32") for i, start in enumerate((x, y, x, y))]

    # ---- PyTorch

    def forward(self, *bottoms: Tensor, blobs: Sequence[Tensor], training: bool) -> Sequence[Tensor]:
        import numpy as np
        import torch

        scores, offsets, info = (x.detach() for x in bottoms)
        n, (height, width) = scores.shape[0], scores.shape[2:]
        info = info.reshape(n, -1).unsqueeze(1)  # (N, 1, facts)
        rows, columns = (np.arange(side, dtype=np.float64) for side in (height, width))
        anchors = torch.from_numpy(np.concatenate(self.cells(rows, columns), 1)).to(offsets)
        boxes = self.moved(anchors, offsets.permute(0, 2, 3, 1).reshape(n, -1, 4))
        boxes = boxes.clamp(min=0).minimum(info[:, :, [1, 0, 1, 0]] - 1)
        side = boxes[..., 2:] - boxes[..., :2] + 1
        large = (side >= info[..., self._scales()] * self.min_size).all(2)
        score, order = self.ranked(scores[:, len(self.anchors) :].permute(0, 2, 3, 1).reshape(n, -1), large)
        boxes = boxes.gather(1, order.unsqueeze(2).expand(-1, -1, 4))
        keep = self.kept(boxes, score > LOWEST)
        image, place = keep.nonzero(as_tuple=True)
        regions = torch.cat([image.to(boxes).unsqueeze(1), boxes[image, place]], 1)
        return [regions, self.score_rows(score[image, place])][: len(self.layer.tops)]

    def kept(self, boxes: Tensor, valid: Tensor) -> Tensor:
        """Mask (N, K) of the boxes (N, K, 4) that suppression leaves of those that are valid, the best first."""
        keep = box_ops.suppress(boxes, valid, self.threshold, pixel=1.0, least=self.least, limit=self.after)
        return keep & (keep.cumsum(1) <= self.after)

    def ranked(self, scores: Tensor, large: Tensor) -> tuple[Tensor, Tensor]:
        """The best scores, in descending order, and their indices, from scores (N, K) and a mask (N, K) of large enough boxes."""
        scores = scores * large
        order = quick_order(scores, self.before)
        return scores.gather(1, order), order

    def score_rows(self, scores: Tensor) -> Tensor:
        """The second top from scores (R,)."""
        return scores

    def moved(self, anchors: Tensor, offsets: Tensor) -> Tensor:
        """Boxes (N, K, 4): centers move by offsets times the size, and sizes are multiplied by the exponential of offsets."""
        size = anchors[:, 2:] - anchors[:, :2] + 1
        center = offsets[..., :2] * size + (anchors[:, :2] + 0.5 * size)
        half = 0.5 * (offsets[..., 2:].exp() * size)
        return box_ops.around(center, half)

    def _scales(self) -> list[int]:
        """Columns of `im_info` with the scales of width and height: forks with more than three values have one for each."""
        return [3, 2] if self.facts > 3 else [2, 2]

    # ---- ONNX

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> Sequence[str]:
        scores, offsets, info = bottoms
        a, (height, width) = len(self.anchors), (graph.dim(scores, axis, self.bottoms[0][axis]) for axis in (2, 3))
        total = height * width * a
        count = graph.at_most(total, self.before)
        info = graph.reshape(info, [-1, 1, self.facts])
        boxes = graph.reshape(graph.transpose(offsets, [0, 2, 3, 1]), [0, total, 4])
        boxes = self._onnx_moved(graph, boxes, self.cells(graph.range(height, "float64"), graph.range(width, "float64")))
        bounds = graph.add("Sub", graph.add("Gather", info, graph.ints(1, 0, 1, 0), axis=2), graph.scalar(1.0))
        boxes = graph.add("Min", graph.clip(boxes, 0.0, None), bounds)
        small = self._onnx_small(graph, boxes, info)
        scores = graph.transpose(graph.slice(scores, [a], [2 * a], [1]), [0, 2, 3, 1])
        scores, rows = self._onnx_ranked(graph, graph.reshape(scores, [0, total]), small, total, count)
        boxes = graph.add("Gather", graph.reshape(boxes, [-1, 4]), rows)

        place = graph.positions(self._onnx_kept(graph, boxes, scores))
        image = graph.cast(graph.add("Div", place, graph.constant(count, "int64")), "float32")
        box = graph.add("Gather", graph.reshape(boxes, [-1, 4]), place)
        regions = graph.add("Concat", graph.unsqueeze(image, [1]), box, axis=1)
        if len(self.layer.tops) == 1:
            return [regions]
        return [regions, self._onnx_score_rows(graph, graph.add("Gather", graph.reshape(scores, [-1]), place))]

    def _onnx_kept(self, graph: OnnxGraph, boxes: str, scores: str) -> str:
        """Emit `kept`, for the boxes with a score above LOWEST."""
        # NonMaxSuppression takes edges, which are one beyond the last pixels.
        edges = graph.add("Add", boxes, graph.constant([0.0, 0.0, 1.0, 1.0]))
        return box_ops.onnx_suppress(graph, edges, graph.unsqueeze(scores, [1]), self.threshold, score=LOWEST, limit=self.after)

    def _onnx_moved(self, graph: OnnxGraph, offsets: str, anchors: Sequence[Any]) -> str:
        """Emit `moved`."""
        x1, y1, x2, y2 = anchors
        extent = [x2 - x1 + 1, y2 - y1 + 1]
        middle = [x1 + 0.5 * extent[0], y1 + 0.5 * extent[1]]
        sizes, centers = (graph.add("Concat", *map(graph.constant, pair), axis=1) for pair in (extent, middle))
        move, grow = graph.split(offsets, [2, 2], 2)
        center = graph.affine(move, sizes, centers)
        half = graph.add("Mul", graph.add("Exp", grow), graph.add("Mul", graph.scalar(0.5), sizes))
        return box_ops.onnx_around(graph, center, half, 2)

    def _onnx_small(self, graph: OnnxGraph, boxes: str, info: str) -> str:
        """Mask (N, K) of the boxes that are too small."""
        low, high = graph.split(boxes, [2, 2], 2)
        side = graph.add("Add", graph.add("Sub", high, low), graph.scalar(1.0))
        scales = graph.add("Gather", info, graph.ints(*self._scales()), axis=2)
        least = graph.add("Mul", scales, graph.scalar(float(self.min_size)))
        wide, high = graph.split(graph.add("Less", side, least), [1, 1], 2)
        return graph.squeeze(graph.add("Or", wide, high), [2])

    def _onnx_ranked(self, graph: OnnxGraph, scores: str, small: str, total: Size, count: Size) -> tuple[str, str]:
        """The `count` best scores of each image (N, count), and row indices of their boxes among those of all images."""
        scores = graph.add("Mul", scores, graph.cast(graph.add("Not", small), "float32"))
        rows = onnx_quick_order(graph, scores, total, count)
        return graph.add("Gather", graph.reshape(scores, [-1]), rows), rows

    def _onnx_score_rows(self, graph: OnnxGraph, scores: str) -> str:
        return scores


@register_python("ProposalLayer", "rpn.proposal_layer")
class PythonProposal(PythonLayer, Proposal):
    """py-faster-rcnn's lib/rpn/proposal_layer.py, for one image. Boxes that are too small are dropped. Scores have the shape
    (R, 1, 1, 1), which Caffe declares before the first forward pass (after it, they are (R, 1)).

    `param_str` sets `feat_stride` and optionally `scales` (8, 16, 32); ratios are 0.5, 1, 2. The other settings were in the
    program's configuration, whose defaults are used: 300 of 6000 boxes are kept (in TRAIN, 2000 of 12000), the overlap is 0.7,
    and the minimum size 16.
    """

    known_arguments = frozenset(("feat_stride", "scales"))
    least = -1.0

    def setup(self) -> None:
        settings = arguments(self.layer)
        stride, scales = settings.get("feat_stride"), settings.get("scales", (8, 16, 32))
        if not isinstance(stride, int):
            raise self.error(f"param_str must set feat_stride, a whole number: {self.param.param_str!r}")
        numbers = isinstance(scales, (list, tuple)) and all(isinstance(scale, (int, float)) for scale in scales)
        self.check(numbers and len(scales) > 0, f"scales must be a list of numbers, not {scales!r}")
        # numpy, which the layer uses, rounds halves to the even number, as does Python.
        self.configure(stride, 16, (0.5, 1.0, 2.0), scales, round)
        self.check(self.bottoms[0][0] == 1, f"takes one image at a time, not {self.bottoms[0][0]}")
        self.min_size, self.threshold = 16, 0.7
        self.before, self.after = (6000, 300) if self.phase == "TEST" else (12000, 2000)
        self.tops = [(1, 5), (1, 1, 1, 1)][: len(self.layer.tops)]

    def ranked(self, scores: Tensor, large: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        scores, order = scores.masked_fill(~large, -torch.inf).sort(dim=1, descending=True, stable=True)
        return scores[:, : self.before], order[:, : self.before]

    def score_rows(self, scores: Tensor) -> Tensor:
        return scores.reshape(-1, 1, 1, 1)

    def _onnx_ranked(self, graph: OnnxGraph, scores: str, small: str, total: Size, count: Size) -> tuple[str, str]:
        scores = graph.add("Where", small, graph.scalar(float("-inf")), scores)
        scores, order = graph.add("TopK", scores, graph.ints(count), outputs=2, axis=1)
        return scores, self._onnx_rows(graph, scores, order, total)

    def _onnx_rows(self, graph: OnnxGraph, x: str, order: str, total: Size) -> str:
        """Indices of an image's boxes (N, K) as row indices into the boxes of all images."""
        if not graph.dynamic_batch and self.bottoms[0][0] == 1:
            return order
        start = graph.add("Mul", graph.count(x), graph.constant(total, "int64"))
        return graph.add("Add", order, graph.unsqueeze(start, [1]))

    def _onnx_score_rows(self, graph: OnnxGraph, scores: str) -> str:
        return graph.reshape(scores, [-1, 1, 1, 1])


def anchor_corners(
    base: int, ratios: Sequence[float], scales: Sequence[float], rounded: Callable[[float], float]
) -> list[list[float]]:
    """Corners (A, 4) of the anchors around the middle of a cell: for each ratio, one for each scale.

    Args:
        base: the cell's size in pixels.
        ratios: heights over widths.
        scales: sizes in units of `base`.
        rounded: how to round widths and heights before scaling.
    """
    center = 0.5 * (base - 1)
    boxes = []
    for ratio in ratios:
        width = rounded(math.sqrt(base * base / ratio))
        height = rounded(width * ratio)
        for scale in scales:
            x, y = 0.5 * (width * scale - 1), 0.5 * (height * scale - 1)
            boxes.append([center - x, center - y, center + x, center + y])
    return boxes
