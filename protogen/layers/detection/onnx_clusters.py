"""The ONNX form of `ClusterDetections`: the same steps as in its PyTorch form, over all P boxes of all images and classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..base import Shape
    from ..forms.onnx_graph import OnnxGraph

MAX_BOXES = 50  # rows per image and class


@dataclass(frozen=True)
class Clustering:
    """What `ClusterDetections` is set to.

    Attributes:
        coverage: shape of its first bottom.
        grid: rows and columns of cells that are read.
        stride: pixels per cell.
        least: least coverage.
        threshold: a group needs more boxes.
        eps: how far similar boxes may be apart, of the mean of their sides.
        min_height: least height of a box in pixels.
        steps: how often chains of similar boxes are doubled in length.
    """

    coverage: Shape
    grid: tuple[int, int]
    stride: int
    least: float
    threshold: int
    eps: float
    min_height: int
    steps: int


class Boxes:
    """Values of the boxes of all cells with enough coverage, P in all.

    Attributes:
        sets: (P,) int64, a number for each image and class.
        corners: (P, 4) float64, before rounding.
        low, size: (P, 2) float64, the first corner and the size.
    """

    def __init__(self, op: Clustering, graph: OnnxGraph, coverage: str, boxes: str) -> None:
        height, width = op.grid
        if (height, width) != op.coverage[2:]:
            coverage = graph.slice(coverage, [0, 0], [height, width], [2, 3])
        found = graph.add("Not", graph.add("Less", coverage, graph.scalar(op.least)))
        image, kind, y, x = graph.split(graph.transpose(graph.add("NonZero", found), (1, 0)), [1] * 4, 1)  # (P, 1) each
        place = graph.add("Concat", image, y, x, axis=1)
        corners = graph.add("GatherND", graph.transpose(boxes, (0, 2, 3, 1)), place)
        cell = graph.add("Mul", graph.add("Concat", x, y, x, y, axis=1), graph.constant(op.stride, "int64"))
        self.corners = graph.add("Add", graph.cast(corners, "float64"), graph.cast(cell, "float64"))
        sets = graph.add("Add", graph.add("Mul", image, graph.constant(op.coverage[1], "int64")), kind)
        self.sets = graph.squeeze(sets, [1])
        low, high = graph.split(self.corners, [2, 2], 1)
        self.low, self.size = graph.add("Round", low), graph.add("Round", graph.add("Sub", high, low))


class Pairs:
    """Emits what concerns two boxes each, (P, P): rows are one box, columns the other.

    Attributes:
        same_set, itself, earlier: whether the other box is of the same image and class, the same box, an earlier one.
    """

    def __init__(self, graph: OnnxGraph, sets: str) -> None:
        self.graph = graph
        self.same_set = graph.add("Equal", graph.unsqueeze(sets, [1]), graph.unsqueeze(sets, [0]))
        number = graph.count(sets)
        row, column = graph.unsqueeze(number, [1]), graph.unsqueeze(number, [0])
        self.itself = graph.add("Equal", row, column)
        self.earlier = graph.add("Less", column, row)

    def any_of(self, mask: str, axis: int, keepdims: bool = True) -> str:
        """Whether any value of a mask along an axis holds; ReduceMax knows no empty ones."""
        number = self.graph.reduce("Sum", self.graph.cast(mask, "float32"), [axis], keepdims)
        return self.graph.add("Greater", number, self.graph.scalar(0.0))

    def row(self, column: str) -> str:
        """(P, 1) as (1, P)."""
        return self.graph.transpose(column, (1, 0))

    def all_near(self, ends: str, limit: str) -> str:
        """Whether all columns of `ends` (P, 4) differ by at most `limit` (P, P, 1)."""
        graph = self.graph
        apart = graph.add("Abs", graph.add("Sub", graph.unsqueeze(ends, [1]), graph.unsqueeze(ends, [0])))
        return graph.add("Not", self.any_of(graph.add("Greater", apart, limit), 2, keepdims=False))

    def within(self, low: str, size: str, slack: str) -> str:
        """Whether a box lies in the other, whose sides are moved out by `slack` (P, 2)."""
        graph = self.graph
        high = graph.add("Add", low, size)
        outer_low, outer_high = (graph.unsqueeze(graph.add(op, x, slack), [0]) for op, x in (("Sub", low), ("Add", high)))
        before = graph.add("Less", graph.unsqueeze(low, [1]), outer_low)
        after = graph.add("Greater", graph.unsqueeze(high, [1]), outer_high)
        return graph.add("Not", self.any_of(graph.add("Or", before, after), 2, keepdims=False))


def cluster(op: Clustering, graph: OnnxGraph, coverage: str, boxes: str) -> list[str]:
    """Emit the layer; returns its tops."""
    found = Boxes(op, graph, coverage, boxes)
    pairs = Pairs(graph, found.sets)
    counts, low, size, first = _grouped(op, graph, found, pairs)
    not_zero = graph.add("Not", graph.add("Equal", graph.cast(found.corners, "float32"), graph.scalar(0.0)))
    alive = pairs.any_of(graph.add("And", pairs.same_set, pairs.row(pairs.any_of(not_zero, 1))), 1)
    kept = _chosen(op, graph, pairs, counts, low, size, graph.add("And", first, alive))
    before = graph.add("And", graph.add("And", pairs.same_set, pairs.row(kept)), pairs.earlier)
    rank = graph.reduce("Sum", graph.cast(before, "float32"), [1])
    return _tops(op, graph, coverage, found.sets, kept, rank, [low, graph.add("Add", low, size), _logarithm(graph, counts)])


def _logarithm(graph: OnnxGraph, counts: str) -> str:
    return graph.add("Log", graph.cast(counts, "float64"))


def _grouped(op: Clustering, graph: OnnxGraph, found: Boxes, pairs: Pairs) -> tuple[str, str, str, str]:
    """Of each box's group: the number (P, 1), the mean's low corner and size (P, 2); and whether the box is its first (P, 1)."""
    low, size = found.low, found.size
    least = graph.add("Min", graph.unsqueeze(size, [1]), graph.unsqueeze(size, [0]))
    limit = graph.add("Mul", graph.reduce("Sum", least, [2]), graph.constant(op.eps * 0.5, "float64"))
    near = pairs.all_near(graph.add("Concat", low, graph.add("Add", low, size), axis=1), limit)
    linked = graph.cast(graph.add("Or", graph.add("And", near, pairs.same_set), pairs.itself), "float32")
    for _ in range(op.steps):
        linked = graph.clip(graph.add("MatMul", linked, linked), None, 1.0)
    counts = graph.reduce("Sum", linked, [1])
    sums = graph.add("MatMul", graph.cast(linked, "float64"), graph.add("Concat", low, size, axis=1))
    # OpenCV's shares are float32; ONNX Runtime's own quotients of float32 can differ in the last bit.
    share = graph.add("Div", graph.constant(1.0, "float64"), graph.cast(counts, "float64"))
    product = graph.add("Mul", sums, graph.cast(graph.cast(share, "float32"), "float64"))
    means = graph.cast(graph.add("Round", graph.cast(product, "float32")), "float64")
    follows = pairs.any_of(graph.add("And", graph.cast(linked, "bool"), pairs.earlier), 1)
    low, size = graph.split(means, [2, 2], 1)
    return counts, low, size, graph.add("Not", follows)


def _chosen(op: Clustering, graph: OnnxGraph, pairs: Pairs, counts: str, low: str, size: str, first: str) -> str:
    """Mask (P, 1) of the groups, at their first boxes, that are returned."""
    large = graph.add("And", first, graph.add("Greater", counts, graph.scalar(float(op.threshold))))
    slack = graph.add("Round", graph.add("Mul", size, graph.constant(op.eps, "float64")))
    few = graph.add("Less", counts, graph.scalar(3.0))
    weaker = graph.add("Or", graph.add("Greater", pairs.row(counts), graph.clip(counts, 3.0, None)), few)
    other = graph.add("And", graph.add("And", pairs.same_set, pairs.row(large)), graph.add("Not", pairs.itself))
    inside = graph.add("And", graph.add("And", pairs.within(low, size, slack), weaker), other)
    height = graph.slice(size, [1], [2], [1])
    small = graph.add("Less", height, graph.constant(float(op.min_height), "float64"))
    return graph.add("And", large, graph.add("Not", graph.add("Or", pairs.any_of(inside, 1), small)))


def _tops(op: Clustering, graph: OnnxGraph, coverage: str, sets: str, kept: str, rank: str, columns: list[str]) -> list[str]:
    """Rows of `columns` for the boxes kept, at their rank within their image and class."""
    kept = graph.add("And", kept, graph.add("Less", rank, graph.scalar(float(MAX_BOXES))))
    chosen = graph.positions(kept)
    rows = graph.add("Gather", graph.add("Concat", *columns, axis=1), chosen)
    rows = graph.cast(graph.cast(rows, "float16"), "float32")
    start = graph.add("Mul", sets, graph.constant(MAX_BOXES, "int64"))
    place = graph.add("Add", graph.unsqueeze(start, [1]), graph.cast(rank, "int64"))
    n, classes = graph.dim(coverage, 0, op.coverage[0]), op.coverage[1]
    zeros = graph.filled(graph.ints(n * (classes * MAX_BOXES), 5), 0.0)
    table = graph.add("ScatterND", zeros, graph.add("Gather", place, chosen), rows)
    parts = graph.split(graph.reshape(table, (-1, classes, MAX_BOXES, 5)), [1] * classes, 1)
    return [graph.squeeze(part, [1]) for part in parts]
