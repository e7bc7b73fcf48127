"""Elementwise layers: activations, with or without a learned slope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .base import BlobSpec, LayerType, constant_filler
from .fields import Fields
from .registry import register

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .forms.onnx_graph import OnnxGraph


class Elementwise(LayerType):
    """A layer whose top has its bottom's shape, with any number of axes."""

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

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        from torch.nn import functional as F

        return F.leaky_relu(x, self.param.negative_slope).masked_fill(x >= 6, 6.0)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        slope = self.param.negative_slope
        if not slope:
            return graph.clip(bottoms[0], 0.0, 6.0)
        return graph.clip(graph.add("LeakyRelu", bottoms[0], alpha=slope), None, 6.0)


@register("PReLU")
class PReLU(Elementwise):
    """max(x, 0) + slope * min(x, 0), with a learned slope per channel (axis 1), or a single one with `channel_shared`."""

    param_name = "prelu_param"
    fields = Fields("filler channel_shared")

    def setup(self) -> None:
        super().setup()
        self.check(len(self.bottoms[0]) >= 2, f"needs a channel axis; its bottom is {self.bottoms[0]}")
        self.shared = bool(self.param.channel_shared)
        filler = self.param.filler if "filler" in self.param else constant_filler(0.25)
        self.blobs = [BlobSpec("weight", () if self.shared else (self.bottoms[0][1],), filler)]

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
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
    """log(1 + exp(x)), computed without overflow (caffe/layers/bnll_layer.cpp)."""

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
        self.check(self.layer.bottoms[0] != blob, f"cannot work in place; give its top a name other than {blob!r}")

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        return x.abs()

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        return graph.add("Abs", bottoms[0])


@register("Clip")
class Clip(Elementwise):
    """max(min, min(x, max)); the gradient also passes at the bounds themselves (caffe/layers/clip_layer.cpp)."""

    param_name = "clip_param"
    fields = Fields("min max")

    def setup(self) -> None:
        super().setup()
        p = self.param
        self.check("min" in p and "max" in p, "clip_param must set both min and max")
        self.low, self.high = p.min, p.max

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        # One bound after the other: where min > max, PyTorch and ONNX return max, Caffe min.
        return x.clamp(max=self.high).clamp(min=self.low)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        if self.low <= self.high:
            return graph.clip(bottoms[0], self.low, self.high)
        return graph.clip(graph.clip(bottoms[0], None, self.high), self.low, None)


@register("ELU")
class ELU(Elementwise):
    """x if x > 0, else alpha * (exp(x) - 1); times `lambda` in NVIDIA's fork (caffe/layers/elu_layer.cpp)."""

    param_name = "elu_param"
    fields = Fields("alpha lambda")

    def setup(self) -> None:
        super().setup()
        self.alpha: float = self.param.alpha
        self.gain: float = getattr(self.param, "lambda")

    def module(self) -> torch.nn.Module:
        from torch import nn

        return nn.ELU(self.alpha) if self.gain == 1 else super().module()

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        from torch.nn import functional as F

        return F.elu(x, self.alpha) * self.gain

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        y = graph.add("Elu", bottoms[0], alpha=self.alpha)
        return y if self.gain == 1 else graph.add("Mul", y, graph.scalar(self.gain))


@register("SeLu", "SELU")
class SELU(ELU):
    """lambda * x if x > 0, else lambda * alpha * (exp(x) - 1) (selu_layer.cpp of the forks that have it).

    By default, lambda is 1.0507 and alpha 1.6733, which preserve mean 0 and variance 1 (Klambauer et al. 2017).
    """

    param_name = "selu_param"
    fields = Fields("lambda alpha")

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        return graph.add("Selu", bottoms[0], alpha=self.alpha, gamma=self.gain)


@register("Swish")
class Swish(Elementwise):
    """x / (1 + exp(-beta x)), with beta 1 by default (caffe/layers/swish_layer.cpp)."""

    param_name = "swish_param"
    fields = Fields("beta")

    def module(self) -> torch.nn.Module:
        from torch import nn

        return nn.SiLU() if self.param.beta == 1 else super().module()

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        return x * (x * self.param.beta).sigmoid()

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        x, beta = bottoms[0], self.param.beta
        scaled = x if beta == 1 else graph.add("Mul", x, graph.scalar(beta))
        return graph.add("Mul", x, graph.add("Sigmoid", scaled))


@register("Threshold")
class Threshold(Elementwise):
    """1 if x > threshold (0 by default), else 0; no gradient (caffe/layers/threshold_layer.cpp)."""

    param_name = "threshold_param"
    fields = Fields("threshold")
    has_gradient = False

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        return (x > self.param.threshold).to(x.dtype)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        above = graph.add("Greater", bottoms[0], graph.scalar(self.param.threshold))
        return graph.cast(above, "float32")
