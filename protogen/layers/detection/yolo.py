"""Detections of YOLO v2 and v3 in the form of MobileNet-YOLO."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ..base import LayerType
from ..detection import boxes as box_ops
from ..fields import Fields
from ..limits import LOWEST
from ..registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from ..forms.onnx_graph import OnnxGraph


class YoloOutput(LayerType):
    """Detections (1, 1, rows, 7), the best first, as rows of 0, class + 1, score, x1, y1, x2, y2.

    Each bottom (N, boxes * (5 + classes), S, S) predicts boxes around the cells of a square grid: x and y within the cell, the
    logarithms of width and height over those of an anchor, the probability of an object, and class scores. A single suppression
    covers all bottoms, images and classes; an overlap of `nms_threshold` or more drops a box. If there are no detections, each
    image has one row: its index, then -1.

    Attributes:
        anchors: for each bottom, width and height of its anchors, in pixels or cells (see `unit`).
        scores_per_box: number of candidate detections per box.
    """

    n_bottoms: ClassVar[tuple[int, int | None]] = (1, None)
    has_gradient = False
    is_postprocess = True
    dynamic_rows = 2
    is_exportable = False
    inclusive = False  # whether a score equal to the threshold counts
    scores_per_box = 1

    def setup(self) -> None:
        p = self.param
        self.check("num_classes" in p, "num_classes is missing")
        self.classes, self.boxes = p.num_classes, p.num_box
        self.check(self.classes > 0 and self.boxes > 0, "num_classes and num_box must be positive")
        channels = self.boxes * (5 + self.classes)
        for shape in self.bottoms:
            fits = len(shape) == 4 and shape[1] == channels and shape[2] == shape[3]
            self.check(fits, f"needs bottoms (N, {channels}, S, S), {self.boxes} boxes of 5 + {self.classes} values, not {shape}")
        self.anchors = [self.anchors_of(i) for i in range(len(self.bottoms))]
        self.tops = [(1, 1, 1, 7)]

    def anchors_of(self, i: int) -> list[tuple[float, float]]:
        """Width and height of each anchor of bottom `i`, in pixels or cells."""
        raise NotImplementedError

    def unit(self, i: int, side: Any) -> Any:
        """Size of the image in the unit of the anchors of bottom `i`, which has `side` cells per row."""
        raise NotImplementedError

    def anchor(self, index: int) -> tuple[float, float]:
        """Width and height of an anchor, from `biases`.

        Raises:
            LayerError: there are not enough `biases`.
        """
        self.check(2 * index + 1 < len(self.param.biases), f"{len(self.param.biases)} biases have no anchor {index}")
        return (self.param.biases[2 * index], self.param.biases[2 * index + 1])

    def grid(self, line: Any) -> list[Any]:
        """x and y of each cell, each (S * S, 1, 1), from those along a row or column: 0, 1, 2, ... S - 1."""
        x, y = line.reshape(1, -1), line.reshape(-1, 1)
        return [(x + 0 * y).reshape(-1, 1, 1), (y + 0 * x).reshape(-1, 1, 1)]

    # ---- PyTorch

    def forward(self, *bottoms: Tensor, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        parts = [self._candidates(i, x.detach()) for i, x in enumerate(bottoms)]
        boxes, scores, labels = (torch.cat(values) for values in zip(*parts))
        scores, order = scores.sort(descending=True, stable=True)
        center, size = boxes[order].split(2, 1)
        boxes = box_ops.around(center, size / 2)
        valid = torch.ones_like(scores, dtype=torch.bool)
        keep = box_ops.suppress(boxes[None], valid[None], self.param.nms_threshold, inclusive=True)[0]
        rows = torch.stack([torch.zeros_like(scores), labels[order].to(scores) + 1, scores], 1)
        return box_ops.rows_or_none(torch.cat([rows, boxes], 1)[keep], bottoms[0].shape[0])

    def _candidates(self, i: int, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (x, y, width, height), scores and labels of bottom `i` that pass the threshold."""
        import torch

        side = x.shape[3]
        x = x.reshape(x.shape[0], self.boxes, -1, side * side).permute(0, 3, 1, 2)  # (N, S * S, boxes, 5 + classes)
        place, size, objectness, classes = x.split([2, 2, 1, self.classes], 3)
        center = (torch.cat(self.grid(torch.arange(side, device=x.device)), 2).to(x) + place.sigmoid()) / side
        size = size.exp() * x.new_tensor(self.anchors[i]) / self.unit(i, side)
        boxes = torch.cat([center, size], 3).reshape(-1, 4)
        scores, labels = self.scores(objectness.sigmoid(), classes)
        limit = self.param.confidence_threshold
        index = (scores >= limit if self.inclusive else scores > limit).reshape(-1).nonzero().squeeze(1)
        return boxes[index // scores.shape[3]], scores.reshape(-1)[index], labels.expand_as(scores).reshape(-1)[index]

    def scores(self, objectness: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (N, S * S, boxes, n) and labels that broadcast against them."""
        raise NotImplementedError

    # ---- ONNX

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        import numpy as np

        threshold, limit = np.float32(self.param.nms_threshold), np.float32(self.param.confidence_threshold)
        if threshold <= 0:
            raise graph.refuse(f"nms_threshold must be positive, but is {threshold}")
        parts = [self._onnx_candidates(graph, i, x) for i, x in enumerate(bottoms)]
        boxes, scores, labels = (graph.add("Concat", *values, axis=0) if len(values) > 1 else values[0] for values in zip(*parts))
        if self.inclusive:
            limit = np.nextafter(limit, np.float32(-np.inf))
        index = graph.positions(graph.cast(graph.add("Greater", scores, graph.scalar(float(limit))), "float32"))
        # Add a candidate that never counts: OpenCV supports neither sorting an empty tensor nor suppression without boxes.
        scores = graph.add("Concat", graph.add("Gather", scores, index), graph.constant([LOWEST]), axis=0)
        index = graph.add("Concat", index, graph.ints(0), axis=0)
        scores, order = graph.add("TopK", scores, graph.add("Shape", scores), outputs=2, axis=0)
        index = graph.add("Gather", index, order)
        per_box = graph.constant(self.scores_per_box, "int64")
        boxes = graph.add("Gather", boxes, graph.add("Div", index, per_box))
        labels = graph.add("Gather", labels, index)

        # An overlap equal to the threshold drops a box, so use the number just below it.
        below = float(np.nextafter(threshold, np.float32(0)))
        group, group_scores = graph.unsqueeze(boxes, [0]), graph.unsqueeze(scores, [0, 1])
        keep = box_ops.onnx_suppress(graph, group, group_scores, below, score=float(limit), limit=box_ops.ALL, center=True)
        kept = graph.positions(keep)
        boxes, scores, labels = (graph.add("Gather", value, kept) for value in (boxes, scores, labels))
        center, size = graph.split(boxes, [2, 2], 1)
        half = graph.add("Div", size, graph.scalar(2.0))
        corners = box_ops.onnx_around(graph, center, half, 1)
        image = graph.add("Mul", labels, graph.scalar(0.0))
        rows = box_ops.onnx_rows(graph, [image, labels, scores], corners)
        return box_ops.onnx_rows_or_none(graph, rows, bottoms[0])

    def _onnx_candidates(self, graph: OnnxGraph, i: int, x: str) -> tuple[str, str, str]:
        """Boxes (M, 4) of bottom `i`, and their scores and labels (class + 1), each (M * scores_per_box,)."""
        side: Any = graph.dim(x, 3, self.bottoms[i][3])
        x = graph.transpose(graph.reshape(x, [0, self.boxes, 5 + self.classes, side * side]), [0, 3, 1, 2])
        place, size, objectness, classes = graph.split(x, [2, 2, 1, self.classes], 3)
        grid = graph.add("Concat", *map(graph.constant, self.grid(graph.range(side, "float32"))), axis=2)
        center = graph.add("Add", grid, graph.add("Sigmoid", place))
        center = graph.add("Div", center, graph.scalar(side))
        size = graph.add("Mul", graph.add("Exp", size), graph.constant(self.anchors[i]))
        size = graph.add("Div", size, graph.scalar(self.unit(i, side)))
        boxes = graph.reshape(graph.add("Concat", center, size, axis=3), [-1, 4])
        scores, labels = self.onnx_scores(graph, graph.add("Sigmoid", objectness), classes)
        return boxes, graph.reshape(scores, [-1]), graph.reshape(labels, [-1])

    def onnx_scores(self, graph: OnnxGraph, objectness: str, classes: str) -> tuple[str, str]:
        """Emit `scores`, with labels of the same shape as the scores, counted from 1, as float32.

        Args:
            graph: the graph to emit into.
            objectness: value of the objectness (N, S * S, boxes, 1).
            classes: value of the class predictions (N, S * S, boxes, classes).
        """
        raise NotImplementedError


@register("YoloDetectionOutput")
class YoloDetectionOutput(YoloOutput):
    """YOLO v2: each box gets its most likely class; anchors (`biases`) are in cells.

    The score is the objectness times the class's probability (softmax), and counts if it is at least `confidence_threshold`
    (MobileNet-YOLO's yolo_detection_output_layer.cpp).
    """

    param_name = "yolo_detection_output_param"
    fields = Fields(
        "num_classes num_box confidence_threshold nms_threshold biases",
        side="eric612/MobileNet-YOLO src/caffe/layers/yolo_detection_output_layer.cpp:163: unread",
        coords="eric612/MobileNet-YOLO src/caffe/layers/yolo_detection_output_layer.cpp:167: unread",
        label_map_file="eric612/MobileNet-YOLO src/caffe/layers/yolo_detection_output_layer.cpp:175: class names, for pictures",
    )
    n_bottoms: ClassVar[tuple[int, int | None]] = (1, 2)
    inclusive = True

    def anchors_of(self, i: int) -> list[tuple[float, float]]:
        return [self.anchor(n) for n in range(self.boxes)]

    def unit(self, i: int, side: Any) -> Any:
        return side

    def scores(self, objectness: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        likely, label = classes.softmax(3).max(3, keepdim=True)
        return objectness * likely, label

    def onnx_scores(self, graph: OnnxGraph, objectness: str, classes: str) -> tuple[str, str]:
        likely = graph.reduce("Max", graph.softmax(classes, 3, 4), [3])
        label = graph.cast(graph.add("ArgMax", classes, axis=3, keepdims=1), "float32")
        return graph.add("Mul", objectness, likely), graph.add("Add", label, graph.scalar(1.0))


@register("Yolov3DetectionOutput")
class Yolov3DetectionOutput(YoloOutput):
    """YOLO v3: a box is detected once per class whose score is above `confidence_threshold`; anchors (`biases`) are in pixels.

    The score is the objectness times the class's sigmoid. `mask` concatenates the anchor numbers of the `mask_group_num` bottoms;
    `anchors_scale` is the width of each bottom's cells in pixels (MobileNet-YOLO's yolov3_detection_output_layer.cpp).
    """

    param_name = "yolov3_detection_output_param"
    fields = Fields("num_classes num_box confidence_threshold nms_threshold biases anchors_scale mask_group_num mask")

    def setup(self) -> None:
        p, n = self.param, len(self.bottoms)
        self.check(n == p.mask_group_num, f"has {n} bottoms; mask_group_num is {p.mask_group_num}")
        self.check(len(p.anchors_scale) >= n, f"{len(p.anchors_scale)} anchors_scale for {n} bottoms")
        self.check(min(p.anchors_scale) > 0, f"anchors_scale must be positive, not {min(p.anchors_scale)}")
        self.check(not p.gaussian_box, "gaussian_box is not supported")
        super().setup()
        self.scores_per_box = self.classes

    def anchors_of(self, i: int) -> list[tuple[float, float]]:
        start = i * (len(self.param.mask) // len(self.bottoms))
        mask = self.param.mask[start : start + self.boxes]
        entries = len(self.param.mask)
        self.check(len(mask) == self.boxes, f"mask has {entries} entries; {len(self.bottoms)} bottoms need {self.boxes} each")
        return [self.anchor(index) for index in mask]

    def unit(self, i: int, side: Any) -> Any:
        return side * self.param.anchors_scale[i]

    def scores(self, objectness: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        import torch

        return classes.sigmoid() * objectness, torch.arange(self.classes, device=classes.device)

    def onnx_scores(self, graph: OnnxGraph, objectness: str, classes: str) -> tuple[str, str]:
        scores = graph.add("Mul", graph.add("Sigmoid", classes), objectness)
        labels = graph.constant([float(label + 1) for label in range(self.classes)])
        return scores, graph.add("Expand", labels, graph.add("Shape", scores))
