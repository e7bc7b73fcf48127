"""Losses of BVLC Caffe and of the Fast R-CNN, SSD and R-FCN forks: a scalar for the solver, weight 1 by default.

Every loss divides by a normalizer. Where Caffe's backward is not the derivative of its forward (a floor under a logarithm,
a small number added to a distance, weights that only the forward pass applies), `straight_through` yields Caffe's gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from .base import LayerType, Shape, count
from .fields import Fields
from .limits import FLT_MIN
from .registry import register

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# The smallest probability that InfogainLoss and MultinomialLogisticLoss take the logarithm of (kLOG_THRESHOLD).
LOG_THRESHOLD = float("1e-20")


def legacy(shape: Shape, index: int) -> int:
    """Size of axis `index` of (N, C, H, W), 1 for an axis that the shape does not have."""
    return shape[index] if index < len(shape) else 1


def straight_through(value: Tensor, like: Tensor) -> Tensor:
    """A tensor with the values of `value` and the gradient of `like` (which must be finite)."""
    return value.detach() + (like - like.detach())


def floored(log: Tensor, least: float) -> Tensor:
    """Logarithms, at least log(`least`), with the gradient of the bare logarithms, as in Caffe's backward."""
    return straight_through(log.clamp(min=math.log(least)), log)


class Loss(LayerType):
    """A scalar loss of predictions and labels for the same number of items.

    Attributes:
        ignore_label: label of the items to ignore, None if there is none.
        normalization: the divisor of the sum: FULL (items times positions), VALID (those not ignored), BATCH_SIZE (items), NONE,
            or PRE_FIXED (`pre_fixed_normalizer`); never less than 1.
    """

    n_bottoms = (2, 2)
    is_loss = True
    index_bottoms: ClassVar[tuple[int, ...]] = (1,)
    only_trains = True
    onnx_note = "a loss is for training only"
    normalization_default = "VALID"

    def setup(self) -> None:
        p = self.layer.message.loss_param
        self.ignore_label: int | None = p.get("ignore_label")
        self.normalization: str = p.normalization if "normalization" in p else self.normalization_default
        if "normalize" in p and "normalization" not in p:
            self.normalization = "VALID" if p.normalize else "BATCH_SIZE"
        self.pre_fixed = float(p.pre_fixed_normalizer)
        first, second = self.bottoms[:2]
        self.check(
            len(first) > 0 and first[:1] == second[:1], f"bottoms {first} and {second} must have the same first axis (the batch)"
        )
        self.tops = [()]

    def normalizer(self, outer: int, inner: int, valid: Tensor) -> Tensor | float:
        """The divisor of the loss.

        Args:
            outer, inner: numbers of items and of positions in each.
            valid: mask of those that count.
        """
        if self.normalization == "VALID":
            return valid.sum().clamp(min=1)
        if self.normalization == "PRE_FIXED":
            return max(self.pre_fixed, 1.0)
        return max({"FULL": outer * inner, "BATCH_SIZE": outer, "NONE": 1}[self.normalization], 1)

    def labels(self, label: Tensor) -> tuple[Tensor, Tensor]:
        """Labels as whole numbers, 0 where they are ignored, and the mask of those that count."""
        import torch

        whole = label.long()
        if self.ignore_label is None:
            return whole, torch.ones_like(whole, dtype=torch.bool)
        valid = whole != self.ignore_label
        return whole.masked_fill(~valid, 0), valid


class MeanLoss(Loss):
    """A loss divided by the number of items, N, regardless of `loss_param`; refused where Intel's fork would not divide."""

    def refusals(self) -> list[str]:
        """Refuse `normalization: NONE`: BVLC divides anyway, Intel does not (euclidean_loss_layer.cpp:65 of intel/caffe)."""
        undivided = self.layer.message.loss_param.normalization == "NONE"
        return super().refusals() + (["loss_param.normalization: NONE is not computed"] if undivided else [])


