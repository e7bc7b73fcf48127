"""SPP: spatial pyramid pooling, which returns the same number of values for any image size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..prototxt.message import Message
from .base import LayerType, count
from .fields import Fields
from .pooling import Pooling
from .registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from .forms.onnx_graph import OnnxGraph


@register("SPP")
class SPP(LayerType):
    """Pooling into 1, 2 x 2, 4 x 4, ... bins, `pyramid_height` times, flattened and joined (caffe/layers/spp_layer.cpp).

    (N, C, H, W) to (N, C * (4^pyramid_height - 1) / 3); the top of a pyramid of height 1 is (N, C, 1, 1). Kernel and stride of a
    level are the bin's size, rounded up; the excess is padded, half of it on each side.
    """

    param_name = "spp_param"
    fields = Fields(
        "pyramid_height pool",
        engine="BVLC/caffe src/caffe/layers/spp_layer.cpp:37: not passed on to the pooling layers inside",
    )

    @property
    def sees_all(self) -> bool:
        return True

    def setup(self) -> None:
        shape, height = self.bottoms[0], self.param.pyramid_height
        self.check(len(shape) == 4, f"takes a bottom with 4 axes (N, C, H, W), not {shape}")
        self.check(min(shape[2:]) > 0, f"its bottom {shape} has no pixels")
        self.check(height > 0, "pyramid_height must be positive")
        # Beyond this, a bin would be narrower than a pixel, and Caffe's check of the padding fails.
        fits = 2 ** (min(height, 64) - 1) <= min(shape[2:])
        bins = f"2^{height - 1} x 2^{height - 1} bins"
        self.check(fits, f"pyramid_height {height} asks for {bins}, more than its bottom {shape} has pixels")
        self.levels = self._levels(shape)
        size = sum(count(level.tops[0][1:]) for level in self.levels)
        self.tops = [self.levels[0].tops[0] if height == 1 else (shape[0], size)]

    def _levels(self, shape: Sequence[int]) -> list[Pooling]:
        """The pooling layers of the pyramid for a bottom of this shape."""
        from ..prototxt.layer import Layer

        levels = []
        for level in range(self.param.pyramid_height):
            kernel = [-(-side // 2**level) for side in shape[2:]]
            pad = [(k * 2**level - side + 1) // 2 for k, side in zip(kernel, shape[2:])]
            pooling = {
                "pool": self.param.pool, "kernel_h": kernel[0], "kernel_w": kernel[1], "stride_h": kernel[0],
                "stride_w": kernel[1], "pad_h": pad[0], "pad_w": pad[1],
            }  # fmt: skip
            message = Message.of("LayerParameter", name=self.layer.name, type="SPP", bottom="x", top="y", pooling_param=pooling)
            levels.append(Pooling(Layer(message, source=self.layer.source), [tuple(shape)], self.phase))
        return levels

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        same = tuple(x.shape[1:]) == self.bottoms[0][1:]
        levels = self.levels if same else self._levels(tuple(x.shape))
        tops = [level.pool(x, training) for level in levels]
        return tops[0] if len(tops) == 1 else torch.cat([top.flatten(1) for top in tops], 1)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        tops = [level.emit(graph, bottoms[0]) for level in self.levels]
        return tops[0] if len(tops) == 1 else graph.add("Concat", *[graph.add("Flatten", top, axis=1) for top in tops], axis=1)
