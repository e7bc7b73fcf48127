"""The order of boxes in Faster R-CNN's C++ layer Proposal, which is that of its quick sort, in PyTorch and as ONNX ops.

Equal scores are common there (boxes that are too small have 0), and the sort is not stable. As the order determines which boxes
are listed, its algorithm (`sort_box` of proposal_layer.cpp) is reproduced here, with all swaps of a partition at once:

- The pivot of a partition is its first score. The first of the scores that are less is swapped with the last of those that are
  greater, the second with the one before it, and so on as long as they are in the wrong order.
- Then the pivot is swapped with the last score that is greater, if there is one, and is in its final place. The scores before and
  after it are the next partitions, but only up to the `count` that is needed.

Partitions of equal scores stay as they are. Without equal scores all sorts agree, and a fast one is used. The ONNX form processes
all partitions at once in each iteration of a Loop, which has no iterations if there are no equal scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..forms.onnx_graph import OnnxGraph, Size

STATE = ("int64", "int64", "int64", "int64", "int64", "float32")  # element types of the ONNX loop's state


def quick_order(scores: Tensor, count: int) -> Tensor:
    """Indices (N, count) of the `count` best scores in each row of scores (N, K), the best first."""
    import torch

    ranked, order = scores.sort(dim=1, descending=True, stable=True)
    order = order[:, :count]
    tied = (ranked[:, 1:] == ranked[:, :-1])[:, :count].any(1)
    if bool(tied.any()):
        rows = [torch.from_numpy(quick_sorted(row.cpu().double().numpy(), count)) for row in scores[tied]]
        order[tied] = torch.stack(rows).to(order)
    return order


def quick_sorted(scores: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` best of scores (K,), the best first, in the order of the layer's quick sort.

    >>> import numpy as np
    >>> quick_sorted(np.array([0.5, 0, 0.9, 0, 0.7, 0]), 6)
    array([2, 4, 0, 3, 1, 5])
    """
    import numpy as np

    _, same, times = np.unique(scores, return_inverse=True, return_counts=True)
    tied = times[same] > 1
    order, parts = np.arange(len(scores)), [(0, len(scores))]
    while parts:
        start, end = parts.pop()
        part = order[start:end]
        values = scores[part]
        if not tied[part].any():
            part[:] = part[np.argsort(-values)]
        elif (values != values[:1]).any():
            pivot = start + _partition(part, values)
            parts += [(start, pivot), (pivot + 1, end)] if pivot + 1 < count else [(start, pivot)]
    return order[:count]


def _partition(part: np.ndarray, values: np.ndarray) -> int:
    """Partition `part`, the indices of these scores, in place; returns the pivot's final position in it."""
    import numpy as np

    less, more = np.flatnonzero(values < values[0]), np.flatnonzero(values > values[0])[::-1]
    pairs = min(len(less), len(more))
    swaps = np.count_nonzero(less[:pairs] < more[:pairs])
    part[less[:swaps]], part[more[:swaps]] = part[more[:swaps]], part[less[:swaps]]
    last = max((*less[:swaps][-1:], *more[swaps : swaps + 1]), default=0)  # the last position with a greater score now
    part[0], part[last] = part[last], part[0]
    return int(last)


# ---- ONNX


def onnx_quick_order(graph: OnnxGraph, scores: str, total: Size, count: Size) -> str:
    """Emit `quick_order`.

    Args:
        graph: the graph to emit into.
        scores: value of the scores (N, total).
        total, count: numbers of scores and of those needed in each row.

    Returns:
        Indices (N, count) of the best scores of each row, the best first, into all scores of all rows.
    """
    values = graph.reshape(scores, [-1])
    place = graph.count(values)
    start = graph.add("Sub", place, graph.add("Mod", place, graph.constant(total, "int64")))
    last = graph.add("Add", start, graph.constant(total - 1, "int64"))
    end = graph.add("Add", start, graph.constant(count, "int64"))
    ranked, order = graph.add("TopK", scores, graph.ints(total), outputs=2, axis=1)
    order = graph.add("Add", graph.reshape(order, [-1]), start)
    ties = _onnx_ties(graph, ranked, count)
    order = graph.add("Where", ties, place, order)
    state = [order, start, last, end, place, values]
    order = graph.loop(ties, list(zip(state, STATE)), _onnx_step)[0]
    return graph.slice(graph.reshape(order, [-1, total]), [0], [count], [1])


