"""Im2col: the windows of a convolution as columns (caffe/layers/im2col_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

from .base import LayerType, count
from .fields import Fields
from .registry import register
from .windows import per_axis

if TYPE_CHECKING:
    from torch import Tensor

    from .coordinates import AxisMap
    from .forms.onnx_graph import OnnxGraph


@register("Im2col")
class Im2col(LayerType):
    """Each window of a convolution as a column: (N, C, spatial...) to (N, C * kernel..., out...) (caffe/layers/im2col_layer.cpp).

    Windows are set as in Convolution (`kernel_size`, `stride`, `pad`, `dilation`, `axis`); the values of a channel are adjacent.
    """

    param_name = "convolution_param"
    fields = Fields(
        "pad kernel_size stride pad_h pad_w kernel_h kernel_w stride_h stride_w axis dilation",
        **dict.fromkeys(
            ("num_output", "bias_term", "group", "weight_filler", "bias_filler", "engine", "force_nd_im2col"),
            "BVLC/caffe src/caffe/layers/im2col_layer.cpp:11-105: it only copies windows",
        ),
    )

    def setup(self) -> None:
        shape = self.bottoms[0]
        self.channel_axis = self.axis(self.param.axis)
        spatial = shape[self.channel_axis + 1 :]
        self.check(len(spatial) > 0, f"its bottom {shape} has no spatial axes after the channels")
        self.kernel, self.stride = per_axis(self, "kernel", len(spatial)), per_axis(self, "stride", len(spatial), 1)
        self.pad, self.dilation = per_axis(self, "pad", len(spatial), 0), per_axis(self, "dilation", len(spatial), 1)
        for what, values in (("kernel size", self.kernel), ("stride", self.stride), ("dilation", self.dilation)):
            self.check(min(values) > 0, f"{what} must be positive, not {min(values)}")
        for size, pad, extent in zip(spatial, self.pad, self._extents()):
            padded = size + 2 * pad
            self.check(extent <= padded, f"the kernel covers {extent} pixels, its bottom has {padded} (padding included)")
        channels = shape[self.channel_axis] * count(self.kernel)
        self.tops = [(*shape[: self.channel_axis], channels, *self._out(spatial))]

    def _extents(self) -> list[int]:
        """Pixels from the first to the last of a window, inclusive, along each spatial axis."""
        return [dilation * (kernel - 1) + 1 for dilation, kernel in zip(self.dilation, self.kernel)]

    def _out(self, spatial: Sequence[int]) -> list[int]:
        settings = zip(spatial, self.pad, self._extents(), self.stride)
        return [(size + 2 * pad - extent) // stride + 1 for size, pad, extent, stride in settings]

    def coordinates(self) -> list[AxisMap]:
        from .coordinates import IDENTITY, window

        maps = [window(*settings) for settings in zip(self.kernel, self.stride, self.pad, self.dilation)]
        return [IDENTITY] * (self.channel_axis + 1) + maps

    def window(self) -> dict[str, Sequence[int]]:
        return {"kernel": self.kernel, "stride": self.stride, "pad": self.pad, "dilation": self.dilation}

    def reach(self) -> list[int]:
        return [0] * (self.channel_axis + 1) + [extent - 1 for extent in self._extents()]

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch
        from torch.nn import functional as F

        out = self._out(x.shape[self.channel_axis + 1 :])
        padded = F.pad(x, [pad for pad in reversed(self.pad) for _ in range(2)]) if any(self.pad) else x
        taps = []
        for place in product(*(range(k) for k in self.kernel)):
            tap = padded
            for i, (k, dilation, stride, n) in enumerate(zip(place, self.dilation, self.stride, out), self.channel_axis + 1):
                tap = tap.narrow(i, k * dilation, (n - 1) * stride + 1)
                tap = tap[(slice(None),) * i + (slice(None, None, stride),)]
            taps.append(tap)
        return torch.stack(taps, self.channel_axis + 1).flatten(self.channel_axis, self.channel_axis + 1)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        """A convolution of each channel with one kernel per position in the window, 1 at that position and 0 elsewhere."""
        import numpy as np

        outer, channels, places = self.bottoms[0][: self.channel_axis], self.bottoms[0][self.channel_axis], count(self.kernel)
        x = bottoms[0]
        if len(outer) != 1:
            x = graph.reshape(x, [-1, *self.bottoms[0][self.channel_axis :]])
        weights = np.tile(np.eye(places, dtype=np.float32), (channels, 1)).reshape(channels * places, 1, *self.kernel)
        y = graph.add(
            "Conv", x, graph.constant(weights), kernel_shape=self.kernel, strides=self.stride, pads=[*self.pad, *self.pad],
            dilations=self.dilation, group=channels,
        )  # fmt: skip
        if len(outer) == 1:
            return y
        return graph.reshape(y, [*([-1] if outer else []), *self.tops[0][1 if outer else 0 :]])
