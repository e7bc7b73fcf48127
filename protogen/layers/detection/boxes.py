"""Shared by the detection layers: overlaps of boxes, SSD's box codes and greedy suppression, in PyTorch and as ONNX ops.

Forks differ in details that affect the last bit or the overlaps of empty boxes; the functions have flags for these.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ..forms.onnx_graph import OnnxGraph

BLOCK = 256  # number of boxes that are compared with each other at once
ALL = 2**31 - 1  # limit for NonMaxSuppression where there is none


# ---- geometry; boxes are x1, y1, x2, y2 in the last axis, and functions of two boxes broadcast them


def around(middle: Tensor, half: Tensor) -> Tensor:
    """Boxes (..., 4) from their middle points and half sizes, each (..., 2)."""
    import torch

    return torch.cat([middle - half, middle + half], -1)


def common_sides(a: Tensor, b: Tensor) -> Tensor:
    """Width and height (..., 2) of the intersection of boxes, negative where they are disjoint."""
    import torch

    return torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])


def intersection(a: Tensor, b: Tensor, pixel: float = 0.0, least: float = 0.0) -> Tensor:
    """The shared area of boxes, 0 where they are disjoint.

    Args:
        a, b: boxes (..., 4).
        pixel, least: see `iou`.
    """
    width, height = common_sides(a, b).unbind(-1)
    return ((width + pixel) * (height + pixel)).masked_fill((width < least) | (height < least), 0)


def areas(boxes: Tensor, pixel: float = 0.0, signed: bool = False) -> Tensor:
    """Width times height.

    Args:
        boxes: boxes (..., 4).
        pixel: see `iou`.
        signed: whether to return the plain product for inverted boxes (x2 < x1) instead of 0.
    """
    width, height = boxes[..., 2] - boxes[..., 0], boxes[..., 3] - boxes[..., 1]
    area = (width + pixel) * (height + pixel)
    return area if signed else area.masked_fill((width < 0) | (height < 0), 0)


def over_union(shared: Tensor, area_a: Tensor, area_b: Tensor) -> Tensor:
    """The shared area over that of the union, summed in the order of all forks.

    Args:
        shared: areas of the intersections.
        area_a, area_b: areas of the boxes.
    """
    return shared / (area_a + area_b - shared)


def iou(a: Tensor, b: Tensor, *, pixel: float = 0.0, least: float = 0.0, guarded: bool = False) -> Tensor:
    """Intersection over union of boxes. Inverted boxes (x2 < x1) overlap nothing.

    Args:
        a, b: boxes (..., 4) that broadcast against each other.
        pixel: 1 if x2 and y2 are a box's last pixels (Faster R-CNN), 0 if they are its edges (SSD).
        least: the smallest x2 - x1 and y2 - y1 for which there is an intersection.
        guarded: whether boxes that share no area have an IoU of 0, and areas are never negative (SSD's JaccardOverlap and
            BBoxSize in bbox_util.cpp); otherwise the bare quotient, NaN for two empty boxes (py-faster-rcnn's bbox.pyx).
    """
    import torch

    shared = intersection(a, b, pixel, least)
    area_a, area_b = (areas(box, pixel, signed=not guarded) for box in (a, b))
    if not guarded:
        return over_union(shared, area_a, area_b)
    meets = (common_sides(a, b) > 0).all(-1)
    return torch.where(meets, shared / torch.where(meets, area_a + area_b - shared, 1), 0)


# ---- SSD's box codes (bbox_util.cpp). Faster R-CNN's layers compute differently, see `Proposal.moved` and `rpn_targets.offsets`:
# sizes count both end pixels, and half of them is added to a corner.


def middle_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Middle points and sizes, each (..., 2)."""
    return (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]


def encode(boxes: Tensor, priors: Tensor, variances: Tensor | None, code: str) -> Tensor:
    """The predictions that turn `priors` into `boxes`.

    Args:
        boxes: target boxes (..., 4).
        priors: prior boxes (..., 4).
        variances: units of the predictions (..., 4), None for 1.
        code: "CORNER", "CENTER_SIZE" or "CORNER_SIZE".
    """
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
    """The predicted boxes, the inverse of `encode`.

    Args:
        predicted: predictions (..., 4).
        priors, variances, code: see `encode`.
    """
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
    """Greedy non-maximum suppression: each box kept, in order, drops the later ones that overlap it too much.

    Blocks of boxes are processed one after the other. Within a block, the rule "kept unless a kept box drops it" is applied to
    all boxes at once until nothing changes: the result is that of the sequential algorithm, without a step per box.

    Args:
        boxes: G independent groups of K boxes (G, K, 4), the best first.
        valid: mask (G, K) of the boxes to consider.
        threshold: overlap above which a box is dropped.
        inclusive: whether it is dropped at the threshold, too.
        pixel, least: see `iou`.
        limit: stop once every group has this many boxes (more may be returned); -1: never.

    Returns:
        Mask (G, K) of the boxes kept.
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
        kept, settled = alive, False
        while not settled:
            now = alive & ~(drops & kept.unsqueeze(2)).any(1)
            settled, kept = torch.equal(now, kept), now
        keep[:, here] = kept
        if 0 <= limit <= int(keep[:, : here.stop].sum(1).min()):
            keep[:, here.stop :] = False
            break
    return keep


def suppress_adaptive(boxes: Tensor, valid: Tensor, threshold: float, eta: float) -> Tensor:
    """`suppress` with an adaptive threshold (SSD's `eta`).

    Args:
        boxes, valid: see `suppress`.
        threshold: initial overlap above which a box is dropped.
        eta: factor of the threshold for each box kept, while the threshold is above 0.5.
    """
    import torch

    keep = valid.clone()
    limit = boxes.new_full((boxes.shape[0],), threshold)
    for k in range(boxes.shape[1]):
        overlap = iou(boxes[:, :k], boxes[:, k : k + 1])
        keep[:, k] &= ~((overlap > limit[:, None]) & keep[:, :k]).any(1)
        limit = torch.where(keep[:, k] & (limit > 0.5), limit * eta, limit)
    return keep


def rows_or_none(rows: Tensor, images: int) -> Tensor:
    """Detections (M, 7) as the top (1, 1, M, 7); if there are none, one row per image: its index, then -1."""
    import torch

    if rows.shape[0] == 0:
        rows = rows.new_full((images, 7), -1)
        rows[:, 0] = torch.arange(images, device=rows.device)
    return rows.reshape(1, 1, -1, 7)


# ---- ONNX


def onnx_around(graph: OnnxGraph, middle: str, half: str, axis: int) -> str:
    """Emit `around`.

    Args:
        graph: the graph to emit into.
        middle, half: values of the middle points and half sizes.
        axis: axis of their coordinates.
    """
    return graph.add("Concat", graph.add("Sub", middle, half), graph.add("Add", middle, half), axis=axis)


def onnx_decode(graph: OnnxGraph, offset: str, prior: str, variance: str | None, code: str) -> str:
    """Emit `decode`, for predictions with four axes.

    Args:
        graph: the graph to emit into.
        offset: value of the predictions (..., 4).
        prior, variance: values of the prior boxes and of their variances, None for 1.
        code: see `encode`.
    """
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
    """Emit greedy suppression by NonMaxSuppression, which takes higher scores first, and of equal ones the first.

    The order of its output is unspecified, so it is turned into a mask.

    Args:
        graph: the graph to emit into.
        boxes: value of G groups of boxes (G, K, 4), the best first.
        scores: value of their scores (G, 1, K).
        threshold: overlap above which a box is dropped.
        score: threshold above which a box is considered.
        limit: the largest number of boxes to keep per group.
        center: whether boxes are x, y, width, height instead of corners.

    Returns:
        A mask (G, K) of 1.0 for boxes kept and 0.0 for others.
    """
    if score < 0:  # OpenCV does not support a negative threshold; as boxes are sorted, it suffices to know which ones count
        scores, score = graph.cast(graph.add("Greater", scores, graph.scalar(score)), "float32"), 0.0
    limits = [graph.constant(limit, "int64"), graph.scalar(min(threshold, 1.0)), graph.scalar(score)]
    picked = graph.add("NonMaxSuppression", boxes, scores, *limits, center_point_box=int(center))
    where = graph.add("Gather", picked, graph.ints(0, 2), axis=1)
    ones = graph.filled(graph.add("Shape", graph.squeeze(graph.slice(where, [0], [1], [1]), [1])), 1.0)
    zeros = graph.filled(graph.add("Shape", graph.squeeze(scores, [1])), 0.0)
    return graph.add("ScatterND", zeros, where, ones)


def onnx_rows(graph: OnnxGraph, columns: Sequence[str], boxes: str) -> str:
    """Emit rows of detections.

    Args:
        graph: the graph to emit into.
        columns: values of float32 columns (M,).
        boxes: value of the boxes (M, 4), which follow them.
    """
    return graph.add("Concat", *(graph.unsqueeze(column, [1]) for column in columns), boxes, axis=1)


def onnx_rows_or_none(graph: OnnxGraph, rows: str, x: str) -> str:
    """Emit `rows_or_none`.

    Args:
        graph: the graph to emit into.
        rows: value of the detections (M, 7).
        x: any value with the images along axis 0.
    """
    images = graph.size_of(x, 0)
    numbers = graph.cast(graph.count(x), "float32")
    none = graph.pad(graph.unsqueeze(numbers, [1]), [0, 0], [0, 6], -1.0)
    count = graph.size_of(rows, 0)
    end = graph.add("Where", graph.add("Equal", count, graph.ints(0)), images, count)
    rows = graph.add("Slice", graph.add("Concat", rows, none, axis=0), graph.ints(0), end, graph.ints(0))
    return graph.reshape(rows, [1, 1, -1, 7])
