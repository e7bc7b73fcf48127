"""What the detection layers share: overlaps of boxes and their greedy suppression, in PyTorch and as ONNX ops."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ..forms.onnx_graph import OnnxGraph

BLOCK = 256  # boxes that are compared with each other at once
LOWEST = -3.4028234663852886e38  # -FLT_MAX
ALL = 2**31 - 1  # boxes that NonMaxSuppression may leave, where there is no limit


def iou(a: Tensor, b: Tensor, pixel: float = 0.0, least: float = 0.0) -> Tensor:
    """Intersection over union (G, A, B) of boxes (G, A, 4) and (G, B, 4), each x1, y1, x2, y2.

    Args:
        a, b: the boxes; one that is inside out (x2 < x1) overlaps nothing.
        pixel: 1 where x2 and y2 are a box's last pixels (Faster R-CNN), 0 where they are its edges (SSD).
        least: x2 - x1 of an intersection below which there is none.
    """
    import torch

    a, b = a.unsqueeze(2), b.unsqueeze(1)
    side = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    side = torch.where(side < least, torch.zeros_like(side), side + pixel)
    common = side[..., 0] * side[..., 1]
    area_a, area_b = ((box[..., 2] - box[..., 0] + pixel) * (box[..., 3] - box[..., 1] + pixel) for box in (a, b))
    return common / (area_a + area_b - common)


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
        overlap = iou(a, b, pixel, least)
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
        overlap = iou(boxes[:, :k], boxes[:, k : k + 1]).squeeze(2)
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


def onnx_suppress(
    graph: OnnxGraph, boxes: str, scores: str, threshold: float, *, score: float, limit: int, center: bool = False
) -> str:
    """A mask (G, K) of 1.0 and 0.0: the boxes (G, K, 4) left of each group, those with scores (G, 1, K) above `score`.

    NonMaxSuppression takes better scores first, of equal ones the first; it drops what overlaps more than `threshold`.
    What it picks comes in no stated order, so it is turned into a mask. The boxes must come best first.
    """
    if score < 0:  # OpenCV allows no negative threshold; in sorted order it is enough to know which boxes count
        scores, score = graph.add("Cast", graph.add("Greater", scores, graph.scalar(score)), to=1), 0.0
    limits = [graph.constant(limit, "int64"), graph.scalar(min(threshold, 1.0)), graph.scalar(score)]
    picked = graph.add("NonMaxSuppression", boxes, scores, *limits, center_point_box=int(center))
    where = graph.add("Gather", picked, graph.ints(0, 2), axis=1)
    ones = constant_like(graph, graph.add("Shape", graph.squeeze(graph.slice(where, [0], [1], [1]), [1])), 1.0)
    zeros = constant_like(graph, graph.add("Shape", graph.squeeze(scores, [1])), 0.0)
    return graph.add("ScatterND", zeros, where, ones)


def constant_like(graph: OnnxGraph, shape: str, value: float) -> str:
    """A float32 tensor of a shape that is itself a value, filled with one number."""
    import numpy as np
    from onnx import numpy_helper

    return graph.add("ConstantOfShape", shape, value=numpy_helper.from_array(np.array([value], np.float32)))


def onnx_positions(graph: OnnxGraph, mask: str) -> str:
    """Places (M,) of the ones in a mask, counted through all its axes, in ascending order."""
    return graph.squeeze(graph.add("NonZero", graph.reshape(mask, [-1])), [0])


def onnx_count(graph: OnnxGraph, x: str) -> str:
    """0, 1, 2, ... as int64, one for each item along axis 0."""
    return onnx_positions(graph, constant_like(graph, graph.size_of(x, 0), 1.0))


def onnx_rows(graph: OnnxGraph, columns: list[str]) -> str:
    """Columns, vectors (M,) or matrices with M rows marked by a leading "*", side by side as float32 (M, n)."""
    parts = [name[1:] if name.startswith("*") else graph.unsqueeze(name, [1]) for name in columns]
    return graph.add("Concat", *parts, axis=1)


def onnx_rows_or_none(graph: OnnxGraph, rows: str, x: str) -> str:
    """`rows_or_none` for the images along axis 0 of the value `x`."""
    images = graph.size_of(x, 0)
    numbers = graph.add("Cast", onnx_count(graph, x), to=1)
    none = graph.pad(graph.unsqueeze(numbers, [1]), [0, 0], [0, 6], -1.0)
    found = graph.size_of(rows, 0)
    end = graph.add("Where", graph.add("Equal", found, graph.ints(0)), images, found)
    rows = graph.add("Slice", graph.add("Concat", rows, none, axis=0), graph.ints(0), end, graph.ints(0))
    return graph.reshape(rows, [1, 1, -1, 7])


def onnx_away(graph: OnnxGraph, x: str) -> str:
    """Rounded to whole numbers, halves away from zero (ONNX's Round takes them to the even number)."""
    size = graph.add("Abs", x)
    whole = graph.add("Floor", size)
    down = graph.add("Less", graph.add("Sub", size, whole), graph.scalar(0.5))
    rounded = graph.add("Where", down, whole, graph.add("Add", whole, graph.scalar(1.0)))
    return graph.add("Mul", rounded, graph.add("Sign", x))
