"""SSD's DetectionOutput: decodes boxes, suppresses them class by class, and lists the best of each image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..base import LayerType
from ..detection import boxes as box_ops
from ..fields import Fields
from ..limits import LOWEST
from ..registry import register

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..forms.onnx_graph import OnnxGraph, Size


@register("DetectionOutput")
class DetectionOutput(LayerType):
    """Detections (1, 1, rows, 7) as rows of image, label, score, x1, y1, x2, y2.

    Bottoms: location predictions (N, P * 4) or, with `share_location: false`, (N, P * classes * 4); confidences
    (N, P * classes); prior boxes and their variances (1, 2, P * 4). For each class, the `top_k` best boxes above
    `confidence_threshold` go through suppression (`nms_threshold`); the `keep_top_k` best of an image are listed by label, each
    label's best first. If there are no detections at all, each image has one row: its index, then -1.

    RefineDet's two additional bottoms are the confidences (N, P * 2) and locations (N, P * 4) of its first stage. If the second
    confidence of a prior is below `objectness_score`, its scores are 1 for class 0, even if that is not the background, and 0 for
    all others. The first stage's locations move the prior boxes before those of the first bottom are applied, with the same
    variances. In other forks a fourth bottom is an image on which `visualize` draws boxes, without changing any number. The
    fourth bottom's shape, or an `objectness_score` in the file, determines which is meant.

    Source: caffe/layers/detection_output_layer.cpp and caffe/util/bbox_util.cpp of the SSD fork and of RefineDet's (sfzhang15).
    Writing results to files (`save_output_param`) is left out.

    Attributes:
        stages: number of bottoms from a first stage, 0 to 2.
    """

    param_name = "detection_output_param"
    fields = Fields(
        "num_classes share_location background_label_id code_type keep_top_k variance_encoded_in_target confidence_threshold "
        "objectness_score",
        save_output_param="weiliu89/caffe src/caffe/layers/detection_output_layer.cpp:41: writes files",
        visualize="weiliu89/caffe src/caffe/layers/detection_output_layer.cpp:459: shows pictures",
        visualize_threshold="weiliu89/caffe src/caffe/layers/detection_output_layer.cpp:464: for pictures",
        save_file="weiliu89/caffe src/caffe/layers/detection_output_layer.cpp:465: where pictures are saved",
    ).also(".nms_param", "nms_threshold top_k eta")
    n_bottoms = (3, 5)
    has_gradient = False
    is_postprocess = True
    dynamic_rows = 2
    is_exportable = False

    def setup(self) -> None:
        p = self.param
        self.check(p.num_classes > 0, "num_classes is missing")
        location, confidence, prior = self.bottoms[:3]
        self.check(len(prior) >= 3 and prior[1] == 2, f"prior boxes must have the shape (1, 2, P * 4), not {prior}")
        self.priors, self.classes = prior[2] // 4, p.num_classes
        self.sets = 1 if p.share_location else self.classes  # of boxes
        self.check(self.priors > 0, f"there are no prior boxes: {prior}")
        self.check(location[0] == confidence[0], f"locations {location} and confidences {confidence} differ in their batch")
        for what, shape, per_prior in (("locations", location, self.sets * 4), ("confidences", confidence, self.classes)):
            needed = self.priors * per_prior
            values = shape[1] if len(shape) > 1 else 0
            hint = "; if this is a net of TextBoxes, whose cells have twice as many: --priors textboxes, or priors='textboxes'"
            self.check(values == needed, f"{self.priors} prior boxes need {needed} {what} per image, not {values} as in {shape}"
                                         f"{hint if values == 2 * needed else ''}")  # fmt: skip
        self.stages = self._first_stage()
        nms = p.nms_param
        self.check(nms.nms_threshold >= 0, f"nms_threshold must not be negative, but is {nms.nms_threshold}")
        self.check(0 < nms.eta <= 1, f"eta must be above 0 and at most 1, but is {nms.eta}")
        self.labels = [label for label in range(self.classes) if label != p.background_label_id]
        self.check(len(self.labels) > 0, "there is no class but the background")
        top_k = nms.get("top_k", -1)
        self.check(top_k != 0, "top_k must not be 0")
        self.top_k = top_k if top_k > 0 else None
        self.threshold: float = p.get("confidence_threshold", LOWEST)
        self.limit = p.keep_top_k if p.keep_top_k >= 0 else None
        self.tops = [(1, 1, 1, 7)]

    def _first_stage(self) -> int:
        """Check the bottoms after the first three, and return how many of them come from RefineDet's first stage."""
        batch, further = self.bottoms[0][0], self.bottoms[3:]

        def fits(shape: tuple[int, ...], per_prior: int) -> bool:
            return shape[:1] == (batch,) and math.prod(shape[1:]) == self.priors * per_prior

        if len(further) == 1 and len(further[0]) == 4 and not (fits(further[0], 2) or "objectness_score" in self.param):
            return 0
        for what, shape, per_prior in zip(("confidences", "locations"), further, (2, 4)):
            needed = self.priors * per_prior
            other = " (or an image to draw on)" if len(further) == 1 else ""
            self.check(
                fits(shape, per_prior),
                f"{self.priors} prior boxes need {needed} {what} of a first stage per image{other}, not {shape}",
            )
        self.check(len(further) < 2 or self.param.share_location, "locations of a first stage need share_location: true")
        return len(further)

    def example(self, index: int, rng: np.random.Generator) -> np.ndarray | None:
        """Confidences of a first stage on both sides of `objectness_score`; see `LayerType.example`."""
        if index != 3 or not self.stages:
            return None
        return rng.random(self.bottoms[3]) * 2 * self.param.objectness_score

    # ---- PyTorch

    def forward(self, *bottoms: Tensor, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        location, confidence, prior, *stage = (x.detach() for x in bottoms[: 3 + self.stages])
        n, labels = location.shape[0], torch.tensor(self.labels, device=location.device)
        prior, variance = prior[0].reshape(2, 1, -1, 4)
        if len(stage) > 1:
            prior = self.decode(stage[1].reshape(n, 1, -1, 4), prior, variance)
        decoded = self.decode(location.reshape(n, -1, self.sets, 4).transpose(1, 2), prior, variance)
        confidence = confidence.reshape(n, -1, self.classes)
        if stage:
            weak = stage[0].reshape(n, -1, 2)[..., 1:] < self.param.objectness_score
            confidence = torch.where(weak, confidence.new_tensor(self._of_no_object()), confidence)
        scores = confidence.transpose(1, 2)[:, labels]
        scores, order = scores.sort(dim=2, descending=True, stable=True)
        valid = scores > self.threshold
        count = int(valid[..., : self.top_k].sum(2).max())
        if count == 0:
            return box_ops.rows_or_none(scores.new_zeros(0, 7), n)
        scores, order, valid = (x[..., :count].reshape(-1, count) for x in (scores, order, valid))
        decoded = (decoded[:, labels] if self.sets > 1 else decoded.expand(-1, len(labels), -1, -1)).flatten(0, 1)
        boxes = decoded.gather(1, order.unsqueeze(2).expand(-1, -1, 4))
        keep = self._suppress(boxes, valid)
        keep, scores = keep.reshape(n, -1), scores.reshape(n, -1)
        if self.limit is not None and self.limit < keep.shape[1]:
            best = scores.masked_fill(~keep, -torch.inf).argsort(dim=1, descending=True, stable=True)[:, : self.limit]
            keep = torch.zeros_like(keep).scatter(1, best, keep.gather(1, best))
        image, place = keep.nonzero(as_tuple=True)
        fields = [x.to(scores).unsqueeze(1) for x in (image, labels[place // count], scores[image, place])]
        rows = torch.cat([*fields, boxes.reshape(n, -1, 4)[image, place]], 1)
        return box_ops.rows_or_none(rows, n)

    def _suppress(self, boxes: Tensor, valid: Tensor) -> Tensor:
        nms = self.param.nms_param
        if nms.eta < 1:
            return box_ops.suppress_adaptive(boxes, valid, nms.nms_threshold, nms.eta)
        return box_ops.suppress(boxes, valid, nms.nms_threshold)

    def _of_no_object(self) -> list[float]:
        """Scores of a prior in which the first stage finds no object."""
        return [float(label == 0) for label in range(self.classes)]

    def decode(self, location: Tensor, prior: Tensor, variance: Tensor) -> Tensor:
        """Decode boxes (N, sets, P, 4).

        Args:
            location: predictions (N, sets, P, 4).
            prior: prior boxes (1 or N, 1, P, 4).
            variance: their variances (1, P, 4).
        """
        p = self.param
        return box_ops.decode(location, prior, None if p.variance_encoded_in_target else variance, p.code_type)

    # ---- ONNX

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        nms = self.param.nms_param
        if nms.eta < 1:
            raise graph.refuse("NonMaxSuppression has no adaptive threshold; set eta to 1 (its default)")
        location, confidence, prior, *stage = bottoms[: 3 + self.stages]
        classes, priors = len(self.labels), graph.dim(prior, 2, self.bottoms[2][2]) // 4
        count = graph.at_most(priors, self.top_k)
        scores = graph.reshape(confidence, [0, priors, self.classes])
        if stage:
            scores = self._onnx_with_objects(graph, scores, graph.reshape(stage[0], [0, priors, 2]))
        scores = graph.transpose(scores, [0, 2, 1])
        scores, order = graph.add("TopK", self._onnx_labels(graph, scores), graph.ints(count), outputs=2, axis=2)
        boxes = graph.reshape(self._onnx_boxes(graph, location, prior, stage[1:], priors), [-1, 4])
        boxes = graph.add("Gather", boxes, self._onnx_places(graph, location, order, priors))  # (N, classes, count, 4)
        grouped = graph.reshape(self._onnx_upright(graph, boxes, count), [-1, count, 4])
        group_scores, most = graph.reshape(scores, [-1, 1, count]), count if isinstance(count, int) else box_ops.ALL
        keep = box_ops.onnx_suppress(graph, grouped, group_scores, nms.nms_threshold, score=self.threshold, limit=most)
        width = count * classes
        limit = graph.at_most(width, self.limit)
        if limit != width:
            keep = self._onnx_best(graph, keep, scores, width, limit)
        place = graph.positions(keep)
        image = graph.add("Div", place, graph.constant(width, "int64"))
        label = graph.add("Mod", graph.add("Div", place, graph.constant(count, "int64")), graph.constant(classes, "int64"))
        label = graph.add("Gather", graph.constant([float(label) for label in self.labels]), label)
        score = graph.add("Gather", graph.reshape(scores, [-1]), place)
        box = graph.add("Gather", graph.reshape(boxes, [-1, 4]), place)
        rows = box_ops.onnx_rows(graph, [graph.cast(image, "float32"), label, score], box)
        return box_ops.onnx_rows_or_none(graph, rows, location)

    def _onnx_labels(self, graph: OnnxGraph, x: str) -> str:
        """Axis 1 without the background class."""
        return x if len(self.labels) == self.classes else graph.add("Gather", x, graph.ints(*self.labels), axis=1)

    def _onnx_with_objects(self, graph: OnnxGraph, scores: str, stage: str) -> str:
        """Scores (N, P, classes) after filtering by the first stage's confidences (N, P, 2)."""
        weak = graph.add("Less", graph.slice(stage, [1], [2], [2]), graph.scalar(self.param.objectness_score))
        return graph.add("Where", weak, graph.constant(self._of_no_object()), scores)

    def _onnx_boxes(self, graph: OnnxGraph, location: str, prior: str, stage: Sequence[str], priors: Size) -> str:
        """Boxes (N, 1 or classes, P, 4); `stage` holds the first stage's locations, if there are any."""
        if self.bottoms[2][0] != 1:
            prior = graph.slice(prior, [0], [1], [0])
        prior, variance = graph.split(graph.reshape(prior, [2, 1, priors, 4]), [1, 1], 0)
        for first in stage:
            prior = self._onnx_decode(graph, graph.reshape(first, [0, 1, priors, 4]), prior, variance)
        if self.sets == 1:
            location = graph.reshape(location, [0, 1, priors, 4])
        else:
            location = graph.transpose(graph.reshape(location, [0, priors, self.sets, 4]), [0, 2, 1, 3])
            location = self._onnx_labels(graph, location)
        return self._onnx_decode(graph, location, prior, variance)

    def _onnx_decode(self, graph: OnnxGraph, offset: str, prior: str, variance: str) -> str:
        """Emit `decode`."""
        p = self.param
        return box_ops.onnx_decode(graph, offset, prior, None if p.variance_encoded_in_target else variance, p.code_type)

    def _onnx_places(self, graph: OnnxGraph, x: str, order: str, priors: Size) -> str:
        """Indices of priors (N, classes, count) as row indices into the boxes of all images."""
        import numpy as np

        sets = len(self.labels) if self.sets > 1 else 1
        groups = np.arange(sets).reshape(1, -1, 1)  # of boxes, each holding all priors
        if graph.dynamic_batch:
            images = graph.reshape(graph.count(x), [-1, 1, 1])
            images = graph.add("Mul", images, graph.constant(priors * sets, "int64"))
            return graph.add("Add", order, graph.add("Add", images, graph.constant(groups * priors, "int64")))
        groups = groups + np.arange(self.bottoms[0][0]).reshape(-1, 1, 1) * sets
        return graph.add("Add", order, graph.constant(groups * priors, "int64")) if groups.any() else order

    def _onnx_upright(self, graph: OnnxGraph, boxes: str, count: Size) -> str:
        """Boxes for NonMaxSuppression, with empty and inverted ones, which overlap nothing in Caffe, moved far away.

        ONNX's op would un-invert the latter, and OpenCV treats all empty boxes as equal: each gets a separate place.
        """
        import numpy as np

        if self.param.code_type == "CENTER_SIZE":
            return boxes
        low, high = graph.split(boxes, [2, 2], 3)
        sound = graph.add("Greater", graph.reduce("Min", graph.add("Sub", high, low), [3]), graph.scalar(0.0))
        away = (2 * graph.range(count, "float32")).reshape(-1, 1) + (2.0**20 + np.array([[0.0, 0.0, 1.0, 1.0]]))
        return graph.add("Where", sound, boxes, graph.constant(away))

    def _onnx_best(self, graph: OnnxGraph, keep: str, scores: str, width: Size, limit: Size) -> str:
        """The mask, limited to the `limit` best scores of each image: (N, width)."""
        keep, scores = graph.reshape(keep, [-1, width]), graph.reshape(scores, [-1, width])
        ranked = graph.add("Where", graph.cast(keep, "bool"), scores, graph.scalar(float("-inf")))
        _, best = graph.add("TopK", ranked, graph.ints(limit), outputs=2, axis=1)
        nothing = graph.filled(graph.add("Shape", keep), 0.0)
        return graph.add("ScatterElements", nothing, best, graph.add("GatherElements", keep, best, axis=1), axis=1)
