"""What the detection layers share: overlaps of boxes, SSD's codes for them and greedy suppression, in PyTorch and as ONNX ops.

Forks differ in details that show in the last bit, or in what empty boxes overlap: functions have flags for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ..forms.onnx_graph import OnnxGraph

BLOCK = 256  # boxes that are compared with each other at once
ALL = 2**31 - 1  # boxes that NonMaxSuppression may leave, where there is no limit


# ---- what boxes have in common; all take boxes x1, y1, x2, y2 in the last axis, and those that take two broadcast them


def around(middle: Tensor, half: Tensor) -> Tensor:
    """Boxes (..., 4) from their middle points and half of their sizes, each (..., 2)."""
    import torch

    return torch.cat([middle - half, middle + half], -1)


def common_sides(a: Tensor, b: Tensor) -> Tensor:
    """Width and height (..., 2) of what boxes share, negative where they are apart."""
    import torch

    return torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])


def intersection(a: Tensor, b: Tensor, pixel: float = 0.0, least: float = 0.0) -> Tensor:
    """The area that boxes share, 0 where they are apart; see `iou`."""
    width, height = common_sides(a, b).unbind(-1)
    return ((width + pixel) * (height + pixel)).masked_fill((width < least) | (height < least), 0)


def areas(boxes: Tensor, pixel: float = 0.0, signed: bool = False) -> Tensor:
    """Width times height; 0 for boxes that are inside out (x2 < x1), unless `signed`, which takes the product as it is."""
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    area = (width + pixel) * (height + pixel)
    return area if signed else area.masked_fill((width < 0) | (height < 0), 0)


def over_union(shared: Tensor, area_a: Tensor, area_b: Tensor) -> Tensor:
    """The shared area over that of both boxes together, in the order in which every fork adds them up."""
    return shared / (area_a + area_b - shared)


def iou(a: Tensor, b: Tensor, *, pixel: float = 0.0, least: float = 0.0, guarded: bool = False) -> Tensor:
    """Intersection over union of boxes that broadcast against each other. One that is inside out overlaps nothing.

    Args:
        pixel: 1 where x2 and y2 are a box's last pixels (Faster R-CNN), 0 where they are its edges (SSD).
        least: x2 - x1 of an intersection below which there is none.
        guarded: 0 for all boxes that share no area, and areas that are never negative (SSD's JaccardOverlap and BBoxSize in
            bbox_util.cpp); else the bare quotient, NaN for two empty boxes (py-faster-rcnn's bbox.pyx).
    """
    import torch

    shared = intersection(a, b, pixel, least)
    area_a, area_b = (areas(box, pixel, signed=not guarded) for box in (a, b))
    if not guarded:
        return over_union(shared, area_a, area_b)
    meets = (common_sides(a, b) > 0).all(-1)
    return torch.where(meets, shared / torch.where(meets, area_a + area_b - shared, 1), 0)


# ---- what SSD's nets predict (bbox_util.cpp). Faster R-CNN's layers have an arithmetic of their own, see `Proposal.moved` and
# `rpn_targets.offsets`: sizes count both end pixels, and half of them is added to a corner.


def middle_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Middle points and sizes, each (..., 2)."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]


def encode(boxes: Tensor, priors: Tensor, variances: Tensor | None, code: str) -> Tensor:
    """What the net should predict to get `boxes` from `priors`, in the units of `variances` (None: plain units)."""
    import torch

    middle, size = middle_and_size(priors)
    if code == "CENTER_SIZE":
        box_middle, box_size = middle_and_size(boxes)
        target = torch.cat([(box_middle - middle) / size, (box_size / size).log()], -1)
    else:
        target = boxes - priors
        if code == "CORNER_SIZE":
            target = target / torch.cat([size, size], -1)
    return target if variances is None else target / variances


def decode(predicted: Tensor, priors: Tensor, variances: Tensor | None, code: str) -> Tensor:
    """The boxes that predictions stand for: the inverse of `encode`."""
    import torch

    offset = predicted if variances is None else predicted * variances
    if code == "CORNER":
        return priors + offset
    middle, size = middle_and_size(priors)
    if code == "CORNER_SIZE":
        return priors + offset * torch.cat([size, size], -1)
    return around(offset[..., :2] * size + middle, offset[..., 2:].exp() * size / 2)


# ---- suppression


def suppress(
    boxes: Tensor,
    valid: Tensor,
    threshold: float,
    *,
    inclusive: bool = False,
    pixel: float = 0.0,
    least: float = 0.0,
    limit: int = -1,
) -> Tensor:
    """Which boxes are left (G, K) when each, from the first on, drops those behind it that overlap it too much.

    Blocks of boxes are settled one after the other. Within a block, "nothing that is left drops it" is applied to all
    boxes at once until nothing changes any more: that is the one by one result, without a step for each box.

    Args:
        boxes: G groups of K boxes (G, K, 4), the best first; groups know nothing of each other.
        valid: which of them count at all (G, K).
        threshold: overlap above which (`inclusive`: from which on) a box is dropped.
        pixel, least: see `iou`.
        limit: stop when this many are left in each group (more may be returned); -1: never.
    """
    import torch

    def clash(a: Tensor, b: Tensor) -> Tensor:
        overlap = iou(a.unsqueeze(2), b.unsqueeze(1), pixel=pixel, least=least)
        return overlap >= threshold if inclusive else overlap > threshold

    keep = valid.clone()
    for start in range(0, boxes.shape[1], BLOCK):
        here = slice(start, min(start + BLOCK, boxes.shape[1]))
        alive = keep[:, here]
        before = keep[:, :start].any(0).nonzero().squeeze(1)
        for some in before.split(4 * BLOCK):
            alive = alive & ~(clash(boxes[:, some], boxes[:, here]) & keep[:, some, None]).any(1)
        drops = clash(boxes[:, here], boxes[:, here]).triu(1)
        left, settled = alive, False
        while not settled:
            now = alive & ~(drops & left.unsqueeze(2)).any(1)
            settled, left = torch.equal(now, left), now
        keep[:, here] = left
        if 0 <= limit <= int(keep[:, : here.stop].sum(1).min()):
            keep[:, here.stop :] = False
            break
    return keep


def suppress_adaptive(boxes: Tensor, valid: Tensor, threshold: float, eta: float) -> Tensor:
    """As `suppress`, with a threshold that shrinks by `eta` with each box left while it is above 0.5 (SSD's `eta`)."""
    import torch

    keep = valid.clone()
    limit = boxes.new_full((boxes.shape[0],), threshold)
    for k in range(boxes.shape[1]):
        overlap = iou(boxes[:, :k], boxes[:, k : k + 1])
        keep[:, k] &= ~((overlap > limit[:, None]) & keep[:, :k]).any(1)
        limit = torch.where(keep[:, k] & (limit > 0.5), limit * eta, limit)
    return keep


def rows_or_none(rows: Tensor, images: int) -> Tensor:
    """Detections (M, 7) as the top (1, 1, M, 7); if there are none, a row of -1 for each image, with its number in front."""
    import torch

    if rows.shape[0] == 0:
        rows = rows.new_full((images, 7), -1)
        rows[:, 0] = torch.arange(images, device=rows.device)
    return rows.reshape(1, 1, -1, 7)


# ---- ONNX


def onnx_around(graph: OnnxGraph, middle: str, half: str, axis: int) -> str:
    """See `around`."""
    return graph.add("Concat", graph.add("Sub", middle, half), graph.add("Add", middle, half), axis=axis)


def onnx_decode(graph: OnnxGraph, offset: str, prior: str, variance: str | None, code: str) -> str:
    """See `decode`; for offsets with four axes."""
    if variance is not None:
        offset = graph.add("Mul", variance, offset)
    if code == "CORNER":
        return graph.add("Add", prior, offset)
    low, high = graph.split(prior, [2, 2], 3)
    size = graph.add("Sub", high, low)
    if code == "CORNER_SIZE":
        return graph.add("Add", prior, graph.add("Mul", offset, graph.add("Concat", size, size, axis=3)))
    move, grow = graph.split(offset, [2, 2], 3)
    two = graph.scalar(2.0)
    middle = graph.add("Add", graph.add("Mul", move, size), graph.add("Div", graph.add("Add", low, high), two))
    return onnx_around(graph, middle, graph.add("Mul", graph.add("Exp", grow), graph.add("Div", size, two)), 3)


def onnx_suppress(
    graph: OnnxGraph, boxes: str, scores: str, threshold: float, *, score: float, limit: int, center: bool = False
) -> str:
    """A mask (G, K) of 1.0 and 0.0: the boxes (G, K, 4) left of each group, those with scores (G, 1, K) above `score`.

    NonMaxSuppression takes better scores first, of equal ones the first; it drops what overlaps more than `threshold`.
    What it picks comes in no stated order, so it is turned into a mask. The boxes must come best first.
    """
    if score < 0:  # OpenCV allows no negative threshold; in sorted order it is enough to know which boxes count
        scores, score = graph.cast(graph.add("Greater", scores, graph.scalar(score)), "float32"), 0.0
    limits = [graph.constant(limit, "int64"), graph.scalar(min(threshold, 1.0)), graph.scalar(score)]
    picked = graph.add("NonMaxSuppression", boxes, scores, *limits, center_point_box=int(center))
    where = graph.add("Gather", picked, graph.ints(0, 2), axis=1)
    ones = graph.filled(graph.add("Shape", graph.squeeze(graph.slice(where, [0], [1], [1]), [1])), 1.0)
    zeros = graph.filled(graph.add("Shape", graph.squeeze(scores, [1])), 0.0)
    return graph.add("ScatterND", zeros, where, ones)


def onnx_rows(graph: OnnxGraph, columns: Sequence[str], boxes: str) -> str:
    """Float32 columns (M,) and boxes (M, 4) side by side."""
    return graph.add("Concat", *(graph.unsqueeze(column, [1]) for column in columns), boxes, axis=1)


def onnx_rows_or_none(graph: OnnxGraph, rows: str, x: str) -> str:
    """`rows_or_none` for the images along axis 0 of the value `x`."""
    images = graph.size_of(x, 0)
    numbers = graph.cast(graph.count(x), "float32")
    none = graph.pad(graph.unsqueeze(numbers, [1]), [0, 0], [0, 6], -1.0)
    found = graph.size_of(rows, 0)
    end = graph.add("Where", graph.add("Equal", found, graph.ints(0)), images, found)
    rows = graph.add("Slice", graph.add("Concat", rows, none, axis=0), graph.ints(0), end, graph.ints(0))
    return graph.reshape(rows, [1, 1, -1, 7])
