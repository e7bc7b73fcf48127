"""Normalization by neighbours, by mean and variance, or by norm: LRN, MVN, Normalize, L2Normalization."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from .base import BlobSpec, LayerType, Shape, constant_filler
from .fields import Fields
from .readings import Reading
from .registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from .forms.onnx_graph import OnnxGraph


@register("LRN")
class LRN(LayerType):
    """Local response normalization of a bottom with 4 axes (N, C, H, W) (caffe/layers/lrn_layer.cpp).

    ACROSS_CHANNELS (default): x * (k + alpha / n * sum of squares over the n = `local_size` nearest channels)^-beta.
    WITHIN_CHANNEL: x * (1 + alpha / n^2 * sum of squares over the n x n positions around it)^-beta; k is not used.
    By default n is 5, alpha 1, beta 0.75, k 1. Values outside the bottom are 0.
    """

    param_name = "lrn_param"
    fields = Fields("local_size alpha beta norm_region k", engine="BVLC/caffe src/caffe/layer_factory.cpp:159")
    keeps_place = True

    def setup(self) -> None:
        p, shape = self.param, self.bottoms[0]
        self.check(len(shape) == 4, f"LRN takes a bottom with 4 axes (N, C, H, W), not {shape}")
        self.size: int = p.local_size
        self.check(self.size % 2 == 1, f"local_size must be odd, not {self.size}")
        self.alpha, self.beta = p.alpha, p.beta
        self.within = p.norm_region == "WITHIN_CHANNEL"
        self.k = 1.0 if self.within else p.k
        self.tops = [shape]

    def reach(self) -> list[int]:
        spans = [self._window(extent) - 1 if self.within else 0 for extent in self.bottoms[0][2:]]
        return [0, 0, *spans]

    def _window(self, extent: int) -> int:
        """`local_size`, or less if a smaller window already covers the whole extent from each of its points."""
        return min(self.size, 2 * max(extent, 1) - 1)

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        from torch.nn import functional as F

        n, channels, height, width = x.shape
        squares = x * x
        if self.within:
            windows = (self._window(height), self._window(width))
        else:
            # Channels as rows of one image: faster than nn.LocalResponseNorm's 3-D pooling, and works for every dtype.
            squares = squares.reshape(n, 1, channels, height * width)
            windows = (self._window(channels), 1)
        mean = F.avg_pool2d(squares, windows, 1, [(window - 1) // 2 for window in windows])
        return x * (mean.reshape(x.shape) * self._alpha(windows) + self.k).pow(-self.beta)

    def _alpha(self, windows: Sequence[int]) -> float:
        """The factor of a window's mean square: alpha, unless the window is smaller than `local_size`."""
        return self.alpha * windows[0] * windows[1] / (self.size**2 if self.within else self.size)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        x, shape = bottoms[0], self.bottoms[0]
        if not self.within:
            window = self._window(shape[1])
            if self.alpha <= 0 or self.beta <= 0:  # Caffe computes it, ONNX Runtime's LRN refuses it
                return self._onnx_by_convolution(graph, x, window)
            return graph.add("LRN", x, size=window, alpha=self._alpha((window, 1)), beta=self.beta, bias=self.k)
        windows = [self._window(extent) for extent in shape[2:]]
        pads = [(window - 1) // 2 for window in windows]
        mean = graph.add("AveragePool", graph.add("Mul", x, x), kernel_shape=windows, pads=pads * 2, count_include_pad=1)
        scale = graph.affine(mean, graph.scalar(self._alpha(windows)), graph.scalar(self.k))
        return graph.add("Mul", x, graph.add("Pow", scale, graph.scalar(-self.beta)))

    def _onnx_by_convolution(self, graph: OnnxGraph, x: str, window: int) -> str:
        """ACROSS_CHANNELS, with the mean of squares by a convolution that is a band of channels."""
        import numpy as np

        channel = np.arange(self.bottoms[0][1])
        band = (np.abs(channel[:, None] - channel) <= window // 2) / window
        mean = graph.add("Conv", graph.add("Mul", x, x), graph.constant(band[:, :, None, None]))
        scale = graph.affine(mean, graph.scalar(self._alpha((window, 1))), graph.scalar(self.k))
        return graph.add("Mul", x, graph.add("Pow", scale, graph.scalar(-self.beta)))


class FourAxes(LayerType):
    """A layer whose top has four axes (N, C, H, W); axes of size 1 are appended to a bottom with fewer."""

    keeps_place = True

    def setup(self) -> None:
        self.check_axes(0)
        self.tops = [four_axes(self.bottoms[0])]

    def check_axes(self, least: int) -> None:
        """Check that the bottom has from `least` to 4 axes, all that Caffe's num(), channels(), height() and width() support.

        Raises:
            LayerError: it does not.
        """
        shape = self.bottoms[0]
        number = f"{least} to 4" if least else "at most 4"
        self.check(least <= len(shape) <= 4, f"takes a bottom with {number} axes, not {shape}")

    def onnx_four(self, graph: OnnxGraph, x: str) -> str:
        """`x` with four axes."""
        ndim = len(self.bottoms[0])
        return x if ndim == 4 else graph.unsqueeze(x, list(range(ndim, 4)))


def four_axes(shape: Sequence[int]) -> Shape:
    """A shape of at most four axes as (N, C, H, W)."""
    return (*shape, *[1] * (4 - len(shape)))


@register("MVN")
class MVN(FourAxes):
    """(x - mean) / (deviation + eps) within each item (caffe/layers/mvn_layer.cpp).

    Mean and deviation are those of a channel or, with `across_channels`, of an item; without `normalize_variance` only the mean
    is subtracted. By default eps is 1e-9. The top has four axes. The gradient is Caffe's, in which the derivative of the
    deviation has deviation + eps in its denominator.
    """

    param_name = "mvn_param"
    fields = Fields("normalize_variance across_channels eps")

    @property
    def sees_all(self) -> bool:
        return True

    def setup(self) -> None:
        super().setup()
        self.axes = [1, 2, 3] if self.param.across_channels else [2, 3]

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        x = x.reshape(four_axes(x.shape))
        centred = x - x.mean(self.axes, keepdim=True)
        if not self.param.normalize_variance:
            return centred
        variance = centred.square().mean(self.axes, keepdim=True)
        divisor = variance.detach().sqrt() + self.param.eps
        # d(variance) / (2 divisor), where the true derivative divides by 2 deviation; this has no pole at 0, either.
        slope = variance / (2 * divisor)
        return centred / (divisor + (slope - slope.detach()))

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        x = self.onnx_four(graph, bottoms[0])
        centred = graph.add("Sub", x, graph.reduce("Mean", x, self.axes))
        if not self.param.normalize_variance:
            return centred
        variance = graph.reduce("Mean", graph.add("Mul", centred, centred), self.axes)
        divisor = graph.add("Add", graph.add("Sqrt", variance), graph.scalar(self.param.eps))
        return graph.add("Div", centred, divisor)


@register("Normalize")
class Normalize(FourAxes):
    """x divided by its norm: SSD's, with a learned scale, and happynear's, without.

    SSD (`norm_param`; normalize_layer.cpp of weiliu89/caffe): scale * x / sqrt(sum of squares + eps) over each item
    (`across_spatial`, default) or over the channels of each position, with eps 1e-10. Blob: scale, a single value of shape ()
    with `channel_shared` (default), else (C,). As in Caffe, the gradient for the bottom leaves a scale per channel out of the
    projection.

    happynear (`normalize_param` or a second top; normalize_layer.cpp of happynear/caffe-windows): x / norm over the channels of
    each position, with norm = sqrt(sum of squares + 1e-6), or sum of |x| + 1e-6 for `normalize_type: "L1"`. The tops have four
    axes; an optional second one is the norm (N, 1, H, W), which passes gradients back only with `bp_norm`. With `fix_gradient`,
    the gradient through the first top is not divided by the norm, as in the fork's GPU code (normalize_layer.cu; its CPU code
    does not read the field).

    If the prototxt has none of these, `param { }` implies SSD's; otherwise the weights decide: it is SSD's if they have a blob
    for the layer. Without weights it is taken for happynear's, with a warning.
    """

    n_tops = (1, 2)
    fields = (
        Fields()
        .also("norm_param", "across_spatial scale_filler channel_shared eps")
        .also("normalize_param", "normalize_type bp_norm fix_gradient")
    )
    readings = MappingProxyType({
        0: Reading("happynear's Normalize (each position over its channels, no scale)", "normalize_param {}"),
        1: Reading("SSD's (all positions together, with a learned scale)", "norm_param {}"),
    })  # fmt: skip

    def setup(self) -> None:
        message = self.layer.message
        self.two_tops = len(self.layer.tops) == 2
        self.ssd = self.reading(self._stated_blobs(), usual=0) == 1
        self.p = message.norm_param if self.ssd else message.normalize_param
        if self.ssd:
            self._setup_ssd()
        else:
            self._setup_happynear()

    @property
    def sees_all(self) -> bool:
        return self.ssd and bool(self.p.across_spatial)

    def _stated_blobs(self) -> int | None:
        """The number of blobs that the prototxt implies, None if it leaves that open."""
        message = self.layer.message
        if "norm_param" in message:
            return 1
        if self.two_tops or "normalize_param" in message:
            return 0
        return 1 if "param" in message else None

    def _setup_ssd(self) -> None:
        p, shape = self.p, self.bottoms[0]
        self.check_axes(2)
        self.check(not self.two_tops, "SSD's Normalize (norm_param) has one top; for the norm as a second, use normalize_param")
        filler = p.scale_filler if "scale_filler" in p else constant_filler(1.0)
        self.shared = bool(p.channel_shared)
        self.blobs = [BlobSpec("weight", () if self.shared else (shape[1],), filler)]
        self.axes = list(range(1, len(shape))) if p.across_spatial else [1]
        self.tops = [shape]

    def _setup_happynear(self) -> None:
        super().setup()
        self.kind: str = self.p.normalize_type
        self.check(self.kind in ("L1", "L2"), f'normalize_type must be "L1" or "L2", not {self.kind!r}')
        if self.two_tops:
            n, _, height, width = self.tops[0]
            self.tops.append((n, 1, height, width))

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor | Sequence[Tensor]:
        if self.ssd:
            return self._forward_ssd(x, blobs[0])
        x = x.reshape(four_axes(x.shape))
        norm = self._norm(x)
        # With fix_gradient, the gradient through the first top is not divided by the norm. The value is x, the other term is 0.
        scaled = x.detach() + (x - x.detach()) * norm.detach() if self.p.fix_gradient else x
        y = scaled / (self._norm(scaled) if self.p.fix_gradient else norm)
        return [y, norm if self.p.bp_norm else norm.detach()] if self.two_tops else y

    def _norm(self, x: Tensor) -> Tensor:
        lengths = (x.abs() if self.kind == "L1" else x.square()).sum(1, keepdim=True) + 1e-6
        return lengths if self.kind == "L1" else lengths.sqrt()

    def _forward_ssd(self, x: Tensor, scale: Tensor) -> Tensor:
        if self.shared:
            return self._unit(x) * scale
        scale = scale.reshape([-1] + [1] * (x.dim() - 2))
        # Caffe multiplies by the scale after the projection, not before. The value is unit(x) * scale, the other terms are 0.
        x = x.detach() + (x - x.detach()) * scale.detach()
        unit = self._unit(x)
        return unit.detach() * scale + (unit - unit.detach())

    def _unit(self, x: Tensor) -> Tensor:
        return x / (x.square().sum(self.axes, keepdim=True) + self.p.eps).sqrt()

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str | Sequence[str]:
        if self.ssd:
            unit = graph.add("Div", bottoms[0], _onnx_norm(graph, bottoms[0], self.axes, self.p.eps))
            view = [-1] + [1] * (len(self.bottoms[0]) - 2)
            return graph.add("Mul", unit, blobs[0] if self.shared else graph.reshape(blobs[0], view))
        x = self.onnx_four(graph, bottoms[0])
        if self.kind == "L1":
            norm = graph.add("Add", graph.reduce("L1", x, [1]), graph.scalar(1e-6))
        else:
            norm = _onnx_norm(graph, x, [1], 1e-6)
        y = graph.add("Div", x, norm)
        return [y, norm] if self.two_tops else y


def _onnx_norm(graph: OnnxGraph, x: str, axes: Sequence[int], eps: float) -> str:
    """sqrt(sum of squares + eps)."""
    squares = graph.reduce("Sum", graph.add("Mul", x, x), axes)
    return graph.add("Sqrt", graph.add("Add", squares, graph.scalar(eps)) if eps else squares)


@register("L2Normalization")
class L2Normalization(LayerType):
    """x / sqrt(sum of squares) over all axes but the batch, without an eps (l2normalization_layer.cpp of several forks)."""

    keeps_place = True

    @property
    def sees_all(self) -> bool:
        return True

    def setup(self) -> None:
        shape = self.bottoms[0]
        self.check(len(shape) >= 2, f"needs a bottom with a batch axis and at least one other, not {shape}")
        self.axes = list(range(1, len(shape)))
        self.tops = [shape]

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        return x / x.square().sum(self.axes, keepdim=True).sqrt()

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        return graph.add("Div", bottoms[0], _onnx_norm(graph, bottoms[0], self.axes, 0.0))
