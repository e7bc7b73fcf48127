"""Layers that reduce many values to few: Reduction and ArgMax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from .base import LayerType, count
from .fields import Fields
from .registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from .forms.onnx_graph import OnnxGraph


@register("Reduction")
class Reduction(LayerType):
    """`coeff` times the SUM, the sum of magnitudes (ASUM) or of squares (SUMSQ), or the MEAN, over all axes from `axis` (0) on.

    The top keeps the axes before `axis`; for 0 it is a scalar of shape () (caffe/layers/reduction_layer.cpp).
    """

    param_name = "reduction_param"
    fields = Fields("operation axis coeff")
    _ONNX: ClassVar[dict[str, str]] = {"SUM": "Sum", "ASUM": "L1", "SUMSQ": "SumSquare", "MEAN": "Mean"}

    @property
    def sees_all(self) -> bool:
        return self.start <= 2

    def setup(self) -> None:
        self.operation: str = self.param.operation
        self.coeff: float = self.param.coeff
        self.start = self.axis(self.param.axis)
        self.tops = [self.bottoms[0][: self.start]]

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        x = x.flatten(self.start)
        if self.operation == "MEAN":
            return x.mean(-1) * self.coeff
        terms = x.abs() if self.operation == "ASUM" else x * x if self.operation == "SUMSQ" else x
        return terms.sum(-1) * self.coeff

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        axes = range(self.start, len(self.bottoms[0]))
        scalar = self.start == 0  # OpenCV 5 does not compute with scalars: drop the axes at the end
        y = graph.reduce(self._ONNX[self.operation], bottoms[0], axes, keepdims=scalar)
        y = y if self.coeff == 1 else graph.add("Mul", y, graph.scalar(self.coeff))
        return graph.squeeze(y, axes) if scalar else y


@register("ArgMax")
class ArgMax(LayerType):
    """Indices, as floats, of the `top_k` (1) largest values, largest first; of equal values, the last comes first.

    Along `axis`: the bottom's shape with top_k values there, indices or, with `out_max_val`, the values themselves. Without
    `axis`, over each whole item: (N, 1, top_k), or (N, 2, top_k) with the values after the indices; axes of size 1 are appended
    if the bottom has more axes (caffe/layers/argmax_layer.cpp).
    """

    param_name = "argmax_param"
    fields = Fields("out_max_val top_k axis")
    has_gradient = False

    def setup(self) -> None:
        p, shape = self.param, self.bottoms[0]
        self.k, self.values = p.top_k, bool(p.out_max_val)
        self.whole = "axis" not in p
        self.check(not self.whole or len(shape) > 0, "its bottom has no axes")
        self.over = 1 if self.whole else self.axis(p.axis)
        size = count(shape[1:]) if self.whole else shape[self.over]
        self.check(1 <= self.k <= size, f"top_k must be from 1 to {size}, the number of values to choose from, not {self.k}")
        if self.whole:
            self.tops = [(shape[0], 2 if self.values else 1, self.k, *[1] * (len(shape) - 3))]
        else:
            self.tops = [(*shape[: self.over], self.k, *shape[self.over + 1 :])]

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        flat = x.reshape(x.shape[0], -1) if self.whole else x
        # Both argmax and a stable sort put the first of equal values first, Caffe the last: search in reverse order.
        mirrored = flat.flip(self.over)
        if self.k == 1:
            index = mirrored.argmax(self.over, keepdim=True)
        else:
            index = mirrored.sort(dim=self.over, descending=True, stable=True).indices.narrow(self.over, 0, self.k)
        index = flat.shape[self.over] - 1 - index
        if not self.whole:
            return flat.gather(self.over, index) if self.values else index.to(x.dtype)
        parts = [index.to(x.dtype), flat.gather(1, index)] if self.values else [index.to(x.dtype)]
        return torch.stack(parts, 1).reshape(-1, *self.tops[0][1:])

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        x = graph.reshape(bottoms[0], [0, -1]) if self.whole else bottoms[0]
        value, index = self._top(graph, x)
        if not self.whole:
            return value if self.values else graph.cast(index, "float32")
        index = graph.cast(index, "float32")
        top = graph.add("Concat", index, value, axis=1) if self.values else index
        return graph.reshape(top, [0, *self.tops[0][1:]])

    def _top(self, graph: OnnxGraph, x: str) -> tuple[str, str]:
        """The `k` largest values along axis `over`, and their indices."""
        if self.k == 1 and graph.opset >= 12:
            value = graph.reduce("Max", x, [self.over]) if self.values else ""
            return value, graph.add("ArgMax", x, axis=self.over, keepdims=1, select_last_index=1)
        # TopK puts the first of equal values first, Caffe the last: search in reverse order.
        mirrored = graph.slice(x, [-1], [-(2**62)], [self.over], [-1])
        value, index = graph.add("TopK", mirrored, graph.ints(self.k), outputs=2, axis=self.over)
        size = count(self.bottoms[0][1:]) if self.whole else self.bottoms[0][self.over]
        return value, graph.add("Sub", graph.constant(size - 1, "int64"), index)
