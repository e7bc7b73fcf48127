"""Python layers that turn a net's predictions into labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .python import PythonLayer, register_python

if TYPE_CHECKING:
    from torch import Tensor

    from .forms.onnx_graph import OnnxGraph


@register_python("OrdinalDecodeLayer", "ordinal_decode_layer")
class OrdinalDecode(PythonLayer):
    """DORN's depth labels (1, 1, H, W): how many of the pairs of channels of (1, C, H, W) have the larger value second.

    (hufu6371/DORN, caffe/pylayer/ordinal_decode_layer.py.) For several images, the layer mixes them up, and is refused.
    """

    has_gradient = False
    is_postprocess = True

    def setup(self) -> None:
        shape = self.bottoms[0]
        self.check(
            len(shape) == 4 and shape[1] > 1, f"takes a bottom with 4 axes (N, C, H, W) and pairs of channels, not {shape}"
        )
        self.check(shape[0] == 1, f"takes one image at a time, not {shape[0]}")
        self.pairs = shape[1] // 2
        self.tops = [(1, 1, *shape[2:])]

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        pairs = x.detach()[:, : 2 * self.pairs].unflatten(1, (self.pairs, 2))
        return (pairs[:, :, 1] > pairs[:, :, 0]).to(x).sum(1, keepdim=True)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        first, second = (graph.slice(bottoms[0], [start], [2 * self.pairs], [1], [2]) for start in (0, 1))
        larger = graph.cast(graph.add("Greater", second, first), "float32")
        return graph.reduce("Sum", larger, [1])
