"""Layers that combine several blobs: Concat, Eltwise, Axpy and MaskPooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .base import LayerType, Shape, count
from .fields import Fields
from .registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from .forms.onnx_graph import OnnxGraph


@register("Concat")
class Concat(LayerType):
    """Concatenation along an axis (1: channels); all other axes must agree (caffe/layers/concat_layer.cpp).

    With Intel's `per_fla_fuse` along axis 1, each bottom first goes through the Permute and Flatten of SSD's heads: (N, C, H, W)
    becomes (N, H * W * C, 1, 1), channels last, and only the batch must agree (mkldnn_concat_layer.cpp of intel/caffe).
    """

    param_name = "concat_param"
    fields = Fields(
        "concat_dim axis per_fla_fuse",
        engine="intel/caffe src/caffe/layer_factory.cpp:537: GetConcatLayer picks the library",
    )
    keeps_place = True
    n_bottoms = (1, None)

    def setup(self) -> None:
        p, first = self.param, self.bottoms[0]
        self.check(not ("axis" in p and "concat_dim" in p), "give either axis or concat_dim")
        self.joined = self.axis(p.concat_dim if "concat_dim" in p else p.axis)
        self.flattens = bool(p.per_fla_fuse) and self.joined == 1
        if self.flattens:
            self._setup_flattened(first)
            return
        for other in self.bottoms[1:]:
            fits = len(other) == len(first) and all(a == b for i, (a, b) in enumerate(zip(first, other)) if i != self.joined)
            self.check(fits, f"bottoms {first} and {other} differ in more than axis {self.joined}")
        total = sum(shape[self.joined] for shape in self.bottoms)
        self.tops = [(*first[: self.joined], total, *first[self.joined + 1 :])]

    def _setup_flattened(self, first: Shape) -> None:
        for shape in self.bottoms:
            self.check(len(shape) == 4, f"per_fla_fuse takes bottoms with 4 axes (N, C, H, W), not {shape}")
            self.check(shape[0] == first[0], f"bottoms {first} and {shape} differ in their batch")
        self.tops = [(first[0], sum(count(shape[1:]) for shape in self.bottoms), 1, 1)]

    def forward(self, *bottoms: Tensor, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        if self.flattens:
            return torch.cat([x.permute(0, 2, 3, 1).flatten(1) for x in bottoms], 1)[..., None, None]
        return torch.cat(bottoms, self.joined)

    @property
    def is_identity(self) -> bool:
        return len(self.bottoms) == 1 and not self.flattens

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        if self.flattens:
            flat = [graph.add("Flatten", graph.transpose(x, [0, 2, 3, 1]), axis=1) for x in bottoms]
            return graph.unsqueeze(graph.add("Concat", *flat, axis=1), [2, 3])
        return bottoms[0] if len(bottoms) == 1 else graph.add("Concat", *bottoms, axis=self.joined)


@register("Eltwise")
class Eltwise(LayerType):
    """Sum (with a `coeff` per bottom), product or maximum of blobs of the same shape (caffe/layers/eltwise_layer.cpp).

    A sum may have one bottom only, as in lmb-freiburg/flownet2 (include/caffe/layers/eltwise_layer.hpp).
    """

    param_name = "eltwise_param"
    fields = Fields(
        "operation coeff",
        stable_prod_grad="BVLC/caffe src/caffe/layers/eltwise_layer.cpp:114: how a product's gradient is rounded",
        engine="intel/caffe src/caffe/layer_factory.cpp:579: GetEltwiseLayer picks the library",
    )
    keeps_place = True
    n_bottoms = (1, None)

    def setup(self) -> None:
        p = self.param
        self.operation: str = p.operation
        self.check(len(self.bottoms) > 1 or self.operation == "SUM", f"{self.operation} needs at least 2 bottoms, has 1")
        self.coeff: list[float] = list(p.coeff)
        self.check(len(self.coeff) in (0, len(self.bottoms)), f"{len(self.coeff)} coefficients for {len(self.bottoms)} bottoms")
        self.check(not self.coeff or self.operation == "SUM", f"coefficients are for SUM, not {self.operation}")
        self.same_shape()
        self.tops = [self.bottoms[0]]

    def forward(self, *bottoms: Tensor, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        if self.operation == "SUM":
            terms = [c * x if c != 1 else x for c, x in zip(self.coeff or [1] * len(bottoms), bottoms)]
            return sum(terms[1:], terms[0])
        result = bottoms[0]
        for x in bottoms[1:]:
            # where, not maximum: at a tie Caffe gives the whole gradient to one bottom, the later one.
            result = result * x if self.operation == "PROD" else torch.where(result > x, result, x)
        return result

    @property
    def is_identity(self) -> bool:
        return len(self.bottoms) == 1 and self.coeff in ([], [1])

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        if self.operation == "MAX":
            return graph.add("Max", *bottoms)
        values = list(bottoms)
        for i, coeff in enumerate(self.coeff):
            if coeff != 1:
                values[i] = graph.add("Mul", values[i], graph.scalar(coeff))
        result = values[0]
        for value in values[1:]:
            result = graph.add("Mul" if self.operation == "PROD" else "Add", result, value)
        return result


@register("Axpy")
class Axpy(LayerType):
    """a * x + y with a factor per item and channel (axpy_layer.cpp of SENet's fork, hujie-frank/SENet).

    Bottoms: a (N, C) or (N, C, 1, 1), x and y (N, C, ...); the top has the shape of x.
    """

    n_bottoms = (3, 3)

    def setup(self) -> None:
        a, x, _ = self.bottoms
        self.same_shape(1, 2)
        self.check(len(x) >= 2, f"needs bottoms with a batch and a channel axis, not {x}")
        fits = len(a) <= len(x) and a == (*x[:2], *[1] * (len(a) - 2))
        self.check(fits, f"its first bottom must hold one factor per item and channel, {x[:2]} or {(*x[:2], 1, 1)}, not {a}")
        self.tops = [x]

    def forward(self, a: Tensor, x: Tensor, y: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        return a.reshape(a.shape[:2] + (1,) * (x.dim() - 2)) * x + y

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        a, x, y = bottoms
        missing = len(self.bottoms[1]) - len(self.bottoms[0])
        if missing:
            a = graph.unsqueeze(a, [len(self.bottoms[0]) + i for i in range(missing)])
        return graph.affine(x, a, y)


@register("MaskPooling")
class MaskPooling(LayerType):
    """Features (N, C, H, W) times a mask (N, 1, H, W) (daijifeng001/caffe-mnc, mask_pooling_layer.cu)."""

    n_bottoms = (2, 2)
    keeps_place = True

    def setup(self) -> None:
        shape, mask = self.bottoms
        self.check(len(shape) == 4, f"takes features with 4 axes (N, C, H, W), not {shape}")
        fits = mask == (shape[0], 1, *shape[2:])
        self.check(fits, f"the mask for features {shape} must be {(shape[0], 1, *shape[2:])}, not {mask}")
        self.tops = [shape]

    def forward(self, x: Tensor, mask: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        return x * mask

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        return graph.add("Mul", *bottoms)
