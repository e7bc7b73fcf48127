"""Elementwise layers: activations without and with a slope to learn, powers, exponentials, logarithms, and Dropout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..prototxt.message import to_float32
from .base import BlobSpec, LayerType, constant_filler
from .fields import Fields
from .registry import register

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from .forms.onnx_graph import OnnxGraph


class Elementwise(LayerType):
    """A layer whose top has its bottom's shape, whatever that is."""

    keeps_place = True

    def setup(self) -> None:
        self.tops = [self.bottoms[0]]


@register("ReLU")
class ReLU(Elementwise):
    """max(x, 0) + negative_slope * min(x, 0)."""

    param_name = "relu_param"
    fields = Fields("negative_slope", engine="BVLC/caffe src/caffe/layer_factory.cpp:197")

    def module(self) -> torch.nn.Module:
        from torch import nn

        slope = self.param.negative_slope
        return nn.LeakyReLU(slope) if slope else nn.ReLU()

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        slope = self.param.negative_slope
        return graph.add("LeakyRelu", bottoms[0], alpha=slope) if slope else graph.add("Relu", bottoms[0])


@register("ReLU6")
class ReLU6(Elementwise):
    """min(max(x, 0) + negative_slope * min(x, 0), 6); no gradient from 6 on (relu6_layer.cpp of MobileNet forks)."""

    param_name = "relu6_param"
    fields = Fields("negative_slope", engine="the message is ReLU's: BVLC/caffe src/caffe/layer_factory.cpp:197")

    def module(self) -> torch.nn.Module:
        from torch import nn

        return super().module() if self.param.negative_slope else nn.ReLU6()

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:  # type: ignore[override]
        from torch.nn import functional as F

        return F.leaky_relu(x, self.param.negative_slope).masked_fill(x >= 6, 6.0)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        slope = self.param.negative_slope
        if not slope:
            return graph.clip(bottoms[0], 0.0, 6.0)
        return graph.clip(graph.add("LeakyRelu", bottoms[0], alpha=slope), None, 6.0)


@register("PReLU")
class PReLU(Elementwise):
    """max(x, 0) + slope * min(x, 0), one learned slope per channel (axis 1), or one in all with `channel_shared`."""

    param_name = "prelu_param"
    fields = Fields("filler channel_shared")

    def setup(self) -> None:
        super().setup()
        self.check(len(self.bottoms[0]) >= 2, f"needs a channel axis; its bottom is {self.bottoms[0]}")
        self.shared = bool(self.param.channel_shared)
        filler = self.param.filler if "filler" in self.param else constant_filler(0.25)
        self.blobs = [BlobSpec("weight", () if self.shared else (self.bottoms[0][1],), filler)]

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:  # type: ignore[override]
        from torch.nn import functional as F

        return F.prelu(x, blobs[0].reshape(-1))

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        view = [1] if self.shared else [-1] + [1] * (len(self.bottoms[0]) - 2)
        return graph.add("PRelu", bottoms[0], graph.reshape(blobs[0], view))


@register("Sigmoid")
class Sigmoid(Elementwise):
    """1 / (1 + exp(-x))."""

    param_name = "sigmoid_param"
    fields = Fields(engine="BVLC/caffe src/caffe/layer_factory.cpp:221")

    def module(self) -> torch.nn.Module:
        from torch import nn

        return nn.Sigmoid()

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        return graph.add("Sigmoid", bottoms[0])


@register("TanH")
class TanH(Elementwise):
    """Hyperbolic tangent (caffe/layers/tanh_layer.cpp)."""

    param_name = "tanh_param"
    fields = Fields(engine="BVLC/caffe src/caffe/layer_factory.cpp:269")

    def module(self) -> torch.nn.Module:
        from torch import nn

        return nn.Tanh()

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        return graph.add("Tanh", bottoms[0])


@register("BNLL")
class BNLL(Elementwise):
    """log(1 + exp(x)), computed so that it does not overflow (caffe/layers/bnll_layer.cpp)."""

    def module(self) -> torch.nn.Module:
        from torch import nn

        return nn.Softplus()

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        return graph.add("Softplus", bottoms[0])


@register("AbsVal")
class AbsVal(Elementwise):
    """|x|, with gradient 0 at 0; not in place (caffe/layers/absval_layer.cpp)."""

    def setup(self) -> None:
        super().setup()
        blob = self.layer.tops[0]
        self.check(self.layer.bottoms[0] != blob, f"cannot work in place; give its top another name than {blob!r}")

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:  # type: ignore[override]
        return x.abs()

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        return graph.add("Abs", bottoms[0])


