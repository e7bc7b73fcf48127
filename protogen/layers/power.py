"""Elementwise powers, exponentials and logarithms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..prototxt.message import to_float32
from .activation import Elementwise
from .base import LayerType
from .fields import Fields
from .registry import register

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from .forms.onnx_graph import OnnxGraph


@register("Power")
class Power(Elementwise):
    """(shift + scale * x) ^ power; by default power 1, scale 1, shift 0 (caffe/layers/power_layer.cpp).

    If power or scale is 0, the input is ignored, even if it is infinite: power 0 always gives 1.
    """

    param_name = "power_param"
    fields = Fields("power scale shift")

    def setup(self) -> None:
        super().setup()
        p = self.param
        self.power, self.scale, self.shift = p.power, p.scale, p.shift
        self.constant = self._constant() if to_float32(self.power * self.scale) == 0 else None

    def _constant(self) -> float:
        return 1.0 if self.power == 0 else _float_power(self.shift, self.power)

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        if self.constant is not None:
            # Not full_like: the top stays part of the graph, with gradient 0.
            return x.masked_fill(torch.ones_like(x, dtype=torch.bool), self.constant)
        y = _scaled(x, self.scale, self.shift)
        return y if self.power == 1 else y.pow(self.power)

    @property
    def is_identity(self) -> bool:
        return (self.power, self.scale, self.shift) == (1, 1, 0)

    def affine(self, weights: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
        import numpy as np

        if self.power != 1 or len(self.bottoms[0]) < 2:
            return None
        channels = self.bottoms[0][1]
        return np.full(channels, self.scale), np.full(channels, self.shift)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        x = bottoms[0]
        if self.constant is not None:
            return graph.add("Expand", graph.scalar(self.constant), graph.add("Shape", x))
        if self.is_identity:
            return x
        y = _onnx_scaled(graph, x, self.scale, self.shift)
        return y if self.power == 1 else graph.add("Pow", y, graph.scalar(self.power))


@register("Exp")
class Exp(Elementwise):
    """base ^ (shift + scale * x); by default base -1, which means e, scale 1, shift 0 (caffe/layers/exp_layer.cpp)."""

    param_name = "exp_param"
    fields = Fields("base scale shift")

    def setup(self) -> None:
        super().setup()
        p = self.param
        self.inner = to_float32(_log_base(self, p.base) * p.scale)
        self.outer = 1.0 if p.shift == 0 else _float_power(math.e if p.base == -1 else p.base, p.shift)

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        return _scaled(_scaled(x, self.inner).exp(), self.outer)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        y = graph.add("Exp", _onnx_scaled(graph, bottoms[0], self.inner))
        return _onnx_scaled(graph, y, self.outer)


@register("Log")
class Log(Elementwise):
    """log(shift + scale * x) to a base; by default base -1, which means e, scale 1, shift 0 (caffe/layers/log_layer.cpp)."""

    param_name = "log_param"
    fields = Fields("base scale shift")

    def setup(self) -> None:
        super().setup()
        p = self.param
        log_base = _log_base(self, p.base)
        self.check(log_base != 0, "base must not be 1: its logarithm is 0")
        self.outer = to_float32(1 / log_base)
        self.scale, self.shift = p.scale, p.shift

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        return _scaled(_scaled(x, self.scale, self.shift).log(), self.outer)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        y = graph.add("Log", _onnx_scaled(graph, bottoms[0], self.scale, self.shift))
        return _onnx_scaled(graph, y, self.outer)


def _log_base(op: LayerType, base: float) -> float:
    """Natural logarithm of a base, as a float32; -1 means e."""
    if base == -1:
        return 1.0
    op.check(0 < base < math.inf, f"base must be positive and finite, or -1 for e, not {base:g}")
    return to_float32(math.log(base))


def _float_power(base: float, exponent: float) -> float:
    """C's powf, with infinities and NaN where Python raises."""
    try:
        value = math.pow(base, exponent)
    except OverflowError:
        negative = base < 0 and exponent % 2 == 1
        return -math.inf if negative else math.inf
    except ValueError:
        return math.inf if base == 0 else math.nan
    return to_float32(value)


def _scaled(x: Tensor, scale: float, shift: float = 0.0) -> Tensor:
    y = x if scale == 1 else x * scale
    return y if shift == 0 else y + shift


def _onnx_scaled(graph: OnnxGraph, x: str, scale: float, shift: float = 0.0) -> str:
    return graph.affine(x, None if scale == 1 else graph.scalar(scale), None if shift == 0 else graph.scalar(shift))
