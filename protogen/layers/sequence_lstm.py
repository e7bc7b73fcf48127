"""Lstm, the recurrent layer of junhyukoh/caffe-lstm (src/caffe/layers/lstm_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from .base import BlobSpec, count
from .fields import Fields
from .loss import straight_through
from .recurrent import LSTM
from .registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from .forms.onnx_graph import OnnxGraph


@register("Lstm")
class SequenceLSTM(LSTM):
    """The same as LSTM, over sequences whose steps and streams share the first axis (junhyukoh/caffe-lstm, lstm_layer.cpp).

    Bottoms: x (T * N, ...) for `lstm_param { batch_size: N }`, the streams of each step next to each other, and optionally
    marks (T * N,), 0 where a sequence begins; the fork reads mark t + n for stream n of step t. The top is (T * N, num_output).
    Blobs: W_x (4D, features), W_h (4D, D), b (4D,). The state before the first step is 0; with marks, Caffe keeps the last one
    of the previous batch, which a stateless module cannot.

    `clipping_threshold` limits the gradients of the sums of each step. As in the fork, the gradient of W_h has a term for each
    step, also for those where a sequence begins.
    """

    param_name = "lstm_param"
    fields = Fields("num_output clipping_threshold weight_filler bias_filler batch_size")
    n_bottoms: ClassVar[tuple[int, int | None]] = (1, 2)
    n_tops: ClassVar[tuple[int, int | None]] = (1, 1)

    def setup(self) -> None:
        p, shape = self.param, self.bottoms[0]
        self.size, self.N, self.static, self.exposed = int(p.num_output), int(p.batch_size), False, False
        self.check(self.size > 0, "num_output must be positive")
        self.check(self.N > 0, "batch_size must be positive")
        self.check(len(shape) > 0 and shape[0] > 0 and shape[0] % self.N == 0,
                   f"the first axis of its bottom {shape} must be a multiple of batch_size: {self.N}")  # fmt: skip
        self.T, self.features = shape[0] // self.N, count(shape[1:])
        if len(self.bottoms) > 1:
            marks = self.bottoms[1]
            needed = self.T + self.N - 1
            fits = count(marks) == (marks[0] if marks else 0) >= needed
            self.check(
                fits, f"its second bottom, the sequence marks, must have at least {needed} values, one per row, not {marks}"
            )
        self.tops = [(shape[0], self.size)]
        rows = 4 * self.size
        self.blobs = [
            BlobSpec("weight_x", (rows, self.features), p.weight_filler),
            BlobSpec("weight_h", (rows, self.size), p.weight_filler),
            BlobSpec("bias", (rows,), p.bias_filler),
        ]
        self.macs = shape[0] * (self.blobs[0].count + self.blobs[1].count)

    # ---- PyTorch

    def forward(self, x: Tensor, *others: Tensor, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        weight_x, weight_h, bias = blobs
        steps = x.shape[0] // self.N
        if others:
            step, stream = (torch.arange(n, device=x.device) for n in (steps, self.N))
            cont = others[0].detach().reshape(-1)[step[:, None] + stream] != 0
        else:
            cont = torch.ones((steps, self.N), dtype=torch.bool, device=x.device)
        sequences = x.reshape(steps, self.N, self.features)
        top = super().forward(sequences, cont, blobs=[weight_x, bias, weight_h], training=training)
        assert isinstance(top, torch.Tensor)
        return top.reshape(-1, self.size)

    def carried(self, hidden: Tensor, cont: Tensor, weight: Tensor) -> Tensor:
        from torch.nn import functional as F

        sums = F.linear(hidden * cont, weight)
        if len(self.bottoms) == 1:
            return sums
        begun = F.linear(hidden.detach() * (1 - cont), weight)
        return straight_through(sums, sums + begun)

    def step(self, gates: Tensor, state: list[Tensor], cont: Tensor) -> list[Tensor]:
        limit = float(self.param.clipping_threshold)
        if limit > 0:
            from .forms.limited_gradient import limited_gradient

            gates = limited_gradient(gates, limit)
        return super().step(gates, state, cont)

    # ---- ONNX

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> list[str]:
        weight_x, weight_h, bias = blobs
        x = graph.reshape(bottoms[0], (-1, self.N, self.features))
        hidden = super().onnx(graph, [x, self._onnx_marks(graph, bottoms)], [weight_x, bias, weight_h])[0]
        return [graph.reshape(hidden, (-1, self.size))]

    def _onnx_marks(self, graph: OnnxGraph, bottoms: Sequence[str]) -> str:
        import numpy as np

        if len(bottoms) == 1:
            return graph.constant(np.ones((self.T, self.N)))
        places = np.arange(self.T)[:, None] + np.arange(self.N)
        marks = graph.add("Gather", graph.reshape(bottoms[1], (-1,)), graph.constant(places, "int64"), axis=0)
        return graph.cast(graph.cast(marks, "bool"), "float32")

    def _features(self, graph: OnnxGraph, x: str) -> str:
        return x