@register("Clip")
class Clip(Elementwise):
    """max(min, min(x, max)); the gradient passes at the bounds themselves, too (caffe/layers/clip_layer.cpp)."""

    param_name = "clip_param"
    fields = Fields("min max")

    def setup(self) -> None:
        super().setup()
        p = self.param
        self.check("min" in p and "max" in p, "clip_param must give both min and max")
        self.low, self.high = p.min, p.max

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:  # type: ignore[override]
        # One bound after the other: PyTorch and ONNX favour max where min > max, Caffe min.
        return x.clamp(max=self.high).clamp(min=self.low)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        if self.low <= self.high:
            return graph.clip(bottoms[0], self.low, self.high)
        return graph.clip(graph.clip(bottoms[0], None, self.high), self.low, None)


@register("ELU")
class ELU(Elementwise):
    """x where x > 0, else alpha * (exp(x) - 1); times `lambda` in NVIDIA's fork (caffe/layers/elu_layer.cpp)."""

    param_name = "elu_param"
    fields = Fields("alpha lambda")

    def setup(self) -> None:
        super().setup()
        self.alpha: float = self.param.alpha
        self.gain: float = getattr(self.param, "lambda")

    def module(self) -> torch.nn.Module:
        from torch import nn

        return nn.ELU(self.alpha) if self.gain == 1 else super().module()

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:  # type: ignore[override]
        from torch.nn import functional as F

        return F.elu(x, self.alpha) * self.gain

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        y = graph.add("Elu", bottoms[0], alpha=self.alpha)
        return y if self.gain == 1 else graph.add("Mul", y, graph.scalar(self.gain))


@register("SeLu", "SELU")
class SELU(ELU):
    """lambda * x where x > 0, else lambda * alpha * (exp(x) - 1) (selu_layer.cpp of the forks that have it).

    By default lambda 1.0507 and alpha 1.6733, which keep mean 0 and variance 1 (Klambauer et al. 2017).
    """

    param_name = "selu_param"
    fields = Fields("lambda alpha")

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        return graph.add("Selu", bottoms[0], alpha=self.alpha, gamma=self.gain)


@register("Swish")
class Swish(Elementwise):
    """x / (1 + exp(-beta x)), beta 1 by default (caffe/layers/swish_layer.cpp)."""

    param_name = "swish_param"
    fields = Fields("beta")

    def module(self) -> torch.nn.Module:
        from torch import nn

        return nn.SiLU() if self.param.beta == 1 else super().module()

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:  # type: ignore[override]
        return x * (x * self.param.beta).sigmoid()

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        x, beta = bottoms[0], self.param.beta
        scaled = x if beta == 1 else graph.add("Mul", x, graph.scalar(beta))
        return graph.add("Mul", x, graph.add("Sigmoid", scaled))


@register("Threshold")
class Threshold(Elementwise):
    """1 where x > threshold (0 by default), else 0; no gradient (caffe/layers/threshold_layer.cpp)."""

    param_name = "threshold_param"
    fields = Fields("threshold")
    has_gradient = False

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:  # type: ignore[override]
        return (x > self.param.threshold).to(x.dtype)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        above = graph.add("Greater", bottoms[0], graph.scalar(self.param.threshold))
        return graph.add("Cast", above, to=1)  # TensorProto.FLOAT


@register("Power")
class Power(Elementwise):
    """(shift + scale * x) ^ power; by default power 1, scale 1, shift 0 (caffe/layers/power_layer.cpp).

    With power or scale 0 the input plays no part, not even one that is infinite: power 0 gives 1.
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

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:  # type: ignore[override]
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
    """base ^ (shift + scale * x); by default base -1, which stands for e, scale 1, shift 0 (caffe/layers/exp_layer.cpp)."""

    param_name = "exp_param"
    fields = Fields("base scale shift")

    def setup(self) -> None:
        super().setup()
        p = self.param
        self.inner = to_float32(_log_base(self, p.base) * p.scale)
        self.outer = 1.0 if p.shift == 0 else _float_power(math.e if p.base == -1 else p.base, p.shift)

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:  # type: ignore[override]
        return _scaled(_scaled(x, self.inner).exp(), self.outer)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        y = graph.add("Exp", _onnx_scaled(graph, bottoms[0], self.inner))
        return _onnx_scaled(graph, y, self.outer)


@register("Log")
class Log(Elementwise):
    """log(shift + scale * x) to a base; by default base -1, which stands for e, scale 1, shift 0 (caffe/layers/log_layer.cpp)."""

    param_name = "log_param"
    fields = Fields("base scale shift")

    def setup(self) -> None:
        super().setup()
        p = self.param
        log_base = _log_base(self, p.base)
        self.check(log_base != 0, "base must not be 1: its logarithm is 0")
        self.outer = to_float32(1 / log_base)
        self.scale, self.shift = p.scale, p.shift

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:  # type: ignore[override]
        return _scaled(_scaled(x, self.scale, self.shift).log(), self.outer)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        y = graph.add("Log", _onnx_scaled(graph, bottoms[0], self.scale, self.shift))
        return _onnx_scaled(graph, y, self.outer)


def _log_base(op: LayerType, base: float) -> float:
    """Natural logarithm of a base, as a float32; -1 stands for e."""
    if base == -1:
        return 1.0
    op.check(0 < base < math.inf, f"base must be positive and finite, or -1 for e, not {base:g}")
    return to_float32(math.log(base))


def _float_power(base: float, exponent: float) -> float:
    """C's powf: infinities and NaN where Python raises."""
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


