"""Layers of NormFace's fork: LabelSpecificRescale and InnerDistance (happynear/caffe-windows)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .base import BlobSpec, LayerType, count
from .fields import Fields
from .registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from ..prototxt.layer import Layer
    from .forms.onnx_graph import OnnxGraph


@register("LabelSpecificRescale")
class LabelSpecificRescale(LayerType):
    """Scores (N, C), the one of each item's label times `positive_weight`, the others times `negative_weight`.

    Bottoms: scores and labels (N,). Only in TRAIN, unless `rescale_test` is set: in TEST the scores pass unchanged
    (happynear/caffe-windows, label_specific_rescale_layer.cpp).
    """

    param_name = "label_specific_rescale_param"
    fields = Fields(
        "positive_weight negative_weight rescale_test",
        positive_lower_bound="happynear/caffe-windows src/caffe/layers/label_specific_rescale_layer.cpp:14: not implemented",
        negative_upper_bound="happynear/caffe-windows src/caffe/layers/label_specific_rescale_layer.cpp:15: not implemented",
    )
    n_bottoms = (2, 2)
    index_bottoms = (1,)
    only_trains = True
    passes_first = True
    onnx_note = "it is for training only, unless rescale_test is set; in inference it passes its first bottom on"

    @classmethod
    def select(cls, layer: Layer) -> type[LayerType]:
        return RescaleAlways if layer.message.label_specific_rescale_param.rescale_test else cls

    def setup(self) -> None:
        scores, label = self.bottoms
        self.check(len(scores) > 1, f"takes scores (N, C), not {scores}")
        self.check(count(label) == scores[0], f"needs one label per item of {scores}, not {label}")
        self.rescales = self.phase == "TRAIN" or bool(self.param.rescale_test)
        self.tops = [scores]

    def forward(self, x: Tensor, label: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        if not self.rescales:
            return x
        p = self.param
        flat = x.reshape(x.shape[0], -1)
        own = torch.arange(flat.shape[1], device=x.device) == label.detach().reshape(-1, 1).long()
        return (flat * torch.where(own, p.positive_weight, p.negative_weight)).reshape(x.shape)

    @property
    def is_identity(self) -> bool:
        return not self.rescales


class RescaleAlways(LabelSpecificRescale):
    """A LabelSpecificRescale with `rescale_test`, which a net to use needs."""

    types = ("LabelSpecificRescale",)
    only_trains = False
    passes_first = False

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        p, shape = self.param, self.bottoms[0]
        label = graph.cast(graph.reshape(bottoms[1], (-1, 1)), "int64")
        own = graph.add("Equal", label, graph.constant(list(range(count(shape[1:]))), "int64"))
        factor = graph.add("Where", own, graph.scalar(p.positive_weight), graph.scalar(p.negative_weight))
        return graph.add("Mul", bottoms[0], factor if len(shape) == 2 else graph.reshape(factor, (-1, *shape[1:])))


@register("InnerDistance")
class InnerDistance(LayerType):
    """Squared (`distance_type: "L2"`) or absolute (L1) distances (..., num_output) from x to each of the rows of W.

    The axes from `axis` on are one vector. W (num_output, features) is the layer's blob or a second bottom, whose first axis is
    then the number of rows (happynear/caffe-windows, inner_distance_layer.cpp).
    """

    param_name = "inner_distance_param"
    fields = Fields(
        "num_output axis distance_type weight_filler",
        bias_term="happynear/caffe-windows src/caffe/layers/inner_distance_layer.cpp:35: the layer has no bias",
        bias_filler="happynear/caffe-windows src/caffe/layers/inner_distance_layer.cpp:35: the layer has no bias",
    )
    n_bottoms = (1, 2)

    def setup(self) -> None:
        p, shape = self.param, self.bottoms[0]
        self.check(p.distance_type in ("L1", "L2"), f"distance_type must be L1 or L2, not {p.distance_type!r}")
        self.start = self.axis(p.axis)
        self.features = count(shape[self.start :])
        if len(self.bottoms) == 2:
            centers = self.bottoms[1]
            self.check(count(centers[1:]) == self.features and len(centers) > 0,
                       f"centers of {self.features} values must be (rows, {self.features}), not {centers}")  # fmt: skip
            rows = centers[0]
        else:
            rows = int(p.num_output)
            self.check(rows > 0, "num_output must be positive")
            self.blobs = [BlobSpec("weight", (rows, self.features), p.weight_filler)]
        self.macs = math.prod(shape[: self.start]) * rows * self.features
        self.tops = [(*shape[: self.start], rows)]

    def forward(self, x: Tensor, *centers: Tensor, blobs: Sequence[Tensor], training: bool) -> Tensor:
        weight = (centers[0] if centers else blobs[0]).flatten(1)
        difference = x.flatten(self.start).unsqueeze(-2) - weight
        return (difference * difference if self.param.distance_type == "L2" else difference.abs()).sum(-1)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        weight = blobs[0] if blobs else bottoms[1]
        if not blobs and len(self.bottoms[1]) != 2:
            weight = graph.add("Flatten", weight, axis=1)
        x = graph.reshape(bottoms[0], (*[0] * self.start, 1, self.features))
        kind = "SumSquare" if self.param.distance_type == "L2" else "L1"
        return graph.reduce(kind, graph.add("Sub", x, weight), [self.start + 1], keepdims=False)
