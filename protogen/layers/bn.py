"""BN of three forks: batch normalization with scale and shift in one layer; all blobs are (1, C, 1, 1)."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from .base import BlobSpec, LayerType, constant_filler
from .batch_norm import batch_statistics
from .fields import Fields
from .normalization import FourAxes, four_axes
from .readings import Reading
from .registry import register

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..prototxt.layer import Layer
    from .forms.onnx_graph import OnnxGraph

CTPN_FIELDS = ("var_eps", "moving_average", "decay", "axis")
OTHER_FIELDS = ("bn_mode", "slope_filler", "bias_filler", "momentum", "eps", "frozen")


@register("BN")
class BN(FourAxes):
    """SegNet's and PSPNet's batch normalization with scale and shift; for CTPN's fields, see `MovingBN`.

    SegNet (any of `bn_mode`, `scale_filler`, `shift_filler`, or more than one top; bn_layer.cpp of alexgkendall/caffe-segnet):
    blobs scale and shift. INFERENCE: x * scale + shift. LEARN (default): normalization by the batch's statistics, also in TEST,
    with eps 1e-9; optional second and third tops are the batch's mean and variance (1, C, 1, 1), without gradients. The top has
    four axes.

    PSPNet and TSN (otherwise; bn_layer.cpp of hszhao/PSPNet): blobs slope, bias, mean and variance, eps 1e-5 by default.
    TEST or `frozen`: the stored statistics; if frozen, slope and bias get no gradient. TRAIN: the batch's statistics, and
    stored = momentum * stored + (1 - momentum) * new, with the biased variance.

    If `bn_param` has no field of either, the weights decide: two blobs are SegNet's, four are PSPNet's. Without weights it is
    taken for PSPNet's, with a warning.
    """

    param_name = "bn_param"
    fields = Fields(
        "slope_filler bias_filler momentum eps frozen bn_mode scale_filler shift_filler var_eps moving_average decay",
        engine="yjxiong/caffe src/caffe/layer_factory.cpp:176: GetBNLayer picks cuDNN's",
    )
    n_tops = (1, 3)
    readings = MappingProxyType({
        2: Reading("SegNet's BN (scale and shift)", "bn_param { bn_mode: LEARN }"),
        4: Reading("PSPNet's BN (scale, shift and statistics)", "bn_param { frozen: false }"),
    })  # fmt: skip

    @classmethod
    def select(cls, layer: Layer) -> type[LayerType]:
        return MovingBN if any(name in layer.message.bn_param for name in CTPN_FIELDS) else cls

    def setup(self) -> None:
        p, shape = self.param, self.bottoms[0]
        self.check_axes(2)
        segnet = any(field in p for field in ("bn_mode", "scale_filler", "shift_filler"))
        pspnet = next((f for f in ("slope_filler", "bias_filler", "momentum", "eps", "frozen") if f in p), None)
        n_tops = len(self.layer.tops)
        self.check(not (segnet and pspnet), f"bn_param mixes SegNet's fields (bn_mode, ...) with PSPNet's ({pspnet})")
        number = 2 if segnet else 4 if pspnet else 2 if n_tops > 1 else None
        self.segnet = self.reading(number, usual=4) == 2
        self.check(self.segnet or n_tops == 1, f"PSPNet's BN has one top, not {n_tops}")
        self.learn = self.segnet and p.bn_mode == "LEARN"
        self.check(self.learn or n_tops == 1, "only bn_mode: LEARN has the batch's mean and variance as further tops")
        self.statistics = (1, shape[1], 1, 1)
        self.eps = 1e-9 if self.segnet else p.eps
        if self.segnet:
            self.tops = [four_axes(shape)] + [self.statistics] * (n_tops - 1)
            fillers = [p.scale_filler, p.shift_filler]
        else:
            self.tops = [shape]
            fillers = [p.slope_filler, p.bias_filler]
        self.blobs = [BlobSpec(name, self.statistics, filler) for name, filler in zip(("weight", "bias"), fillers)]
        if not self.segnet:
            # Caffe starts with variance 0 unless frozen; in TEST that would divide by sqrt(eps): see BatchNorm.
            neutral = constant_filler(1.0 if p.frozen or self.phase == "TEST" else 0.0)
            self.blobs.append(BlobSpec("mean", self.statistics, constant_filler(), trainable=False))
            self.blobs.append(BlobSpec("variance", self.statistics, neutral, trainable=False))

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor | Sequence[Tensor]:
        if self.segnet:
            return self._forward_segnet(x.reshape(four_axes(x.shape)), blobs)
        view = [1, -1] + [1] * (x.dim() - 2)
        axes = [i for i in range(x.dim()) if i != 1]
        weight, bias = blobs[0].view(view), blobs[1].view(view)
        frozen = self.param.frozen
        if frozen or not training:
            mean, variance = blobs[2].view(view), blobs[3].view(view)
            unit = (x - mean) * (variance + self.eps).rsqrt()
            return unit * weight.detach() + bias.detach() if frozen else unit * weight + bias
        batch_mean, batch_variance, centred = batch_statistics(x, axes, view)
        momentum = self.param.momentum
        for stored, new in zip(blobs[2:], (batch_mean, batch_variance)):
            stored.mul_(momentum).add_(new.detach().view(stored.shape), alpha=1 - momentum)
        return centred / (batch_variance.view(view) + self.eps).sqrt() * weight + bias

    def _forward_segnet(self, x: Tensor, blobs: Sequence[Tensor]) -> Tensor | Sequence[Tensor]:
        scale, shift = blobs
        if not self.learn:
            return x * scale + shift
        view = (1, -1, 1, 1)
        mean, variance, centred = batch_statistics(x, [0, 2, 3], view)
        y = centred / (variance.view(view) + self.eps).sqrt() * scale + shift
        further = [mean.detach().view(view), variance.detach().view(view)]
        return [y, *further[: len(self.tops) - 1]] if len(self.tops) > 1 else y

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str | Sequence[str]:
        if not self.segnet:
            flat = [graph.reshape(blob, [-1]) for blob in blobs]
            return graph.add("BatchNormalization", bottoms[0], *flat, epsilon=self.eps)
        x = self.onnx_four(graph, bottoms[0])
        if not self.learn:
            return graph.affine(x, blobs[0], blobs[1])
        unit, mean, variance = onnx_unit(graph, x, self.eps)
        y = graph.affine(unit, blobs[0], blobs[1])
        return [y, mean, variance][: len(self.tops)] if len(self.tops) > 1 else y

    def affine(self, weights: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
        import numpy as np

        if self.learn or self.tops[0] != self.bottoms[0]:
            return None
        scale, shift, *statistics = (blob.astype(np.float64).reshape(-1) for blob in weights)
        if self.segnet:
            return scale, shift
        mean, variance = statistics
        scale = scale / np.sqrt(variance + self.eps)
        return scale, shift - mean * scale


class MovingBN(FourAxes):
    """CTPN's BN (bn_param { var_eps moving_average decay }; bn_layer.cpp of its fork of Caffe).

    Blobs scale, shift, mean and variance (1, C, 1, 1). `var_eps` (1e-10) is added to the variance. TRAIN: the batch's statistics;
    stored = (1 - decay) * stored + decay * new, with the biased variance. TEST: the stored ones with `moving_average`, else also
    the batch's.
    """

    types = ("BN",)
    param_name = "bn_param"
    fields = Fields("scale_filler shift_filler var_eps moving_average decay")

    def setup(self) -> None:
        p = self.param
        self.check_axes(2)
        own = next(name for name in CTPN_FIELDS if name in p)
        foreign = next((name for name in OTHER_FIELDS if name in p), None)
        self.check(foreign is None, f"bn_param mixes CTPN's {own} with another fork's {foreign}")
        shape, statistics = self.bottoms[0], (1, self.bottoms[0][1], 1, 1)
        self.tops = [shape]
        # Caffe starts with variance 0; in TEST that would divide by sqrt(var_eps): see BatchNorm.
        neutral = constant_filler(1.0 if self.phase == "TEST" else 0.0)
        self.blobs = [
            BlobSpec("weight", statistics, p.scale_filler),
            BlobSpec("bias", statistics, p.shift_filler),
            BlobSpec("mean", statistics, constant_filler(), trainable=False),
            BlobSpec("variance", statistics, neutral, trainable=False),
        ]

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        p, view = self.param, [1, -1] + [1] * (x.dim() - 2)
        scale, shift, *stored = (blob.view(view) for blob in blobs)
        if p.moving_average and not training:
            mean, variance = stored
            return (x - mean) * (variance + p.var_eps).rsqrt() * scale + shift
        mean, variance, centred = batch_statistics(x, [axis for axis in range(x.dim()) if axis != 1], view)
        if training:
            for blob, new in zip(blobs[2:], (mean, variance)):
                blob.mul_(1 - p.decay).add_(new.detach().view(blob.shape), alpha=p.decay)
        return centred / (variance.view(view) + p.var_eps).sqrt() * scale + shift

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        p, ndim = self.param, len(self.bottoms[0])
        if p.moving_average:
            flat = [graph.reshape(blob, [-1]) for blob in blobs]
            return graph.add("BatchNormalization", bottoms[0], *flat, epsilon=p.var_eps)
        unit, _, _ = onnx_unit(graph, bottoms[0], p.var_eps, [axis for axis in range(ndim) if axis != 1])
        view = [1, -1] + [1] * (ndim - 2)
        return graph.affine(unit, graph.reshape(blobs[0], view), graph.reshape(blobs[1], view))

    def affine(self, weights: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
        import numpy as np

        if not self.param.moving_average:
            return None
        scale, shift, mean, variance = (blob.astype(np.float64).reshape(-1) for blob in weights)
        scale = scale / np.sqrt(variance + self.param.var_eps)
        return scale, shift - mean * scale


def onnx_unit(graph: OnnxGraph, x: str, eps: float, axes: Sequence[int] = (0, 2, 3)) -> tuple[str, str, str]:
    """Emit the normalization by a batch's statistics.

    Args:
        graph: the graph to emit into.
        x: name of the value.
        eps: added to the variance.
        axes: axes to average over.

    Returns:
        Names of (x - mean) / sqrt(variance + eps), of the mean, and of the variance.
    """
    mean = graph.reduce("Mean", x, axes)
    centred = graph.add("Sub", x, mean)
    variance = graph.reduce("Mean", graph.add("Mul", centred, centred), axes)
    deviation = graph.add("Sqrt", graph.add("Add", variance, graph.scalar(eps)))
    return graph.add("Div", centred, deviation), mean, variance
