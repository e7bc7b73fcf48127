"""Layers of NormFace's fork: LabelSpecificRescale, InnerDistance, and InnerProduct of bottoms (happynear/caffe-windows)."""

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


class ProductOfBottoms(LayerType):
    """An InnerProduct whose weights, and bias, are bottoms: y = W x + b, over all axes of x from `axis` on.

    Bottoms: x, W (num_output, features), and with `bias_term` b (num_output,). W's first axis counts, not `num_output`
    (happynear/caffe-windows, inner_product_layer.cpp).
    """

    types = ("InnerProduct",)
    param_name = "inner_product_param"
    fields = Fields(
        "bias_term axis",
        num_output="happynear/caffe-windows src/caffe/layers/inner_product_layer.cpp:18: the second bottom's rows count",
        **dict.fromkeys(
            ("weight_filler", "bias_filler"),
            "happynear/caffe-windows src/caffe/layers/inner_product_layer.cpp:25: nothing is filled",
        ),
    )
    n_bottoms = (2, 3)

    @property
    def sees_all(self) -> bool:
        return self.start <= 2

    def setup(self) -> None:
        shape, weight = self.bottoms[:2]
        self.start = self.axis(self.param.axis)
        features = count(shape[self.start :])
        self.check(
            len(weight) > 1 and count(weight[1:]) == features, f"weights for {shape} must be (rows, {features}), not {weight}"
        )
        fits = bool(self.param.bias_term) == (len(self.bottoms) == 3)
        self.check(fits, "with bias_term, which is on by default, the bias must be a third bottom, without it there must be none")
        for bias in self.bottoms[2:]:
            self.check(count(bias) == weight[0], f"the bias for weights {weight} must have {weight[0]} values, not {bias}")
        self.macs = count(shape[: self.start]) * count(weight)
        self.tops = [(*shape[: self.start], weight[0])]

    def forward(self, x: Tensor, weight: Tensor, *bias: Tensor, blobs: Sequence[Tensor], training: bool) -> Tensor:
        from torch.nn import functional as F

        return F.linear(x.flatten(self.start), weight.flatten(1), bias[0].flatten() if bias else None)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        rows = self.bottoms[1][0]
        features = count(self.bottoms[0][self.start :])
        x = graph.reshape(bottoms[0], (*[0] * self.start, features))
        y = graph.add("MatMul", x, graph.transpose(graph.reshape(bottoms[1], (-1, features)), (1, 0)))
        return graph.add("Add", y, graph.reshape(bottoms[2], (rows,))) if len(bottoms) == 3 else y
