"""Unpooling of DeconvNet: the values of a pooled map go back to where pooling found them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .fields import Fields
from .registry import register
from .resize import Unpool


@register("Unpooling")
class Unpooling(Unpool):
    """Each value goes to its index in the pooling mask, all else is 0 (HyeonwooNoh/caffe, unpooling_layer.cpp).

    Bottoms (N, C, h, w) and a mask of the same shape, with indices into the planes of the top (N, C, H, W). H and W are
    `unpool_size`, or `unpool_h` and `unpool_w`, or else the least size that pooling with this kernel and stride shrinks to
    (h, w). Computed are `unpool: MAX` with a mask: without one, and with AVE or TILE (whose CPU code adds to what its memory
    held before), the layer is refused.
    """

    types = ("Unpooling",)
    param_name = "unpooling_param"
    fields = Fields("kernel_size kernel_h kernel_w stride stride_h stride_w unpool_size unpool_h unpool_w")
    n_bottoms = (1, 2)

    def setup(self) -> None:
        p, shape = self.param, self.bottoms[0]
        self.check(p.unpool == "MAX", f"unpool: {p.unpool} is not computed, only MAX")
        self.check(len(self.bottoms) == 2, "unpooling without a pooling mask as second bottom is not computed")
        self.check(len(shape) == 4, f"takes bottoms with 4 axes (N, C, H, W), not {shape}")
        mask = self.bottoms[1]
        self.check(mask == shape, f"its second bottom (the pooling mask) must have the first one's shape {shape}, not {mask}")
        for name in ("pad", "pad_h", "pad_w"):
            self.check(getattr(p, name) == 0, f"{name} must be 0")
        self.kernel = self._pair("kernel_size", "kernel_h", "kernel_w")
        self.check(min(self.kernel) > 0, "kernel_size must be positive")
        self.stride = self._pair("stride", "stride_h", "stride_w")
        fixed = any(name in p for name in ("unpool_size", "unpool_h", "unpool_w"))
        self.fixed = self._pair("unpool_size", "unpool_h", "unpool_w") if fixed else None
        self.tops = [(*shape[:2], *self._size(shape[2:]))]

    def _pair(self, both: str, high: str, wide: str) -> tuple[int, int]:
        """(height, width) of a setting, from one field or from two."""
        p = self.param
        if high in p or wide in p:
            self.check(high in p and wide in p and both not in p, f"give either {both} or both {high} and {wide}")
            return (getattr(p, high), getattr(p, wide))
        self.check(both in p or both == "stride", f"{both} is missing")
        return (getattr(p, both),) * 2

    def _size(self, size: Sequence[Any]) -> tuple[Any, Any]:
        if self.fixed is not None:
            return self.fixed
        # In both terms: the last window's end, and one past the last window's start if strides leave gaps.
        grown = [side * stride + max(kernel - stride, 1) for side, kernel, stride in zip(size, self.kernel, self.stride)]
        return (grown[0], grown[1])
