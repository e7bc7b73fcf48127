"""Matching of ground truth to prior boxes, and selection of the hardest boxes, for SSD's training.

Source: bbox_util.cpp of weiliu89/caffe. Both work on masks over all (image, prior) pairs, so that shapes do not
depend on the data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..detection import boxes as box_ops

if TYPE_CHECKING:
    from torch import Tensor

NONE_YET, IGNORED = -1, -2  # a prior's match if it is not the index of a ground truth box


def outside(values: Tensor) -> Tensor:
    """Mask of the coordinates outside [0, 1]."""
    return (values < 0) | (values > 1)


def match(
    boxes: Tensor, truth: Tensor, group: Tensor, groups: int, per_prediction: bool, threshold: float, inside_only: bool
) -> tuple[Tensor, Tensor]:
    """Match ground truth to the boxes of its group (an image, or a class in an image).

    First each ground truth box takes the free box that it overlaps most, the best pair of the group first; then, with
    `per_prediction`, free boxes take the ground truth that they overlap most, if by at least `threshold`.

    Args:
        boxes: (P, 4) for all groups, or (groups, P, 4).
        truth: ground truth boxes (R, 4).
        group: the group of each (R,), `groups` for rows that do not count.
        groups: number of groups.
        per_prediction: whether free boxes take ground truth, too.
        threshold: overlap that this needs.
        inside_only: whether to ignore boxes that extend beyond the image.

    Returns:
        (groups, P) indices of ground truth rows (or NONE_YET, IGNORED), and the largest overlap of each box.
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

    free = overlap
    for _ in range(_rounds(group, groups)):
        value, prior = free.max(1)
        top = value.new_zeros(groups + 1).scatter_reduce(0, group, value, "amax")
        key = torch.where((value > 0) & (value == top[group]), prior * rows + number, none)  # among equals, the first prior
        first = torch.full((groups + 1,), none, device=boxes.device).scatter_reduce(0, group, key, "amin")
        chosen = (key < none) & (key == first[group])
        # Rows that are not chosen write into the extra group, which is discarded.
        matches = matches.index_put((torch.where(chosen, group, groups), prior), number)
        gone = torch.where(first < none, first // max(rows, 1), -1)[group]
        free = free.masked_fill(chosen[:, None] | (torch.arange(priors, device=boxes.device) == gone[:, None]), 0)

    if per_prediction:
        good = (overlap > 0) & (overlap >= threshold) & (overlap == best.gather(0, spread))
        key = torch.where(good, number[:, None], none)
        first = torch.full_like(matches, none).scatter_reduce(0, spread, key, "amin")
        matches = torch.where((matches == NONE_YET) & (first < none), first, matches)
    return matches[:groups], best[:groups]


def _rounds(group: Tensor, groups: int) -> int:
    """The number of times that a group's best pair must be taken: the largest number of ground truth boxes in a group.

    During compilation, when values are unknown, it is the number of rows; additional rounds do no harm.
    """
    import torch

    if torch.compiler.is_compiling() or not group.numel():
        return group.numel()
    return int(torch.bincount(group, minlength=groups + 1)[:groups].max())


def hardest(boxes: Tensor, loss: Tensor, eligible: Tensor, threshold: float, top_k: int, limits: Tensor) -> Tensor:
    """Mask (N, P) of the eligible boxes of each image with the highest losses, of which no two overlap too much.

    Args:
        boxes: (N, P, 4); those with an area below 1e-5 are skipped.
        loss: (N, P).
        eligible: mask (N, P).
        threshold: overlap above which the box with the lower loss is dropped.
        top_k: number of eligible boxes to consider (-1: all).
        limits: (N,) largest number of boxes to select.
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
