"""Embed: a learned vector for each index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .base import BlobSpec, LayerType
from .fields import Fields
from .registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from .forms.onnx_graph import OnnxGraph


@register("Embed")
class Embed(LayerType):
    """Row x of the weights (input_dim, num_output), plus a bias, for each index x: (...) to (..., num_output).

    Indices are whole numbers in 0..input_dim-1 and get no gradient (caffe/layers/embed_layer.cpp).
    """

    param_name = "embed_param"
    fields = Fields("num_output input_dim bias_term weight_filler bias_filler")
    index_bottoms = (0,)

    def setup(self) -> None:
        p = self.param
        self.check(p.num_output > 0, "num_output must be positive")
        self.check(p.input_dim > 0, "input_dim must be positive")
        self.tops = [(*self.bottoms[0], p.num_output)]
        self.blobs = [BlobSpec("weight", (p.input_dim, p.num_output), p.weight_filler)]
        if p.bias_term:
            self.blobs.append(BlobSpec("bias", (p.num_output,), p.bias_filler))

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        from torch.nn import functional as F

        y = F.embedding(x.long(), blobs[0])
        return y + blobs[1] if len(blobs) > 1 else y

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        y = graph.rows(blobs[0], bottoms[0])
        return graph.add("Add", y, blobs[1]) if len(blobs) > 1 else y
