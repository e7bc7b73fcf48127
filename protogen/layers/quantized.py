"""Layers of low-precision networks: half-wave Gaussian quantization (zhaoweicai/hwgq) and convolutions with binary weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from .activation import Elementwise
from .base import LayerType
from .convolution import Convolutional
from .fields import Fields
from .inner_product import InnerProduct
from .linear import Linear
from .loss import straight_through
from .registry import register

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from .forms.onnx_graph import OnnxGraph


@register("Quant")
class Quant(Elementwise):
    """Activations rounded to a few values (zhaoweicai/hwgq, quant_layer.cpp).

    `forward_func: "hwgq"` gives the nearest of the positive `centers` for x > 0 and -`negative_slope` for others; "sign" 1 for
    x >= 0 and -1 for others; "hard_tanh" min(max(x, -1), 1); "relu" a ReLU with `negative_slope`. The gradient is that of
    `backward_func`, "relu" (with `negative_slope`) or "hard_tanh" (1), up to `clip_thr`, if that is positive.
    """

    param_name = "quant_param"
    fields = Fields(
        "forward_func backward_func clip_thr negative_slope centers",
        thrs="zhaoweicai/hwgq src/caffe/layers/quant_layer.cpp:26: thresholds are computed from the centers",
    )

    def setup(self) -> None:
        super().setup()
        p = self.param
        self.centers = [float(center) for center in p.centers]
        forward, backward = ("hwgq", "sign", "hard_tanh", "relu"), ("relu", "hard_tanh")
        self.check(p.forward_func in forward, f"forward_func must be one of {', '.join(forward)}, not {p.forward_func!r}")
        self.check(p.backward_func in backward, f"backward_func must be one of {', '.join(backward)}, not {p.backward_func!r}")
        if p.forward_func == "hwgq":
            self.check(len(self.centers) > 0 and min(self.centers) > 0, "centers must be given and positive")
            self.check(self.centers == sorted(self.centers), "centers must be in ascending order")
        self.limits = [0.5 * (low + high) for low, high in zip(self.centers, self.centers[1:])]

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch
        from torch.nn import functional as F

        p = self.param
        top = p.clip_thr if p.clip_thr > 0 else float("inf")
        if p.backward_func == "relu":
            slope = torch.where(x <= top, F.leaky_relu(x, p.negative_slope), 0)
        else:
            slope = torch.where(x.abs() <= top, x, 0)
        return straight_through(self._value(x.detach()), slope)

    def _value(self, x: Tensor) -> Tensor:
        import torch
        from torch.nn import functional as F

        p = self.param
        if p.forward_func == "sign":
            return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)
        if p.forward_func == "hard_tanh":
            return x.clamp(-1, 1)
        if p.forward_func == "relu":
            return F.leaky_relu(x, p.negative_slope)
        nearest = x.new_tensor(self.centers)[torch.bucketize(x.contiguous(), x.new_tensor(self.limits))]
        return torch.where(x <= 0, -p.negative_slope, nearest)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        p, x = self.param, bottoms[0]
        if p.forward_func == "hard_tanh":
            return graph.clip(x, -1.0, 1.0)
        if p.forward_func == "relu":
            return graph.add("LeakyRelu", x, alpha=p.negative_slope)
        zero = graph.scalar(0.0)
        if p.forward_func == "sign":
            return graph.add("Where", graph.add("Less", x, zero), graph.scalar(-1.0), graph.scalar(1.0))
        y = graph.scalar(self.centers[0])
        for limit, center in zip(self.limits, self.centers[1:]):
            y = graph.add("Where", graph.add("Greater", x, graph.scalar(limit)), graph.scalar(center), y)
        return graph.add("Where", graph.add("Greater", x, zero), y, graph.scalar(-p.negative_slope))


class Binarized(Linear):
    """A layer whose weights are 1 (where its blob is at least 0) and -1 (zhaoweicai/hwgq, binary_conv_layer.cpp).

    With `use_alpha`, each output's weights are multiplied by the mean of the blob's absolute values. `use_binarization: false`
    makes it a plain layer. The gradient of the blob is that of the binary weights.
    """

    settings_name: ClassVar[str]  # the message that says how to make weights binary

    def setup(self) -> None:
        super().setup()
        settings = getattr(self.layer.message, self.settings_name)
        self.binarizes, self.uses_alpha = bool(settings.use_binarization), bool(settings.use_alpha)

    def module(self) -> torch.nn.Module:
        return LayerType.module(self)

    def forward(self, *bottoms: Tensor, blobs: Sequence[Tensor], training: bool) -> Any:
        weight = self._binary(blobs[0]) if self.binarizes else blobs[0]
        return super().forward(*bottoms, blobs=[weight, *blobs[1:]], training=training)

    def _binary(self, weight: Tensor) -> Tensor:
        import torch

        real = weight.detach()
        signs = torch.where(real >= 0, 1.0, -1.0).to(real.dtype)
        if self.uses_alpha:
            signs = signs * real.abs().mean(list(range(1, real.ndim)), keepdim=True)
        return straight_through(signs, weight)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> Any:
        weight = blobs[0]
        if self.binarizes:
            weight = graph.add("Where", graph.add("Less", weight, graph.scalar(0.0)), graph.scalar(-1.0), graph.scalar(1.0))
            if self.uses_alpha:
                axes = list(range(1, len(self.blobs[0].shape)))
                weight = graph.add("Mul", weight, graph.reduce("Mean", graph.add("Abs", blobs[0]), axes))
        return super().onnx(graph, bottoms, [weight, *blobs[1:]])

    @property
    def outputs_are_channels(self) -> bool:
        return not self.binarizes and super().outputs_are_channels


@register("BinaryConvolution")
class BinaryConvolution(Binarized, Convolutional):
    """A convolution with weights of two values: see `Binarized`."""

    settings_name = "binary_convolution_param"
    fields = Convolutional.fields.also(settings_name, "use_alpha use_binarization")


@register("BinaryInnerProduct")
class BinaryInnerProduct(Binarized, InnerProduct):
    """An InnerProduct with weights of two values: see `Binarized`."""

    settings_name = "binary_inner_product_param"
    fields = Fields("num_output bias_term weight_filler bias_filler axis").also(settings_name, "use_alpha use_binarization")