@register("Dropout")
class Dropout(Elementwise):
    """TRAIN: zero each value with probability `dropout_ratio` and scale the rest by 1 / (1 - ratio); TEST: identity.

    With a fork's `scale_train: false`, TRAIN does not scale and TEST multiplies by 1 - ratio. With happynear's `sqrt_scale`,
    TRAIN scales by the root of 1 / (1 - ratio). With SegNet's `sample_weights_test`, TEST does what TRAIN does: it is random, so
    there is no ONNX form (dropout_layer.cpp of happynear/caffe-windows and of alexgkendall/caffe-segnet).
    """

    param_name = "dropout_param"
    fields = Fields(
        "dropout_ratio scale_train sqrt_scale sample_weights_test",
        engine="NVIDIA/caffe src/caffe/layer_factory.cpp: GetDropoutLayer picks cuDNN's",
        random_seed="NVIDIA/caffe include/caffe/layers/cudnn_dropout_layer.hpp:17: seeds cuDNN's random numbers",
    )

    def setup(self) -> None:
        super().setup()
        p = self.param
        self.ratio = p.dropout_ratio
        self.scale_train = bool(p.get("scale_train", True))
        self.always = bool(p.sample_weights_test)
        self.check(0 <= self.ratio < 1, f"dropout_ratio must be in [0, 1), not {self.ratio:g}")
        self.check(self.scale_train or not p.sqrt_scale, "scale_train: false leaves nothing to scale for sqrt_scale")
        # What TRAIN multiplies values by that are kept, relative to 1 / (1 - ratio), and TEST all values.
        self.train_factor = 1 - self.ratio if not self.scale_train else math.sqrt(1 - self.ratio) if p.sqrt_scale else 1.0
        self.test_factor = 1.0 if self.scale_train else 1 - self.ratio

    def module(self) -> torch.nn.Module:
        from torch import nn

        plain = self.train_factor == self.test_factor == 1 and not self.always
        return nn.Dropout(self.ratio) if plain else super().module()

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:  # type: ignore[override]
        from torch.nn import functional as F

        if not (training or self.always):
            return x * self.test_factor
        return F.dropout(x, self.ratio, True) * self.train_factor

    @property
    def is_identity(self) -> bool:
        return self.test_factor == 1 and not self.always

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        if self.always:
            raise graph.refuse("it draws random numbers in TEST, too; without sample_weights_test the model gives their mean")
        return bottoms[0] if self.is_identity else graph.add("Mul", bottoms[0], graph.scalar(self.test_factor))


@register("SeLuDropout")
class SeLuDropout(Elementwise):
    """Dropout that keeps mean and variance of SELU's outputs (selu_dropout_layer.cpp of the forks that have it).

    TRAIN: each value becomes `alpha` with probability `dropout_ratio` (0.1), then all are a * x + b, where
    a = (q + alpha^2 q (1 - q))^-1/2, b = -a (1 - q) alpha and q = 1 - dropout_ratio. TEST: identity.
    """

    param_name = "selu_dropout_param"
    fields = Fields("dropout_ratio alpha")

    def setup(self) -> None:
        super().setup()
        ratio, self.alpha = self.param.dropout_ratio, self.param.alpha
        self.check(0 <= ratio < 1, f"dropout_ratio must be in [0, 1), not {ratio:g}")
        self.keep = 1 - ratio
        self.scale = (self.keep * (1 + self.alpha**2 * ratio)) ** -0.5
        self.shift = -self.scale * ratio * self.alpha

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:  # type: ignore[override]
        import torch

        if not training:
            return x
        return x.masked_fill(torch.rand_like(x) >= self.keep, self.alpha) * self.scale + self.shift

    @property
    def is_identity(self) -> bool:
        return True

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        return bottoms[0]
