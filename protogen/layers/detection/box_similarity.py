"""How alike two boxes x, y, width, height are: the IoU, its variants and what MobileNet-YOLO takes for their gradients.

Source: bbox_util.cpp of eric612/MobileNet-YOLO.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..detection import boxes as box_ops

if TYPE_CHECKING:
    from torch import Tensor

DIFFERENT = ("GIOU", "DIOU", "CIOU")  # kinds of `iou_loss` that compare boxes in another way than by their plain IoU


def corners(boxes: Tensor) -> Tensor:
    """Boxes x1, y1, x2, y2 (..., 4)."""
    return box_ops.around(boxes[..., :2], boxes[..., 2:] / 2)


def areas(boxes: Tensor) -> Tensor:
    """Width times height. Not `boxes.areas` of the corners: those are rounded, and their difference is another number."""
    return boxes[..., 2] * boxes[..., 3]


def intersection(a: Tensor, b: Tensor) -> Tensor:
    """The area that boxes share, 0 where they are apart."""
    return box_ops.intersection(corners(a), corners(b))


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes that broadcast against each other; NaN for two without any area."""
    return box_ops.over_union(intersection(a, b), areas(a), areas(b))


def hull(a: Tensor, b: Tensor) -> Tensor:
    """Width and height (..., 2) of the least box around two."""
    import torch

    (low, high), (low_b, high_b) = (corners(boxes).split(2, -1) for boxes in (a, b))
    return torch.maximum(high, high_b) - torch.minimum(low, low_b)


def slant(boxes: Tensor) -> Tensor:
    """The diagonal's angle against the height."""
    return (boxes[..., 2] / boxes[..., 3]).atan()


def similarity(a: Tensor, b: Tensor, kind: str) -> Tensor:
    """The IoU, less what a variant takes off: GIOU the empty part of the hull, DIOU the distance, CIOU the shape, too.

    The fork's DIOU has the distance to the power 1.2 instead of 2.
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
    """What the fork takes for the gradient of `similarity` by the boxes `a`: (..., 4).

    It is not the derivative in every term. By width and height the part of the IoU and of the GIOU is twice as large; where boxes
    are apart only the variant's own part counts; DIOU is that of the squared distance, in which the hull changes with the
    middle the wrong way round; CIOU's part for the shape is not divided by the squared diagonal.
    """
    import torch

    (low, high), (low_b, high_b) = (corners(boxes).split(2, -1) for boxes in (a, b))
    inner = box_ops.common_sides(corners(a), corners(b))
    shared = inner.prod(-1, keepdim=True)
    union = (high - low).prod(-1, keepdim=True) + (high_b - low_b).prod(-1, keepdim=True) - shared
    # By the lower and the upper borders, for x and y: one that moves along x sweeps the length along y.
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
