"""Training of detectors: SSD's MultiBoxLoss and R-FCN's BoxAnnotatorOHEM.

Sources: multibox_loss_layer.cpp and bbox_util.cpp of weiliu89/caffe, box_annotator_ohem_layer.cu of daijifeng001/caffe-rfcn.

Matching and mining work on masks over all (image, prior) pairs, so that shapes do not depend on the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..base import LayerType, count
from ..detection import boxes as box_ops
from ..fields import Fields
from ..limits import FLT_MIN
from ..loss import Loss, floored, legacy, straight_through
from ..registry import register

if TYPE_CHECKING:
    from torch import Tensor

NONE_YET, IGNORED = -1, -2  # a prior's match where it is no index of a ground truth box


class Truth(NamedTuple):
    """Ground truth rows: `image` (R,), the number of images where a row does not count; `label` (R,); `box` (R, 4)."""

    image: Tensor
    label: Tensor
    box: Tensor


def outside(values: Tensor) -> Tensor:
    """Which coordinates are not within [0, 1]."""
    return (values < 0) | (values > 1)


# ---- matching


def match(
    boxes: Tensor, truth: Tensor, group: Tensor, groups: int, per_prediction: bool, threshold: float, inside_only: bool
) -> tuple[Tensor, Tensor]:
    """Match ground truth to the boxes of its group (an image, or a class in an image).

    First each ground truth box takes the free box it overlaps most, the best pair of the group first; then, with
    `per_prediction`, free boxes take the ground truth they overlap most, if by `threshold` at least.

    Args:
        boxes: (P, 4) for all groups alike, or (groups, P, 4).
        truth: (R, 4).
        group: (R,), `groups` for rows that do not count.
        inside_only: ignore boxes that reach over the border.

    Returns:
        (groups, P) indices of ground truth rows (NONE_YET, IGNORED), and the largest overlap of each box.
    """
    import torch

    rows, priors = truth.shape[0], boxes.shape[-2]
    number = torch.arange(rows, device=boxes.device)
    none = rows * priors + rows  # beyond every key below
    own = boxes if boxes.dim() == 2 else boxes[group.clamp(max=groups - 1)]
    overlap = box_ops.iou(own, truth[:, None], guarded=True)
    matches = torch.full((groups + 1, priors), NONE_YET, device=boxes.device)
    crossing = outside(boxes).any(-1)
    if inside_only:
        overlap = overlap.masked_fill(outside(own).any(-1), 0)
        matches[:groups] = matches[:groups].masked_fill(crossing, IGNORED)
    overlap = overlap.masked_fill((overlap <= 1e-6) | (group == groups)[:, None], 0)
    spread = group[:, None].expand(rows, priors)
    best = overlap.new_zeros(groups + 1, priors).scatter_reduce(0, spread, overlap, "amax")

    left = overlap
    for _ in range(_rounds(group, groups)):
        value, prior = left.max(1)
        top = value.new_zeros(groups + 1).scatter_reduce(0, group, value, "amax")
        key = torch.where((value > 0) & (value == top[group]), prior * rows + number, none)  # among equals, the first prior
        first = torch.full((groups + 1,), none, device=boxes.device).scatter_reduce(0, group, key, "amin")
        chosen = (key < none) & (key == first[group])
        # Rows that are not chosen write into the group that is thrown away.
        matches = matches.index_put((torch.where(chosen, group, groups), prior), number)
        gone = torch.where(first < none, first // max(rows, 1), -1)[group]
        left = left.masked_fill(chosen[:, None] | (torch.arange(priors, device=boxes.device) == gone[:, None]), 0)

    if per_prediction:
        good = (overlap > 0) & (overlap >= threshold) & (overlap == best.gather(0, spread))
        key = torch.where(good, number[:, None], none)
        first = torch.full_like(matches, none).scatter_reduce(0, spread, key, "amin")
        matches = torch.where((matches == NONE_YET) & (first < none), first, matches)
    return matches[:groups], best[:groups]


def _rounds(group: Tensor, groups: int) -> int:
    """How often a group's best pair must be taken: the number of ground truth boxes of the fullest group.

    While compiling, values are not known; then as often as there are rows, which does no harm.
    """
    import torch

    if torch.compiler.is_compiling() or not group.numel():
        return group.numel()
    return int(torch.bincount(group, minlength=groups + 1)[:groups].max())


def hardest(boxes: Tensor, loss: Tensor, eligible: Tensor, threshold: float, top_k: int, limits: Tensor) -> Tensor:
    """Mask (N, P) of the eligible boxes of each image with the highest loss, no two overlapping by more than `threshold`.

    Args:
        boxes: (N, P, 4); those with an area below 1e-5 are passed over.
        top_k: how many eligible boxes are looked at (-1: all).
        limits: (N,) how many are taken at most.
    """
    import torch

    order = loss.masked_fill(~eligible, float("-inf")).argsort(dim=1, descending=True, stable=True)
    place = torch.arange(order.shape[1], device=order.device)
    ranked = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    valid = eligible.gather(1, order) & (box_ops.areas(ranked) >= 1e-5)
    if top_k > -1:
        valid = valid & (place < top_k)
    keep = box_ops.suppress(ranked, valid, threshold, limit=int(limits.max()))
    keep = keep & (keep.cumsum(1) <= limits[:, None])
    return torch.zeros_like(eligible).scatter(1, order, keep)


# ---- the layer


@register("MultiBoxLoss")
class MultiBoxLoss(Loss):
    """SSD's loss: (loc_weight * localization of matches + classification of matches and hard negatives) / normalizer.

    Bottoms: loc (N, P * 4) or (N, P * classes * 4) without `share_location`, conf (N, P * num_classes), priors (1, 2, P * 4)
    with their variances, ground truth (1, 1, R, 8) of rows image, label, instance, xmin, ymin, xmax, ymax, difficult (image -1
    ends them). The normalizer (VALID) is the number of matches; a loss whose `propagate_down` is false is left out.

    Parameters as in `multibox_loss_param`: `match_type` PER_PREDICTION at `overlap_threshold` 0.5, `mining_type` MAX_NEGATIVE
    with `neg_pos_ratio` 3 and `neg_overlap` 0.5, SMOOTH_L1 and SOFTMAX losses, `code_type` CORNER. Suppression before
    mining (`nms_param`) looks at the data, so it does not compile into one graph; all else does. What Caffe stops at in the data
    (a ground truth box of the background's class) is not checked.

    RefineDet's loss of a second stage has the first one's confidences and locations as fifth and sixth bottom, which change
    matches, negatives and targets. It has no PyTorch form here.
    """

    param_name = "multibox_loss_param"
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
        self.check(self.classes >= 1, "num_classes must be given, and positive")
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
        self.check(count(prior) == 8 * self.priors > 0, f"its priors are (1, 2, 4 * priors), not {prior}")
        self._check_channels(loc, 4 * self.loc_classes, "location")
        self._check_channels(conf, self.classes, "confidence")
        self.check(count(truth) == 8 * legacy(truth, 2) > 0, f"its ground truth is (1, 1, boxes, 8), not {truth}")
        flags = [bool(flag) for flag in self.layer.message.propagate_down]
        self.use_loc, self.use_conf = flags[:2] or [True, True]

    def refusals(self) -> list[str]:
        further = self.layer.bottoms[4:]
        second = [f"RefineDet's loss of a second stage, which {' and '.join(map(repr, further))} would change, is not computed"]
        return super().refusals() + (second if further else [])

    def _check_channels(self, shape: tuple[int, ...], each: int, what: str) -> None:
        wanted = self.priors * each
        self.check(
            legacy(shape, 1) == wanted == count(shape[1:]), f"{self.priors} priors need {wanted} {what} predictions, not {shape}"
        )

    def forward(  # type: ignore[override]
        self, loc: Tensor, conf: Tensor, prior: Tensor, truth: Tensor, *, blobs: Sequence[Tensor], training: bool
    ) -> Tensor:
        import torch

        images = loc.shape[0]
        loc = loc.reshape(images, self.priors, self.loc_classes, 4).transpose(1, 2)  # (N, loc classes, P, 4)
        conf = conf.reshape(images, self.priors, self.classes)
        with torch.no_grad():
            boxes, variances = prior.detach().reshape(2, self.priors, 4)
            known = self.ground_truth(truth.detach(), images)
            matches, overlap = self.matches(loc, boxes, variances, known)
            target = self.targets(matches, boxes, variances, known)
            if self.mining == "NONE":
                negative = None
            else:
                matches, negative = self.mine(loc, conf, boxes, variances, known, matches, overlap, target)
        positive = matches >= 0
        divisor = self.normalizer(images, self.priors, positive)
        loss = conf.new_zeros(())
        if self.use_loc:
            difference = self.differences(loc, target, boxes, variances).masked_fill(~positive[..., None], 0)
            loss = loss + self.loc_losses(difference).sum() * float(self.param.loc_weight) / divisor
        if self.use_conf:
            loss = loss + self.conf_loss(conf, known, matches, negative) / divisor
        return loss

    # ---- ground truth and matching

    def ground_truth(self, truth: Tensor, images: int) -> Truth:
        """The rows before the one that ends them, without difficult ones if so wanted."""
        import torch

        rows = truth.reshape(-1, 8)
        image = rows[:, 0].long()
        counts = ((image == -1).cumsum(0) == 0) & (image >= 0) & (image < images)
        if not self.param.use_difficult_gt:
            counts = counts & (rows[:, 7] == 0)
        return Truth(torch.where(counts, image, images), rows[:, 1].long(), rows[:, 3:7])

    def variance(self, variances: Tensor) -> Tensor | None:
        """The variances that predictions are in units of; None where the target takes them."""
        return None if self.param.encode_variance_in_target else variances

    def decoded(self, loc: Tensor, boxes: Tensor, variances: Tensor) -> Tensor:
        """(N, loc classes, P, 4) boxes predicted."""
        return box_ops.decode(loc.detach(), boxes, self.variance(variances), self.param.code_type)

    def matches(self, loc: Tensor, boxes: Tensor, variances: Tensor, known: Truth) -> tuple[Tensor, Tensor]:
        """(N, loc classes, P): the ground truth row each prior is matched to, and its largest overlap."""
        import torch

        p, (images, loc_classes) = self.param, loc.shape[:2]
        rules = (p.match_type == "PER_PREDICTION", float(p.overlap_threshold), bool(p.ignore_cross_boundary_bbox))
        shape = (images, loc_classes, self.priors)
        classes = torch.arange(loc_classes, device=loc.device)
        if p.use_prior_for_matching:
            found, overlap = match(boxes, known.box, known.image, images, *rules)
            found, overlap = found[:, None].expand(shape), overlap[:, None].expand(shape)
            if loc_classes > 1 or not p.share_location:
                of_class = (found >= 0) & (known.label[found.clamp(min=0)] == classes[:, None])
                found = torch.where(of_class, found, NONE_YET)
        else:
            groups = images * loc_classes
            group = known.image if p.share_location else known.image * loc_classes + known.label
            group = torch.where(known.image < images, group, groups)
            predicted = self.decoded(loc, boxes, variances).reshape(groups, self.priors, 4)
            found, overlap = (each.reshape(shape) for each in match(predicted, known.box, group, groups, *rules))
        if not p.share_location:
            found = found.masked_fill((classes == self.background)[:, None], NONE_YET)
        return found, overlap

    # ---- localization

    def targets(self, matches: Tensor, boxes: Tensor, variances: Tensor, known: Truth) -> Tensor:
        """(N, loc classes, P, 4) what should be predicted; meaningless where nothing is matched."""
        return box_ops.encode(known.box[matches.clamp(min=0)], boxes, self.variance(variances), self.param.code_type)

    def differences(self, loc: Tensor, target: Tensor, boxes: Tensor, variances: Tensor) -> Tensor:
        """Prediction minus target."""
        difference = loc - target
        if self.param.encode_variance_in_target:
            # Caffe's backward leaves out this division.
            difference = straight_through(loc / variances - target / variances, loc)
        if self.param.bp_inside:
            place = boxes if self.param.use_prior_for_matching else self.decoded(loc, boxes, variances)
            difference = difference.masked_fill(outside(place), 0)
        return difference

    def loc_losses(self, difference: Tensor) -> Tensor:
        """(N, loc classes, P) losses."""
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
        known: Truth,
        matches: Tensor,
        overlap: Tensor,
        target: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Matches that remain (N, 1, P), and the mask (N, P) of negatives to learn from."""
        import torch

        p, images = self.param, conf.shape[0]
        positive, free = matches[:, 0] >= 0, matches[:, 0] == NONE_YET
        label = torch.where(positive, known.label[matches[:, 0].clamp(min=0)], self.background)
        loss = self.mining_losses(conf, label)
        has_truth = (known.image == torch.arange(images, device=conf.device)[:, None]).any(1, keepdim=True)
        if self.mining == "MAX_NEGATIVE":
            eligible = free & (overlap[:, 0] < p.neg_overlap) & has_truth
            wanted = (positive.sum(1).to(loss.dtype) * p.neg_pos_ratio).long()
        else:
            difference = self.differences(loc, target, boxes, variances)[:, 0].masked_fill(~positive[..., None], 0)
            loss = loss + self.loc_losses(difference)
            eligible = has_truth.expand_as(free)
            wanted = torch.full_like(positive.sum(1), p.sample_size)
        if "nms_param" in p and p.nms_param.nms_threshold > 0:
            place = boxes.expand(images, -1, -1) if p.use_prior_for_nms else self.decoded(loc, boxes, variances)[:, 0]
            threshold, top_k = float(p.nms_param.nms_threshold), int(p.nms_param.top_k or 0)
            selected = hardest(place, loss, eligible, threshold, top_k, wanted)
        else:
            order = loss.masked_fill(~eligible, float("-inf")).argsort(dim=1, descending=True, stable=True)
            rank = torch.empty_like(order).scatter(1, order, torch.arange(self.priors, device=conf.device).expand_as(order))
            selected = eligible & (rank < wanted[:, None])
        if self.mining == "HARD_EXAMPLE":
            matches = matches.masked_fill((positive & ~selected)[:, None], NONE_YET)
        return matches, free & selected

    def mining_losses(self, conf: Tensor, label: Tensor) -> Tensor:
        """(N, P) classification losses that priors are ranked by."""
        import torch
        from torch.nn import functional as F

        if self.param.conf_loss_type == "SOFTMAX":
            picked = torch.softmax(conf, 2).gather(2, label[..., None])[..., 0]
            return -picked.clamp(min=FLT_MIN).log()
        target = (label[..., None] == torch.arange(self.classes, device=conf.device)).to(conf.dtype)
        return F.binary_cross_entropy_with_logits(conf, target, reduction="none").sum(2)

    def conf_loss(self, conf: Tensor, known: Truth, matches: Tensor, negative: Tensor | None) -> Tensor:
        """Sum of the losses of matched and negative priors, of all priors where nothing is mined."""
        import torch
        from torch.nn import functional as F

        positive = matches >= 0
        label = (
            torch.full_like(matches, self.background + 1)
            if self.param.map_object_to_agnostic
            else known.label[matches.clamp(min=0)]
        )
        # With boxes per class a prior may have several matches: the last class is what counts.
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
        """Targets (N, P, classes) of the logistic loss without mining, where Caffe steps from image to image by P values only."""
        import torch

        images = torch.arange(conf.shape[0], device=conf.device)[:, None, None] * self.priors
        places = images + torch.arange(self.priors, device=conf.device) * self.classes + label
        total = conf.numel()
        flat = torch.full((total + 1,), float(self.background), dtype=conf.dtype, device=conf.device)
        index = torch.where(positive, places, total).reshape(-1)
        return flat.scatter(0, index, torch.ones_like(index, dtype=conf.dtype))[:-1].reshape(conf.shape)


@register("BoxAnnotatorOHEM")
class BoxAnnotatorOHEM(LayerType):
    """Online hard example mining: keep the `roi_per_img` boxes of each image with the highest loss.

    Bottoms rois (R, 5), their losses, labels and box weights (R, K); tops labels (R, 1, H, W), `ignore_label` (-1) for boxes
    not kept, and box weights (R, K, H, W), 0 for those (box_annotator_ohem_layer of daijifeng001/caffe-rfcn).
    """

    param_name = "box_annotator_ohem_param"
    fields = Fields("roi_per_img ignore_label")
    n_bottoms = (4, 4)
    n_tops = (2, 2)
    has_gradient = False
    index_bottoms = (2,)
    only_trains = True
    onnx_note = "mining is for training only"

    def setup(self) -> None:
        rois, loss, labels, weights = self.bottoms
        self.kept = int(self.param.roi_per_img or 0)
        self.check(self.kept > 0, "roi_per_img must be given, and positive")
        self.check(all(len(shape) <= 4 for shape in self.bottoms), "its bottoms have at most 4 axes")
        self.check(legacy(rois, 1) == 5, f"its first bottom is (rois, 5), not {rois}")
        self.check(legacy(loss, 1) == legacy(labels, 1) == 1, f"losses {loss} and labels {labels} have one channel")
        fits = all(legacy(shape, axis) == legacy(rois, axis) for shape in (loss, labels, weights) for axis in (0, 2, 3))
        self.check(fits, f"bottoms {rois}, {loss}, {labels} and {weights} must agree in all but the channels")
        places = (legacy(rois, 2), legacy(rois, 3))
        self.tops = [(rois[0], 1, *places), (rois[0], legacy(weights, 1), *places)]

    def forward(  # type: ignore[override]
        self, rois: Tensor, loss: Tensor, labels: Tensor, weights: Tensor, *, blobs: Sequence[Tensor], training: bool
    ) -> list[Tensor]:
        import torch

        n, places = rois.shape[0], self.tops[0][2:]
        image = rois.detach().reshape(n, 5, -1)[:, 0].reshape(-1).long()
        order = loss.detach().reshape(-1).argsort(descending=True, stable=True)
        order = order[image[order].argsort(stable=True)]  # by image, the highest loss first
        sorted_image = image[order].contiguous()
        rank = torch.arange(order.numel(), device=rois.device) - torch.searchsorted(sorted_image, sorted_image)
        kept = torch.empty_like(order).scatter(0, order, rank) < self.kept
        kept = kept.reshape(n, 1, *places)
        top = labels.detach().reshape(n, 1, *places).masked_fill(~kept, float(self.param.ignore_label))
        return [top, weights.detach().reshape(n, -1, *places).masked_fill(~kept, 0)]