class ClassLoss(Loss):
    """The base of losses on a softmax over an axis: predictions (outer, C, inner), one label for each (outer, inner)."""

    n_tops = (1, 2)
    prediction = "Softmax"
    fields = (
        Fields()
        .also("loss_param", "ignore_label normalize normalization pre_fixed_normalizer")
        .also("softmax_param", "axis", engine="BVLC/caffe src/caffe/layer_factory.cpp:245")
    )

    def refusals(self) -> list[str]:
        """Refuse happynear's mining fields at their default 0, too: 0 enables them (softmax_loss_layer.cpp:53 of its fork)."""
        mining = [name for name in ("hard_mining_label", "cutting_point") if self.layer.message.softmax_param.get(name) == 0]
        return super().refusals() + [f"softmax_param.{name} is not computed" for name in mining]

    def class_axis(self) -> int:
        """The axis of the classes, as in the prototxt."""
        return self.layer.message.softmax_param.axis

    def setup(self) -> None:
        super().setup()
        shape, label = self.bottoms[:2]
        self.over = self.axis(self.class_axis())
        self.classes = shape[self.over]
        items = count(shape) // max(self.classes, 1)
        self.check(
            items == count(label),
            f"needs {items} labels, one per prediction of {shape} along axis {self.over}, not {label}",
        )
        self.tops = [(), shape][: len(self.layer.tops)]

    def log_softmax(self, x: Tensor) -> Tensor:
        """(outer, C, inner) logarithms of softmax(x)."""
        from torch.nn import functional as F

        outer, inner = math.prod(x.shape[: self.over]), math.prod(x.shape[self.over + 1 :])
        return F.log_softmax(x.reshape(outer, x.shape[self.over], inner), dim=1)

    def with_probabilities(self, loss: Tensor, x: Tensor) -> list[Tensor]:
        """The loss, and softmax(x) if there is a second top (which has no gradient in Caffe)."""
        import torch

        return [loss] if len(self.layer.tops) < 2 else [loss, torch.softmax(x.detach(), self.over)]


