"""BatchNorm: BVLC's with three blobs of statistics, Intel's and NVIDIA's with five blobs (caffe/layers/batch_norm_layer.cpp)."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..prototxt.message import Message, to_float32
from .base import BlobSpec, constant_filler
from .fields import Fields
from .fused_relu import FusedReLU
from .readings import Reading
from .registry import register

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from .forms.onnx_graph import OnnxGraph


NVIDIA_EPS = to_float32(1e-5)  # the smallest eps in NVIDIA's fork


def batch_statistics(x: Tensor, axes: list[int], view: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Statistics of a batch.

    Args:
        x: the batch.
        axes: axes to average over.
        view: shape in which the mean broadcasts against `x`.

    Returns:
        The mean, the (biased) variance, and `x` minus its mean.
    """
    mean = x.mean(axes)
    centred = x - mean.view(view)
    return mean, centred.square().mean(axes), centred


@register("BatchNorm")
class BatchNorm(FusedReLU):
    """(x - mean) / sqrt(variance + eps) per channel (axis 1), without scale and shift.

    Blobs: running sums of mean (C,) and variance (C,), and the factor (1,) by which both are divided; 0 means no statistics yet.
    With `use_global_stats` (default in TEST) these statistics are used, else those of the batch, which also update the sums:
    sum = fraction * sum + new, with the variance times m / (m - 1) for m values per channel.

    NVIDIA's form (`scale_bias` or `scale_filler` set; NVIDIA/caffe's batch_norm_layer.cpp) adds blobs scale and bias (C,). There
    only the phase determines which statistics are used; they are moving averages, fraction * stored + (1 - fraction) * new,
    starting with the first batch; they are not divided by the factor, which is 1; and eps, at least 1e-5, is included in the
    stored variance.

    If the prototxt does not ask for scale and bias but the weights have five blobs, the layer is in Intel's form, the default in
    that fork (mkldnn_batch_norm_layer.cpp of intel/caffe): BVLC's, followed by scale and bias. Both forks have `bias_filler`. A
    layer that sets it alone is taken for Intel's: NVIDIA's stores a factor of 1, so both agree in TEST; in TRAIN it is refused.

    happynear's `disable_mean` does not subtract the mean, so that the variance is the mean of squares; `disable_variance` does
    not divide. The disabled statistic is not updated, either (batch_norm_layer.cpp of happynear/caffe-windows). With Intel's
    `relu: true`, a ReLU follows.
    """

    param_name = "batch_norm_param"
    fields = Fields(
        "use_global_stats moving_average_fraction eps scale_filler bias_filler scale_bias disable_mean disable_variance relu",
        engine="NVIDIA/caffe src/caffe/layer_factory.cpp:74: GetBatchNormLayer picks cuDNN's",
    )
    keeps_place = True
    readings = MappingProxyType({
        3: Reading("BVLC's BatchNorm without scale and bias"),
        5: Reading("a BatchNorm with scale and bias, Intel's or NVIDIA's"),
    })  # fmt: skip

    def setup(self) -> None:
        p = self.param
        shape = self.bottoms[0]
        self.channels = shape[1] if len(shape) > 1 else 1
        self.nvidia = bool(p.scale_bias) or "scale_filler" in p
        number = 5 if self.nvidia or "bias_filler" in p else 3 if "scale_bias" in p else None
        self.five = self.reading(number, usual=3, sure=True) == 5
        self.eps = max(p.eps, NVIDIA_EPS) if self.nvidia else p.eps
        self.fraction = p.moving_average_fraction
        decided = "use_global_stats" in p and not self.nvidia
        self.global_stats: bool | None = p.use_global_stats if decided else None
        self.centres, self.divides = not p.disable_mean, not p.disable_variance
        self.check(
            not self.five or (self.centres and self.divides),
            "disable_mean and disable_variance (happynear's) cannot be combined with scale_bias, scale_filler or bias_filler "
            "(NVIDIA's)",
        )
        self.tops = [shape]
        self.blobs = self._blobs(p)

    def refusals(self) -> list[str]:
        """Fields that matter only when the batch's statistics are used are not refused when they are not."""
        refusals = super().refusals()
        if "bias_filler" in self.param and not self.nvidia and (self.phase == "TRAIN" or self.eps < NVIDIA_EPS):
            refusals.append("bias_filler alone: Intel's and NVIDIA's forks train it differently; scale_bias: true means NVIDIA's")
        if self.phase == "TRAIN" or self.global_stats is False:
            return refusals
        # intel/caffe src/caffe/layers/batch_norm_layer.cpp:87, hszhao/PSPNet src/caffe/layers/batch_norm_layer.cpp:115
        idle = [f"batch_norm_param.{name} is not computed" for name in ("stats_batch_size", "update_global_stats")]
        return [refusal for refusal in refusals if refusal not in idle]

    def _blobs(self, p: Message) -> list[BlobSpec]:
        # Without weights, Caffe starts from empty sums; in TEST every BatchNorm then multiplies by 1 / sqrt(eps), which overflows
        # in deep nets, so there unset statistics are those of standardised data.
        neutral = constant_filler(1.0 if self.phase == "TEST" else 0.0)
        c = (self.channels,)
        blobs = [
            BlobSpec("mean", c, constant_filler(), trainable=False),
            BlobSpec("variance", c, neutral, trainable=False),
            BlobSpec("factor", (1,), constant_filler(1.0) if self.nvidia else neutral, trainable=False),
        ]
        if self.five:
            scale = p.scale_filler if "scale_filler" in p else constant_filler(1.0)
            blobs += [BlobSpec("weight", c, scale), BlobSpec("bias", c, p.bias_filler)]
        return blobs

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        use_global = not training if self.global_stats is None else self.global_stats
        plain = self.centres and self.divides and x.dim() > 1
        if plain and use_global:
            return self.activated(self._by_pytorch(x, blobs, *self._statistics(blobs), training=False))
        m = x.numel() // blobs[0].numel()
        if plain and m > 1 and self.eps > 0:  # of one value, PyTorch has no variance, and Caffe 0; it refuses an eps of 0
            return self.activated(self._by_batch(x, blobs, m))
        return self.activated(self._step_by_step(x, blobs, use_global))

    def _by_pytorch(self, x: Tensor, blobs: Sequence[Tensor], mean: Tensor, variance: Tensor, training: bool) -> Tensor:
        """PyTorch's normalisation, one pass over `x`; in training it sets `mean` and `variance`, the latter times m / (m - 1)."""
        from torch.nn.functional import batch_norm

        weight, bias = blobs[3:5] if self.five else (None, None)
        return batch_norm(x, mean, variance, weight, bias, training, momentum=1.0, eps=self.eps)

    def _by_batch(self, x: Tensor, blobs: Sequence[Tensor], m: int) -> Tensor:
        """Normalise by the statistics of the batch, `m` values per channel, and update the stored ones."""
        import torch

        mean, variance = torch.zeros_like(blobs[0]), torch.zeros_like(blobs[1])
        y = self._by_pytorch(x, blobs, mean, variance, training=True)
        self._update(blobs, mean, variance * ((m - 1) / m), m)
        return y

    def _step_by_step(self, x: Tensor, blobs: Sequence[Tensor], use_global: bool) -> Tensor:
        """Normalise in any form, in several passes over `x`."""
        axes = [i for i in range(x.dim()) if i != 1] if x.dim() > 1 else [0]
        view = [1, -1] + [1] * (x.dim() - 2) if x.dim() > 1 else [-1]
        if use_global:
            mean, variance = self._statistics(blobs)
            y = x - mean.view(view) if self.centres else x
            y = y * (variance.view(view) + self.eps).rsqrt() if self.divides else y
        else:
            mean, variance, y = batch_statistics(x, axes, view)
            if not self.centres:
                variance, y = x.square().mean(axes), x
            y = y / (variance.view(view) + self.eps).sqrt() if self.divides else y
            self._update(blobs, mean.detach(), variance.detach(), x.numel() // mean.numel())
        return y * blobs[3].view(view) + blobs[4].view(view) if self.five else y

    def _statistics(self, blobs: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        import torch

        mean, variance, factor = blobs[:3]
        if self.nvidia:
            return mean, variance
        scale = torch.where(factor == 0, 0.0, 1 / factor)
        return mean * scale, variance * scale

    def _update(self, blobs: Sequence[Tensor], mean: Tensor, variance: Tensor, m: int) -> None:
        """Update Caffe's running sums in place: they are state, not part of the gradient."""
        correction = m / (m - 1) if m > 1 else 1.0
        sums, squares, factor = blobs[:3]
        if self.nvidia:
            self._average(sums, squares, mean, variance + self.eps)
            return
        factor.mul_(self.fraction).add_(1)
        if self.centres:
            sums.mul_(self.fraction).add_(mean)
        if self.divides:
            squares.mul_(self.fraction).add_(variance, alpha=correction)

    def _average(self, sums: Tensor, squares: Tensor, mean: Tensor, variance: Tensor) -> None:
        """Update NVIDIA's moving averages in place. The number of batches is not stored: statistics that are all 0 are new."""
        import torch

        new = (sums == 0).all() & (squares == 0).all()
        for stored, value in ((sums, mean), (squares, variance)):
            moved = self.fraction * stored + (1 - self.fraction) * value
            stored.copy_(torch.where(new, value, moved))

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        if self.global_stats is False:
            return self.onnx_activated(graph, self._onnx_batch(graph, bottoms[0], blobs))
        mean, variance, factor = blobs[:3]
        one, zero = graph.constant([1.0] * self.channels), graph.constant([0.0] * self.channels)
        if not self.nvidia:
            is_zero = graph.add("Equal", factor, graph.constant([0.0]))
            scale = graph.add("Where", is_zero, graph.constant([0.0]), graph.add("Div", graph.constant([1.0]), factor))
            mean, variance = graph.add("Mul", mean, scale), graph.add("Mul", variance, scale)
        weight, bias = (blobs[3], blobs[4]) if self.five else (one, zero)
        epsilon = self.eps
        if not self.centres:
            mean = zero
        if not self.divides:
            variance, epsilon = one, 0.0
        x = bottoms[0] if len(self.bottoms[0]) > 1 else graph.unsqueeze(bottoms[0], [1])
        y = graph.add("BatchNormalization", x, weight, bias, mean, variance, epsilon=epsilon)
        return self.onnx_activated(graph, y if len(self.bottoms[0]) > 1 else graph.squeeze(y, [1]))

    def _onnx_batch(self, graph: OnnxGraph, x: str, blobs: Sequence[str]) -> str:
        """Emit `use_global_stats: false` in TEST, which uses the batch's statistics."""
        ndim = len(self.bottoms[0])
        axes = [i for i in range(ndim) if i != 1] if ndim > 1 else [0]
        y = graph.add("Sub", x, graph.reduce("Mean", x, axes)) if self.centres else x
        if self.divides:
            variance = graph.reduce("Mean", graph.add("Mul", y, y), axes)
            y = graph.add("Div", y, graph.add("Sqrt", graph.add("Add", variance, graph.scalar(self.eps))))
        if self.five:
            view = [1, -1] + [1] * (ndim - 2)
            y = graph.affine(y, graph.reshape(blobs[3], view), graph.reshape(blobs[4], view))
        return y

    def affine(self, weights: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
        import numpy as np

        if self.global_stats is False or len(self.bottoms[0]) < 2 or self.has_relu:
            return None
        mean, variance, factor = (blob.astype(np.float64) for blob in weights[:3])
        if not self.nvidia:
            divisor = 0.0 if factor[0] == 0 else 1 / factor[0]
            mean, variance = mean * divisor, variance * divisor
        scale = 1 / np.sqrt(variance + self.eps) if self.divides else np.ones_like(variance)
        shift = -mean * scale if self.centres else np.zeros_like(mean)
        if self.five:
            scale, shift = scale * weights[3], shift * weights[3] + weights[4]
        return scale, shift
