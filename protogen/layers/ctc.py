"""CTCGreedyDecoder of caffe_ocr (src/caffe/layers/ctc_decoder_layer.cpp of senlinuc/caffe_ocr)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .base import LayerType, count
from .fields import Fields
from .registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from ..prototxt.layer import Layer
    from .forms.onnx_graph import OnnxGraph


@register("CTCGreedyDecoder")
class CTCGreedyDecoder(LayerType):
    """Labels (N, T, 1, 1) of sequences from scores (T, N, C), -1 after the last one (senlinuc/caffe_ocr, ctc_decoder_layer.cpp).

    Each step's label is the class with the highest score, the first of equal ones; the blank (`blank_index`, the last class if
    negative) and, with `ctc_merge_repeated`, a label equal to that of the step before are left out. With labels as a second
    bottom, the top is an accuracy, which protogen does not compute and leaves out of nets to use.
    """

    param_name = "ctc_decoder_param"
    fields = Fields("blank_index ctc_merge_repeated")
    has_gradient = False
    is_postprocess = True

    @classmethod
    def select(cls, layer: Layer) -> type[LayerType]:
        return CTCAccuracy if len(layer.bottoms) > 1 else cls

    def setup(self) -> None:
        shape = self.bottoms[0]
        self.check(len(shape) >= 3 and count(shape[3:]) == 1, f"takes scores (steps, streams, classes), not {shape}")
        blank = self.param.blank_index
        self.blank: int = blank if blank >= 0 else shape[2] - 1
        self.tops = [(shape[1], shape[0], 1, 1)]

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch
        from torch.nn import functional as F

        best = x.detach().flatten(2).argmax(2).T  # (N, T)
        kept = best != self.blank
        if self.param.ctc_merge_repeated:
            kept &= best != F.pad(best, (1, -1), value=-1)
        steps = best.shape[1]
        place = torch.where(kept, kept.long().cumsum(1) - 1, steps)
        labels = torch.full((len(best), steps + 1), -1, dtype=x.dtype, device=x.device)
        return labels.scatter(1, place, best.to(x))[:, :steps, None, None]

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        if graph.dynamic_batch:
            raise graph.refuse("the number of steps, the first axis of its bottom, must be fixed; convert with a fixed batch")
        (steps, streams), shape = self.bottoms[0][:2], self.bottoms[0]
        scores = bottoms[0] if len(shape) == 3 else graph.reshape(bottoms[0], shape[:3])
        best = graph.transpose(graph.add("ArgMax", scores, axis=2, keepdims=0), (1, 0))
        dropped = graph.add("Equal", best, graph.constant(self.blank, "int64"))
        if self.param.ctc_merge_repeated:
            none = graph.constant([[-1]] * streams, "int64")
            before = graph.add("Concat", none, best, axis=1)
            repeated = graph.add("Equal", best, graph.slice(before, [0], [steps], [1]))
            dropped = graph.add("Or", dropped, repeated)
        one, end = graph.constant(1, "int64"), graph.constant(steps, "int64")
        kept = graph.cast(graph.add("Not", dropped), "int64")
        rank = graph.add("Sub", graph.add("CumSum", kept, one), one)
        place = graph.add("Where", dropped, end, rank)
        empty = graph.constant([[-1.0] * (steps + 1)] * streams)
        labels = graph.add("ScatterElements", empty, place, graph.cast(best, "float32"), axis=1)
        return graph.unsqueeze(graph.slice(labels, [0], [steps], [1]), [2, 3])


class CTCAccuracy(LayerType):
    """A CTCGreedyDecoder with labels: the accuracies (1, 2, 1, 1) of labels and of whole sequences, which are not computed."""

    types = ("CTCGreedyDecoder",)
    param_name = "ctc_decoder_param"
    fields = CTCGreedyDecoder.fields
    n_bottoms = (2, 2)
    has_gradient = False
    only_trains = True
    onnx_note = "an accuracy is for measuring only"

    def setup(self) -> None:
        self.tops = [(1, 2, 1, 1)]

    def refusals(self) -> list[str]:
        return [*super().refusals(), "the accuracy of a CTCGreedyDecoder with labels is not computed"]