@register("SoftmaxWithLoss", "SoftmaxWithLossOHEM")
class SoftmaxWithLoss(ClassLoss):
    """-log(softmax(x)[label]), summed and divided by the normalizer (caffe/layers/softmax_loss_layer.cpp).

    Bottoms (N, C, ...) and labels (N, ...) for `softmax_param { axis: 1 }`; tops: the loss, optionally the softmax and, in
    R-FCN's forks (softmax_loss_layer, softmax_loss_ohem_layer), the loss of each item, in the labels' shape.
    `loss_param`: `ignore_label`, `normalization` (VALID), and the older `normalize` (false means BATCH_SIZE).
    """

    n_tops = (1, 3)

    def setup(self) -> None:
        super().setup()
        self.tops = [(), *self.bottoms][: len(self.layer.tops)]

    def item_losses(self, x: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """(outer, 1, inner) losses, 0 where the label is ignored, and the mask of those that count."""
        log = self.log_softmax(x)
        whole, valid = self.labels(label.reshape(log.shape[0], 1, log.shape[2]))
        return -floored(log.gather(1, whole), FLT_MIN).masked_fill(~valid, 0), valid

    def forward(self, x: Tensor, label: Tensor, *, blobs: Sequence[Tensor], training: bool) -> list[Tensor]:
        losses, valid = self.item_losses(x, label)
        loss = losses.sum() / self.normalizer(losses.shape[0], losses.shape[2], valid)
        tops = self.with_probabilities(loss, x)
        return tops if len(self.layer.tops) < 3 else [*tops, losses.detach().reshape(label.shape)]


@register("InfogainLoss")
class InfogainLoss(ClassLoss):
    """-sum over k of H[label, k] log(softmax(x)[k]) (caffe/layers/infogain_loss_layer.cpp).

    The matrix H (C x C values) is the third bottom, or else in the BlobProto file `infogain_loss_param { source }`, read when the
    net is converted. Second top, `ignore_label` and `normalization` as in SoftmaxWithLoss; `normalize` is not supported.
    """

    param_name = "infogain_loss_param"
    fields = Fields("source axis").also("loss_param", "ignore_label normalization pre_fixed_normalizer")
    n_bottoms = (2, 3)

    def class_axis(self) -> int:
        return self.param.axis

    def setup(self) -> None:
        super().setup()
        self.check(
            "normalize" not in self.layer.message.loss_param, "InfogainLoss has no loss_param { normalize }; use normalization"
        )
        self.matrix: Tensor | None = None
        if len(self.bottoms) == 2:
            self.check(bool(self.param.source), "needs the infogain matrix: a third bottom, or infogain_loss_param { source }")
        else:
            self._check_matrix(self.bottoms[2])

    def _check_matrix(self, shape: Shape) -> None:
        n = self.classes
        self.check(count(shape) == n**2, f"the infogain matrix for {n} classes must have {n} x {n} values, not {shape}")

    def module(self) -> torch.nn.Module:
        if len(self.bottoms) == 2:
            import torch

            from ..weights import binaryproto

            matrix = binaryproto.read(self.param.source)
            self._check_matrix(matrix.shape)
            self.matrix = torch.tensor(matrix)
        return super().module()

    def forward(
        self, x: Tensor, label: Tensor, matrix: Tensor | None = None, *, blobs: Sequence[Tensor], training: bool
    ) -> Tensor | list[Tensor]:
        infogain = self.matrix if matrix is None else matrix
        assert infogain is not None, "module() reads the matrix"
        log = floored(self.log_softmax(x), LOG_THRESHOLD).transpose(1, 2)
        whole, valid = self.labels(label.reshape(log.shape[:2]))
        rows = infogain.detach().to(x).reshape(self.classes, self.classes).index_select(0, whole.reshape(-1))
        losses = -(rows.reshape(log.shape) * log).sum(2).masked_fill(~valid, 0)
        return self.with_probabilities(losses.sum() / self.normalizer(losses.shape[0], losses.shape[1], valid), x)


@register("MultinomialLogisticLoss")
class MultinomialLogisticLoss(MeanLoss):
    """-log(p[label]) of probabilities (N, C), divided by N (caffe/layers/multinomial_logistic_loss_layer.cpp)."""

    def setup(self) -> None:
        super().setup()
        label = self.bottoms[1]
        self.check(count(label) == label[0], f"needs one label per item, not {label}")

    def forward(self, p: Tensor, label: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        flat = p.flatten(1) if p.dim() > 1 else p[:, None]
        picked = flat.gather(1, label.reshape(-1, 1).long())
        return -straight_through(picked.clamp(min=LOG_THRESHOLD), picked).log().sum() / p.shape[0]


@register("HingeLoss")
class HingeLoss(MeanLoss):
    """Sum of max(0, 1 - t x), or of its square for `norm: L2`, divided by N; t is 1 for the label's class and -1 for the others.

    Predictions (N, C, ...), labels (N,) (caffe/layers/hinge_loss_layer.cpp).
    """

    param_name = "hinge_loss_param"
    fields = Fields("norm")

    def forward(self, x: Tensor, label: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        flat = x.reshape(x.shape[0], -1)
        target = label.reshape(-1)[: x.shape[0], None].long()
        is_target = torch.arange(flat.shape[1], device=x.device) == target
        # relu, not clamp: Caffe's gradient at the kink is 0.
        margin = torch.relu(1 + torch.where(is_target, -flat, flat))
        return (margin if self.param.norm == "L1" else margin * margin).sum() / x.shape[0]


@register("SigmoidCrossEntropyLoss")
class SigmoidCrossEntropyLoss(Loss):
    """-t log(sigmoid(x)) - (1 - t) log(1 - sigmoid(x)) for as many targets t in [0, 1] as predictions x.

    Normalization is BATCH_SIZE by default (caffe/layers/sigmoid_cross_entropy_loss_layer.cpp). PRE_FIXED is refused: none of the
    forks that support it for other losses divides by it here (Intel's divides by the batch size).
    """

    normalization_default = "BATCH_SIZE"
    prediction = "Sigmoid"
    fields = Fields().also(
        "loss_param",
        "ignore_label normalize normalization",
        pre_fixed_normalizer="intel/caffe src/caffe/layers/sigmoid_cross_entropy_loss_layer.cpp:82: divides by the batch or by 1",
    )

    def refusals(self) -> list[str]:
        fixed = self.normalization == "PRE_FIXED"
        return super().refusals() + (["loss_param.normalization: PRE_FIXED is not computed"] if fixed else [])

    def setup(self) -> None:
        super().setup()
        x, target = self.bottoms
        self.check(count(x) == count(target), f"needs as many targets as predictions: {x} and {target}")

    def forward(self, x: Tensor, target: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        from torch.nn import functional as F

        goal = target.detach().reshape(x.shape).to(x.dtype)
        _, valid = self.labels(goal)
        losses = F.binary_cross_entropy_with_logits(x, goal, reduction="none").masked_fill(~valid, 0)
        return losses.sum() / self.normalizer(x.shape[0], math.prod(x.shape[1:]), valid)


@register("EuclideanLoss")
class EuclideanLoss(MeanLoss):
    """Sum of (a - b)^2 / 2N, with gradients for both bottoms (caffe/layers/euclidean_loss_layer.cpp)."""

    index_bottoms = ()

    def setup(self) -> None:
        super().setup()
        a, b = self.bottoms
        self.check(count(a[1:]) == count(b[1:]), f"needs two bottoms of the same size, not {a} and {b}")

    def forward(self, a: Tensor, b: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        difference = a - b.reshape(a.shape)
        return (difference * difference).sum() / a.shape[0] / 2


@register("ContrastiveLoss")
class ContrastiveLoss(MeanLoss):
    """For pairs a, b (N, C) at distance d = |a - b|: d^2 / 2N if the label is 1 (similar), else max(margin - d, 0)^2 / 2N.

    With `legacy_version`, max(margin - d^2, 0) / 2N for dissimilar pairs (caffe/layers/contrastive_loss_layer.cpp).
    """

    param_name = "contrastive_loss_param"
    fields = Fields("margin legacy_version")
    n_bottoms = (3, 3)
    index_bottoms = (2,)

    def setup(self) -> None:
        super().setup()
        a, b, label = self.bottoms
        for shape in (a, b):
            self.check(len(shape) <= 4 and count(shape[2:]) == 1, f"its vectors must be (N, C) or (N, C, 1, 1), not {shape}")
        self.check(legacy(a, 1) == legacy(b, 1), f"bottoms {a} and {b} differ in the number of channels")
        self.check(label[:1] == a[:1] and count(label) == a[0], f"needs one label per pair, not {label}")

    def forward(self, a: Tensor, b: Tensor, label: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        import torch

        p = self.param
        difference = (a - b.reshape(a.shape)).reshape(a.shape[0], -1)
        squared = (difference * difference).sum(1)
        if p.legacy_version:
            apart = torch.relu(p.margin - squared)
        else:
            distance = squared.detach().sqrt()
            # Caffe's gradient divides by the distance plus 1e-4.
            distance = straight_through(distance, squared / (2 * (distance + 1e-4)))
            apart = torch.relu(p.margin - distance) ** 2
        similar = label.reshape(-1).long() != 0
        return torch.where(similar, squared, apart).sum() / a.shape[0] / 2


class SmoothL1(Loss):
    """f(w (a - b)) with f(d) = (sigma d)^2 / 2 if |d| < 1 / sigma^2, else |d| - 1 / (2 sigma^2); gradients for a and b.

    Attributes:
        sigma2: square of sigma.
        by_param: whether to divide by `loss_param`'s normalizer, for which the channels of a position count once.
    """

    n_tops = (1, 2)
    index_bottoms = ()
    fields = Fields().also(
        "loss_param",
        "normalize normalization pre_fixed_normalizer",
        ignore_label="weiliu89/caffe src/caffe/layers/smooth_L1_loss_layer.cpp:17: reads no loss_param",
    )
    sigma2 = 1.0
    by_param = True

    def setup(self) -> None:
        super().setup()
        first = self.bottoms[0]
        for other in self.bottoms[1:]:
            same = all(legacy(first, axis) == legacy(other, axis) for axis in range(1, 4)) and count(first) == count(other)
            same = same and max(len(first), len(other)) <= 4
            self.check(same, f"bottoms {first} and {other} must have the same shape, of at most 4 axes")
        # Per-item losses, for online hard example mining.
        self.tops = [(), (first[0], 1, legacy(first, 2), legacy(first, 3))][: len(self.layer.tops)]

    def error_of(self, difference: Tensor) -> Tensor:
        """f of each difference."""
        import torch

        size = difference.abs()
        return torch.where(size < 1 / self.sigma2, difference * difference * (0.5 * self.sigma2), size - 0.5 / self.sigma2)

    def forward(self, a: Tensor, b: Tensor, *weights: Tensor, blobs: Sequence[Tensor], training: bool) -> Tensor | list[Tensor]:
        shape = a.shape
        difference = a - b.reshape(shape)
        if len(weights) == 2:
            difference = difference * weights[0].detach().reshape(shape)
        elif weights:
            # With one weight bottom, Caffe's forward applies it but its backward does not.
            difference = straight_through(difference * weights[0].reshape(shape), difference)
        errors = self.error_of(difference)
        if len(weights) == 2:
            errors = errors * weights[1].detach().reshape(shape)
        inner = math.prod(shape[2:])
        items = errors.new_ones(errors[:, :1].shape)
        loss = errors.sum() / (self.normalizer(shape[0], inner, items) if self.by_param else shape[0])
        if len(self.layer.tops) < 2:
            return loss
        per_item = errors.detach().reshape(shape[0], -1, inner).sum(1)
        return [loss, per_item.reshape(shape[0], 1, *(shape[axis] if axis < len(shape) else 1 for axis in (2, 3)))]


@register("SmoothL1Loss")
class SmoothL1Loss(SmoothL1):
    """Smooth L1 loss divided by N, in three forms that differ in the number of bottoms.

    Bottoms a, b (SSD and Fast R-CNN), a, b, weights (SSD, R-FCN), or a, b, inside weights, outside weights (Fast R-CNN,
    `smooth_l1_loss_param { sigma: 1 }`): out * f(in * (a - b)). With a `normalization` in `loss_param`, it divides as R-FCN's
    does (smooth_L1_loss_layer of rbgirshick/caffe-fast-rcnn, weiliu89/caffe, daijifeng001/caffe-rfcn). happynear's
    `smoothl1_param { turn_point: t }` has f(d) = d^2 / 2 if |d| < t, else |d| - t + t^2 / 2 (smooth_L1_loss_layer.cu of
    happynear/caffe-windows).
    """

    param_name = "smooth_l1_loss_param"
    fields = SmoothL1.fields.but("sigma").also("smoothl1_param", "turn_point")
    n_bottoms = (2, 4)

    def setup(self) -> None:
        super().setup()
        p = self.layer.message.loss_param
        self.by_param = "normalization" in p or "normalize" in p
        self.check(self.param.sigma > 0, f"sigma must be positive, not {self.param.sigma}")
        self.sigma2 = float(self.param.sigma) ** 2
        self.turn = float(self.layer.message.smoothl1_param.turn_point)
        self.check(self.turn == 1 or self.sigma2 == 1, "give sigma (Fast R-CNN's) or turn_point (happynear's), not both")

    def error_of(self, difference: Tensor) -> Tensor:
        import torch

        if self.turn == 1:
            return super().error_of(difference)
        size = difference.abs()
        return torch.where(size < self.turn, 0.5 * difference * difference, size - self.turn + 0.5 * self.turn**2)


@register("SmoothL1LossOHEM")
class SmoothL1LossOHEM(SmoothL1):
    """R-FCN's smooth L1 loss; bottoms a, b and optionally weights; the second top (N, 1, H, W) is the loss of each item.

    Divided by `loss_param`'s normalizer (N H W for VALID and FULL). It counts towards the net's loss only if `loss_weight` is
    set (smooth_l1_loss_ohem_layer of R-FCN's forks).
    """

    n_bottoms = (2, 3)
    is_loss = False
