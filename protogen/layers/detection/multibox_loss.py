"""MultiBoxLoss, SSD's loss (multibox_loss_layer.cpp and bbox_util.cpp of weiliu89/caffe)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..base import count
from ..detection import boxes as box_ops
from ..fields import Fields
from ..limits import FLT_MIN
from ..loss import Loss, floored, legacy, straight_through
from ..registry import register
from .matching import NONE_YET, hardest, match, outside

if TYPE_CHECKING:
    from torch import Tensor


class GroundTruth(NamedTuple):
    """Ground truth rows: `image` (R,), equal to the number of images for rows that do not count; `label` (R,); `box` (R, 4)."""

    image: Tensor
    label: Tensor
    box: Tensor


@register("MultiBoxLoss")
class MultiBoxLoss(Loss):
    """SSD's loss: (loc_weight * localization of matches + classification of matches and hard negatives) / normalizer.

    Bottoms: loc (N, P * 4), or (N, P * classes * 4) without `share_location`; conf (N, P * num_classes); priors and their
    variances (1, 2, P * 4); ground truth (1, 1, R, 8), rows of image, label, instance, xmin, ymin, xmax, ymax, difficult, ended
    by image -1. The normalizer (VALID) is the number of matches; a loss whose `propagate_down` is false is left out.

    Defaults of `multibox_loss_param`: `match_type` PER_PREDICTION at `overlap_threshold` 0.5, `mining_type` MAX_NEGATIVE with
    `neg_pos_ratio` 3 and `neg_overlap` 0.5, losses SMOOTH_L1 and SOFTMAX, `code_type` CORNER. Suppression before mining
    (`nms_param`) is data-dependent and does not compile into one graph; all else does. Caffe's checks of the data (for ground
    truth boxes of the background class) are not made.

    RefineDet's loss of the second stage has the first stage's confidences and locations as fifth and sixth bottoms, which change
    matches, negatives and targets. It has no PyTorch form.
    """

    param_name = "multibox_loss_param"
    decoder = "Softmax over the classes (Sigmoid if conf_loss_type is LOGISTIC) and DetectionOutput"
    fields = Fields(
        "loc_loss_type conf_loss_type loc_weight num_classes share_location match_type overlap_threshold "
        "use_prior_for_matching background_label_id use_difficult_gt do_neg_mining neg_pos_ratio neg_overlap "
        "code_type encode_variance_in_target map_object_to_agnostic ignore_cross_boundary_bbox bp_inside "
        "mining_type sample_size use_prior_for_nms",
    )
    fields = fields.also("loss_param", "normalize normalization").also(
        ".nms_param", "nms_threshold top_k", eta="weiliu89/caffe src/caffe/util/bbox_util.cpp:889: mining reads the other two"
    )
    n_bottoms = (4, 6)
    index_bottoms = (3,)

    def setup(self) -> None:
        super().setup()
        p, (loc, conf, prior, truth) = self.param, self.bottoms[:4]
        self.classes, self.background = int(p.num_classes or 0), int(p.background_label_id)
        self.check(self.classes >= 1, "num_classes must be set, and positive")
        self.loc_classes = 1 if p.share_location else self.classes
        self.mining: str = p.mining_type
        self.check(
            "do_neg_mining" not in p or p.do_neg_mining == (self.mining != "NONE"),
            f"do_neg_mining contradicts mining_type {self.mining}",
        )
        self.check(self.mining == "NONE" or p.share_location, f"mining_type {self.mining} needs share_location: true")
        self.check(self.mining != "HARD_EXAMPLE" or p.sample_size > 0, f"sample_size must be positive, not {p.sample_size}")
        if p.conf_loss_type == "SOFTMAX" or self.mining != "NONE":
            self.check(
                self.background < self.classes, f"background_label_id {self.background} is not one of the {self.classes} classes"
            )
        self.check(
            not p.map_object_to_agnostic or self.classes == 2, f"map_object_to_agnostic needs num_classes 2, not {self.classes}"
        )
        self.priors = legacy(prior, 2) // 4
        self.check(count(prior) == 8 * self.priors > 0, f"its priors must be (1, 2, 4 * priors), not {prior}")
        self._check_channels(loc, 4 * self.loc_classes, "location")
        self._check_channels(conf, self.classes, "confidence")
        self.check(count(truth) == 8 * legacy(truth, 2) > 0, f"its ground truth must be (1, 1, boxes, 8), not {truth}")
        flags = [bool(flag) for flag in self.layer.message.propagate_down]
        self.use_loc, self.use_conf = flags[:2] or [True, True]

    def refusals(self) -> list[str]:
        further = self.layer.bottoms[4:]
        second = [f"RefineDet's loss of the second stage, with bottoms {' and '.join(map(repr, further))}, is not computed"]
        return super().refusals() + (second if further else [])

    def _check_channels(self, shape: tuple[int, ...], each: int, what: str) -> None:
        needed = self.priors * each
        self.check(
            legacy(shape, 1) == needed == count(shape[1:]), f"{self.priors} priors need {needed} {what} predictions, not {shape}"
        )

    def forward(
        self, loc: Tensor, conf: Tensor, prior: Tensor, truth: Tensor, *, blobs: Sequence[Tensor], training: bool
    ) -> Tensor:
        import torch

        images = loc.shape[0]
        loc = loc.reshape(images, self.priors, self.loc_classes, 4).transpose(1, 2)  # (N, loc classes, P, 4)
        conf = conf.reshape(images, self.priors, self.classes)
        with torch.no_grad():
            boxes, variances = prior.detach().reshape(2, self.priors, 4)
            objects = self.ground_truth(truth.detach(), images)
            matches, overlap = self.matches(loc, boxes, variances, objects)
            target = self.targets(matches, boxes, variances, objects)
            if self.mining == "NONE":
                negative = None
            else:
                matches, negative = self.mine(loc, conf, boxes, variances, objects, matches, overlap, target)
        positive = matches >= 0
        divisor = self.normalizer(images, self.priors, positive)
        loss = conf.new_zeros(())
        if self.use_loc:
            difference = self.differences(loc, target, boxes, variances).masked_fill(~positive[..., None], 0)
            loss = loss + self.loc_losses(difference).sum() * float(self.param.loc_weight) / divisor
        if self.use_conf:
            loss = loss + self.conf_loss(conf, objects, matches, negative) / divisor
        return loss

    # ---- ground truth and matching

    def ground_truth(self, truth: Tensor, images: int) -> GroundTruth:
        """Ground truth from the fourth bottom; rows after the end, and difficult ones unless `use_difficult_gt`, do not count."""
        import torch

        rows = truth.reshape(-1, 8)
        image = rows[:, 0].long()
        counts = ((image == -1).cumsum(0) == 0) & (image >= 0) & (image < images)
        if not self.param.use_difficult_gt:
            counts = counts & (rows[:, 7] == 0)
        return GroundTruth(torch.where(counts, image, images), rows[:, 1].long(), rows[:, 3:7])

    def variance(self, variances: Tensor) -> Tensor | None:
        """The variances that scale the predictions; None if they are encoded in the targets."""
        return None if self.param.encode_variance_in_target else variances

    def decoded(self, loc: Tensor, boxes: Tensor, variances: Tensor) -> Tensor:
        """The predicted boxes (N, loc classes, P, 4).

        Args:
            loc: location predictions (N, loc classes, P, 4).
            boxes, variances: the priors and their variances (P, 4).
        """
        return box_ops.decode(loc.detach(), boxes, self.variance(variances), self.param.code_type)

    def matches(self, loc: Tensor, boxes: Tensor, variances: Tensor, objects: GroundTruth) -> tuple[Tensor, Tensor]:
        """Match the priors to the ground truth.

        Args:
            loc, boxes, variances: see `decoded`.
            objects: the ground truth.

        Returns:
            (N, loc classes, P): the ground truth row that each prior is matched to, and its largest overlap.
        """
        import torch

        p, (images, loc_classes) = self.param, loc.shape[:2]
        rules = (p.match_type == "PER_PREDICTION", float(p.overlap_threshold), bool(p.ignore_cross_boundary_bbox))
        shape = (images, loc_classes, self.priors)
        classes = torch.arange(loc_classes, device=loc.device)
        if p.use_prior_for_matching:
            rows, overlap = match(boxes, objects.box, objects.image, images, *rules)
            rows, overlap = rows[:, None].expand(shape), overlap[:, None].expand(shape)
            if loc_classes > 1 or not p.share_location:
                of_class = (rows >= 0) & (objects.label[rows.clamp(min=0)] == classes[:, None])
                rows = torch.where(of_class, rows, NONE_YET)
        else:
            groups = images * loc_classes
            group = objects.image if p.share_location else objects.image * loc_classes + objects.label
            group = torch.where(objects.image < images, group, groups)
            predicted = self.decoded(loc, boxes, variances).reshape(groups, self.priors, 4)
            rows, overlap = (each.reshape(shape) for each in match(predicted, objects.box, group, groups, *rules))
        if not p.share_location:
            rows = rows.masked_fill((classes == self.background)[:, None], NONE_YET)
        return rows, overlap

    # ---- localization

    def targets(self, matches: Tensor, boxes: Tensor, variances: Tensor, objects: GroundTruth) -> Tensor:
        """The target of each location prediction (N, loc classes, P, 4); meaningless for priors without a match.

        Args:
            matches: the ground truth row of each prior (N, loc classes, P).
            boxes, variances: the priors and their variances (P, 4).
            objects: the ground truth.
        """
        return box_ops.encode(objects.box[matches.clamp(min=0)], boxes, self.variance(variances), self.param.code_type)

    def differences(self, loc: Tensor, target: Tensor, boxes: Tensor, variances: Tensor) -> Tensor:
        """Predictions minus targets (N, loc classes, P, 4).

        Args:
            loc, target: predictions and targets of that shape.
            boxes, variances: the priors and their variances (P, 4).
        """
        difference = loc - target
        if self.param.encode_variance_in_target:
            # Caffe's backward omits this division.
            difference = straight_through(loc / variances - target / variances, loc)
        if self.param.bp_inside:
            place = boxes if self.param.use_prior_for_matching else self.decoded(loc, boxes, variances)
            difference = difference.masked_fill(outside(place), 0)
        return difference

    def loc_losses(self, difference: Tensor) -> Tensor:
        """Localization losses (N, loc classes, P)."""
        import torch

        square = difference * difference / 2
        if self.param.loc_loss_type == "L2":
            return square.sum(-1)
        size = difference.abs()
        return torch.where(size < 1, square, size - 0.5).sum(-1)

    # ---- classification

    def mine(
        self,
        loc: Tensor,
        conf: Tensor,
        boxes: Tensor,
        variances: Tensor,
        objects: GroundTruth,
        matches: Tensor,
        overlap: Tensor,
        target: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Select the negatives by `mining_type`.

        Args:
            loc, boxes, variances: see `decoded`.
            conf: class predictions (N, P, classes).
            objects: the ground truth.
            matches, overlap: see `matches`.
            target: see `targets`.

        Returns:
            The matches that remain (N, 1, P), and a mask (N, P) of the negatives to train on.
        """
        import torch

        p, images = self.param, conf.shape[0]
        positive, free = matches[:, 0] >= 0, matches[:, 0] == NONE_YET
        label = torch.where(positive, objects.label[matches[:, 0].clamp(min=0)], self.background)
        loss = self.mining_losses(conf, label)
        has_truth = (objects.image == torch.arange(images, device=conf.device)[:, None]).any(1, keepdim=True)
        if self.mining == "MAX_NEGATIVE":
            eligible = free & (overlap[:, 0] < p.neg_overlap) & has_truth
            limits = (positive.sum(1).to(loss.dtype) * p.neg_pos_ratio).long()
        else:
            difference = self.differences(loc, target, boxes, variances)[:, 0].masked_fill(~positive[..., None], 0)
            loss = loss + self.loc_losses(difference)
            eligible = has_truth.expand_as(free)
            limits = torch.full_like(positive.sum(1), p.sample_size)
        if "nms_param" in p and p.nms_param.nms_threshold > 0:
            place = boxes.expand(images, -1, -1) if p.use_prior_for_nms else self.decoded(loc, boxes, variances)[:, 0]
            threshold, top_k = float(p.nms_param.nms_threshold), int(p.nms_param.top_k or 0)
            selected = hardest(place, loss, eligible, threshold, top_k, limits)
        else:
            order = loss.masked_fill(~eligible, float("-inf")).argsort(dim=1, descending=True, stable=True)
            rank = torch.empty_like(order).scatter(1, order, torch.arange(self.priors, device=conf.device).expand_as(order))
            selected = eligible & (rank < limits[:, None])
        if self.mining == "HARD_EXAMPLE":
            matches = matches.masked_fill((positive & ~selected)[:, None], NONE_YET)
        return matches, free & selected

    def mining_losses(self, conf: Tensor, label: Tensor) -> Tensor:
        """Classification losses (N, P) by which priors are ranked."""
        import torch
        from torch.nn import functional as F

        if self.param.conf_loss_type == "SOFTMAX":
            picked = torch.softmax(conf, 2).gather(2, label[..., None])[..., 0]
            return -picked.clamp(min=FLT_MIN).log()
        target = (label[..., None] == torch.arange(self.classes, device=conf.device)).to(conf.dtype)
        return F.binary_cross_entropy_with_logits(conf, target, reduction="none").sum(2)

    def conf_loss(self, conf: Tensor, objects: GroundTruth, matches: Tensor, negative: Tensor | None) -> Tensor:
        """Sum of the classification losses of matched and negative priors, or of all priors without mining.

        Args:
            conf: class predictions (N, P, classes).
            objects: the ground truth.
            matches: see `matches`.
            negative: mask (N, P) of the mined negatives, None without mining.
        """
        import torch
        from torch.nn import functional as F

        positive = matches >= 0
        label = (
            torch.full_like(matches, self.background + 1)
            if self.param.map_object_to_agnostic
            else objects.label[matches.clamp(min=0)]
        )
        # With separate boxes for each class, a prior may have several matches: the last class counts.
        last = torch.where(positive, label, -1).amax(1)
        used = positive.any(1) if negative is None else positive.any(1) | negative
        if self.param.conf_loss_type == "SOFTMAX":
            whole = torch.where(last >= 0, last, self.background)
            losses = -floored(F.log_softmax(conf, 2).gather(2, whole[..., None])[..., 0], FLT_MIN)
            return (losses if negative is None else losses.masked_fill(~used, 0)).sum()
        if negative is None:
            target = self._dense_targets(conf, label, positive)
            return F.binary_cross_entropy_with_logits(conf, target, reduction="sum")
        whole = torch.where(last >= 0, last, self.background)
        hit = whole[..., None] == torch.arange(self.classes, device=conf.device)
        target = torch.where(hit, 1.0, float(self.background)).to(conf.dtype)
        return F.binary_cross_entropy_with_logits(conf, target, reduction="none").masked_fill(~used[..., None], 0).sum()

    def _dense_targets(self, conf: Tensor, label: Tensor, positive: Tensor) -> Tensor:
        """Targets (N, P, classes) of the logistic loss without mining, where Caffe's offset between images is only P values."""
        import torch

        images = torch.arange(conf.shape[0], device=conf.device)[:, None, None] * self.priors
        places = images + torch.arange(self.priors, device=conf.device) * self.classes + label
        total = conf.numel()
        flat = torch.full((total + 1,), float(self.background), dtype=conf.dtype, device=conf.device)
        index = torch.where(positive, places, total).reshape(-1)
        return flat.scatter(0, index, torch.ones_like(index, dtype=conf.dtype))[:-1].reshape(conf.shape)
