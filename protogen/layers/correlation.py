"""Correlation, the cost volume of FlowNet: how well each place of one map fits places around it in another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .base import LayerType
from .fields import Fields
from .registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from .forms.onnx_graph import OnnxGraph


@register("Correlation")
class Correlation(LayerType):
    """Mean over channels and a window of the products of two maps, one shifted (lmb-freiburg/flownet2, correlation_layer.cu).

    Bottoms (N, C, H, W) are padded by `pad`. Windows of `kernel_size` (odd) are centred on every `stride_1`-th place at least
    `max_displacement` and half a window from the border. Each channel of the top is one shift of the second map: up to
    `max_displacement` in steps of `stride_2` in both directions, along the width first. With `correlation_type: SUBTRACT`, it
    is the mean of the absolute differences.
    """

    param_name = "correlation_param"
    fields = Fields(
        "pad kernel_size max_displacement stride_1 stride_2 correlation_type",
        do_abs="lmb-freiburg/flownet2 src/caffe/layers/correlation_layer.cpp:29: read into a member that nothing reads",
        single_direction="lmb-freiburg/flownet2 src/caffe/layers/correlation_layer1d.cpp:28: only Correlation1D reads it",
    )
    n_bottoms = (2, 2)

    def setup(self) -> None:
        p, (shape, other) = self.param, self.bottoms
        self.check(len(shape) == 4, f"takes bottoms with 4 axes (N, C, H, W), not {shape}")
        self.check(other == shape, f"its bottoms must have the same shape, not {shape} and {other}")
        for name in ("kernel_size", "max_displacement"):
            self.check(name in p, f"{name} is missing")
        self.check(p.kernel_size % 2 == 1, f"kernel_size must be odd, not {p.kernel_size}")
        self.check(min(p.stride_1, p.stride_2) > 0, "stride_1 and stride_2 must be positive")
        self.kernel, self.pad, self.most, self.step = p.kernel_size, p.pad, p.max_displacement, p.stride_1
        self.differs = p.correlation_type == "SUBTRACT"
        radius = p.max_displacement // p.stride_2
        self.shifts = [step * p.stride_2 for step in range(-radius, radius + 1)]
        border = 2 * (self.most + (self.kernel - 1) // 2)
        self.size = [math.ceil((side + 2 * self.pad - border) / self.step) for side in shape[2:]]
        self.check(min(self.size) > 0, f"its bottoms {shape} with pad {self.pad} have no room for windows and displacements")
        self.spans = [(size - 1) * self.step + self.kernel for size in self.size]  # that all windows together cover
        self.tops = [(shape[0], len(self.shifts) ** 2, *self.size)]
        self.macs = math.prod(self.tops[0]) * shape[1] * self.kernel**2

    def _windows(self) -> Iterator[tuple[list[int], list[int]]]:
        """For each channel of the top, where the part of the second map begins and ends that is compared with the first."""
        for down in self.shifts:
            for across in self.shifts:
                begin = [self.most + down, self.most + across]
                yield begin, [start + span for start, span in zip(begin, self.spans)]

    def forward(self, a: Tensor, b: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch
        from torch.nn import functional as F

        a, b = (F.pad(x, [self.pad] * 4) for x in (a, b))
        a = a[:, :, self.most : self.most + self.spans[0], self.most : self.most + self.spans[1]]
        maps = []
        for begin, end in self._windows():
            shifted = b[:, :, begin[0] : end[0], begin[1] : end[1]]
            maps.append(((a - shifted).abs() if self.differs else a * shifted).mean(1, keepdim=True))
        return F.avg_pool2d(torch.cat(maps, 1), self.kernel, self.step)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        if graph.dynamic_size:
            raise graph.refuse("a correlation does not allow open sizes (--dynamic-size)")
        around = [0, 0, self.pad, self.pad]
        a, b = (graph.pad(x, around, around) if self.pad else x for x in bottoms)
        a = graph.slice(a, [self.most] * 2, [self.most + span for span in self.spans], [2, 3])
        maps = []
        for begin, end in self._windows():
            shifted = graph.slice(b, begin, end, [2, 3])
            cost = graph.add("Abs", graph.add("Sub", a, shifted)) if self.differs else graph.add("Mul", a, shifted)
            maps.append(graph.reduce("Mean", cost, [1]))
        y = graph.add("Concat", *maps, axis=1)
        if self.kernel == self.step == 1:
            return y
        return graph.add("AveragePool", y, kernel_shape=[self.kernel] * 2, strides=[self.step] * 2)