def _onnx_ties(graph: OnnxGraph, ranked: str, count: Size) -> str:
    """Whether any of the `count` best scores equals the next one, a bool scalar."""
    behind = graph.pad(graph.slice(ranked, [1], [2**62], [1]), [0, 0], [0, 1], float("-inf"))
    pairs = graph.cast(graph.add("Equal", ranked, behind), "float32")
    return _onnx_any(graph, graph.slice(pairs, [0], [count], [1]), [0, 1])


def _onnx_any(graph: OnnxGraph, flags: str, axes: Sequence[int]) -> str:
    """Whether any of the numbers is not 0, a bool scalar. (OpenCV 5's Loop fails on a ReduceMax that drops all axes.)"""
    return graph.cast(graph.squeeze(graph.reduce("Max", flags, axes), axes), "bool")


def _onnx_step(graph: OnnxGraph, state: Sequence[str]) -> list[str]:
    """Emit one iteration; returns whether another one is needed, then the next state.

    Args:
        graph: the graph of the Loop's body.
        state: vectors with a value for each place: the index of the score in it; the first and the last place of its partition;
            the end of the places that are needed in its row; the place itself; and the scores in their original order.
    """
    order, first, last, end, place, values = state
    source, pivot = _onnx_partition(graph, graph.add("GatherElements", values, order), first, last, place)
    order = graph.add("GatherElements", order, source)
    before, behind = graph.add("Less", place, pivot), graph.add("Greater", place, pivot)
    one = graph.constant(1, "int64")
    start = graph.add("Where", behind, graph.add("Add", pivot, one), place)
    start = graph.add("Where", before, first, start)
    stop = graph.add("Where", behind, last, place)
    stop = graph.add("Where", before, graph.add("Sub", pivot, one), stop)
    now = graph.add("GatherElements", values, order)
    same = graph.add("Equal", now, graph.add("GatherElements", now, start))
    going = graph.add("And", graph.add("Not", same), graph.add("Less", start, end))
    going = graph.add("And", going, graph.add("Less", start, stop))  # a NaN alone is not equal to itself
    going = _onnx_any(graph, graph.cast(going, "float32"), [0])
    unchanged = [graph.add("Identity", name) for name in (end, place, values)]
    return [going, order, start, stop, *unchanged]


def _onnx_partition(graph: OnnxGraph, values: str, first: str, last: str, place: str) -> tuple[str, str]:
    """The place from which each place takes its next content, and the final place of its partition's pivot.

    Scores to swap are paired by a table: from `first` on, it holds the places of the greater scores, counted from the right, and
    one length further those of the lesser scores, counted from the left.
    """

    def where(condition: str, yes: str, no: str) -> str:
        return graph.add("Where", condition, yes, no)

    def counted(flags: str) -> str:
        return graph.add("CumSum", graph.cast(flags, "int64"), graph.constant(0, "int64"))

    size, pivots = graph.add("Shape", place), graph.add("GatherElements", values, first)
    less, more = graph.add("Less", values, pivots), graph.add("Greater", values, pivots)
    lefts, rights = counted(less), counted(more)
    lefts = graph.add("Sub", lefts, graph.add("GatherElements", lefts, first))
    behind = graph.add("Sub", graph.add("GatherElements", rights, last), rights)
    rank = where(less, lefts, graph.add("Add", behind, graph.constant(1, "int64")))
    near = graph.add("Add", first, rank)
    far = graph.add("Add", near, size)
    slot = where(more, near, where(less, far, graph.add("Add", graph.add("Add", place, size), size)))
    table = graph.add("ScatterElements", graph.add("Concat", place, place, place, axis=0), slot, place, axis=0)
    left = graph.add("And", less, graph.add("Not", graph.add("Less", behind, lefts)))
    right = graph.add("And", more, graph.add("Greater", lefts, behind))
    partner = graph.add("GatherElements", table, where(less, near, far))
    source = where(graph.add("Or", left, right), partner, place)
    more = graph.add("Less", pivots, graph.add("GatherElements", values, source))
    rights = counted(more)
    final = graph.add("And", more, graph.add("Equal", rights, graph.add("GatherElements", rights, last)))
    slot = where(final, first, graph.add("Add", place, size))
    pivot = graph.add("ScatterElements", graph.add("Concat", place, place, axis=0), slot, place, axis=0)
    pivot = graph.add("GatherElements", pivot, first)
    swapped = where(graph.add("Equal", place, pivot), first, place)
    swapped = where(graph.add("Equal", place, first), pivot, swapped)
    return graph.add("GatherElements", source, swapped), pivot
