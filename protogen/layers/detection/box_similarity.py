"""Similarity of boxes x, y, width, height: the IoU, its variants, and the gradients that MobileNet-YOLO uses for them.

Source: bbox_util.cpp of eric612/MobileNet-YOLO.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..detection import boxes as box_ops

if TYPE_CHECKING:
    from torch import Tensor

DIFFERENT = ("GIOU", "DIOU", "CIOU")  # kinds of `iou_loss` that differ from the plain IoU


def corners(boxes: Tensor) -> Tensor:
    """The boxes as x1, y1, x2, y2 (..., 4)."""
    return box_ops.around(boxes[..., :2], boxes[..., 2:] / 2)


def areas(boxes: Tensor) -> Tensor:
    """Width times height. Not `boxes.areas` of the corners, whose differences suffer from rounding."""
    return boxes[..., 2] * boxes[..., 3]


def intersection(a: Tensor, b: Tensor) -> Tensor:
    """The shared area of boxes, 0 where they are disjoint."""
    return box_ops.intersection(corners(a), corners(b))


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes that broadcast against each other; NaN for two empty boxes."""
    return box_ops.over_union(intersection(a, b), areas(a), areas(b))


def hull(a: Tensor, b: Tensor) -> Tensor:
    """Width and height (..., 2) of the smallest box around two."""
    import torch

    (low, high), (low_b, high_b) = (corners(boxes).split(2, -1) for boxes in (a, b))
    return torch.maximum(high, high_b) - torch.minimum(low, low_b)


def slant(boxes: Tensor) -> Tensor:
    """The angle between the diagonal and the vertical."""
    return (boxes[..., 2] / boxes[..., 3]).atan()


def similarity(a: Tensor, b: Tensor, kind: str) -> Tensor:
    """The IoU minus a variant's penalty: GIOU's for the empty part of the hull, DIOU's for the distance, CIOU's for shape, too.

    The fork's DIOU has the distance to the power 1.2 instead of 2.

    Args:
        a, b: boxes (..., 4) that broadcast against each other.
        kind: value of `iou_loss`; the plain IoU for those not in `DIFFERENT`.
    """
    import torch

    plain = iou(a, b)
    if kind not in DIFFERENT:
        return plain
    around = hull(a, b)
    if kind == "GIOU":
        whole = around.prod(-1)
        union = areas(a) + areas(b) - intersection(a, b)
        return torch.where(whole == 0, plain, plain - (whole - union) / whole)
    diagonal = around.square().sum(-1)
    distance = (a[..., :2] - b[..., :2]).square().sum(-1) / diagonal
    if kind == "DIOU":
        return torch.where(diagonal == 0, plain, plain - distance.pow(0.6))
    shape = 4 / math.pi**2 * (slant(b) - slant(a)).square()
    return torch.where(diagonal == 0, plain, plain - distance - shape * shape / (1 - plain + shape + 1e-6))


def similarity_gradient(a: Tensor, b: Tensor, kind: str) -> Tensor:
    """The fork's gradient of `similarity` with respect to the boxes `a`: (..., 4).

    Some terms are not the derivative. For width and height, the terms of the IoU and of the GIOU are twice as large; where boxes
    are disjoint, only the variant's term is used; DIOU's is that of the squared distance, with the wrong sign for how the hull
    changes with the middle; CIOU's term for the shape is not divided by the squared diagonal.

    Args:
        a, b: boxes (..., 4) that broadcast against each other.
        kind: see `similarity`.
    """
    import torch

    (low, high), (low_b, high_b) = (corners(boxes).split(2, -1) for boxes in (a, b))
    inner = box_ops.common_sides(corners(a), corners(b))
    shared = inner.prod(-1, keepdim=True)
    union = (high - low).prod(-1, keepdim=True) + (high_b - low_b).prod(-1, keepdim=True) - shared
    # With respect to the lower and the upper borders, for x and y: a border that moves along x sweeps the length along y.
    sweep = (high - low).flip(-1)
    shared_low, shared_high = (low > low_b) * -inner.flip(-1), (high < high_b) * inner.flip(-1)
    union_low, union_high = -sweep - shared_low, sweep - shared_high
    by_low = torch.where(union > 0, (union * shared_low - shared * union_low) / union.square(), 0)
    by_high = torch.where(union > 0, (union * shared_high - shared * union_high) / union.square(), 0)
    by_low = torch.where(low < high, by_low, by_high)
    gradient = torch.cat([by_low + by_high, by_high - by_low], -1)
    if kind not in DIFFERENT:
        return gradient

    around = hull(a, b)
    juts_low, juts_high = (low < low_b).to(a.dtype), (high > high_b).to(a.dtype)
    if kind == "GIOU":
        whole = around.prod(-1, keepdim=True)
        by_low = whole * union_low + union * juts_low * around.flip(-1)
        by_high = whole * union_high - union * juts_high * around.flip(-1)
        own = torch.cat([by_low + by_high, by_high - by_low], -1) / whole.square()
    else:
        diagonal = around.square().sum(-1, keepdim=True)
        away = b[..., :2] - a[..., :2]
        distance = away.square().sum(-1, keepdim=True)
        by_middle = 2 * away * diagonal - 2 * around * (juts_high - juts_low) * distance
        by_size = around * (juts_high + juts_low) * distance
        own = torch.cat([by_middle, by_size], -1) / diagonal.square()
    if kind == "CIOU":
        turn = (slant(b) - slant(a))[..., None]
        shape = 4 / math.pi**2 * turn.square()
        weight = shape / (1 - shared / union + shape + 1e-6) * (8 / math.pi**2) * turn
        own = own + torch.cat([torch.zeros_like(away), weight * a[..., 3:], -weight * a[..., 2:3]], -1)
    return torch.where((inner <= 0).any(-1, keepdim=True), own, gradient + own)
