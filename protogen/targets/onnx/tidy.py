"""Cleanup of the emitted graph: merges consecutive reshapes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

    from ...layers.forms.onnx_graph import OnnxGraph


def merge_reshapes(graph: OnnxGraph, outputs: Collection[str]) -> set[str]:
    """Merge each Flatten or Reshape with a preceding one whose result nothing else reads.

    For example, a Flatten and the Reshape of DetectionOutput become one Reshape. Both target shapes must be known, and a single
    -1 must suffice for the result.

    Args:
        graph: the graph, whose nodes are modified.
        outputs: values to keep.

    Returns:
        Names of the removed values.
    """
    readers = Counter(name for node in graph.nodes for name in node.input)
    makers: dict[str, onnx.NodeProto] = {}
    removed: set[str] = set()
    for node in graph.nodes:
        between = node.input[0] if node.input else ""
        if between in makers and readers[between] == 1 and between not in outputs and _merge(graph, makers[between], node):
            removed.add(between)
        makers.update(dict.fromkeys(node.output, node))
    graph.nodes[:] = [node for node in graph.nodes if node.output[0] not in removed]
    return removed


def _merge(graph: OnnxGraph, first: onnx.NodeProto, second: onnx.NodeProto) -> bool:
    """Make the second node do the work of both, if possible; return whether it does."""
    from onnx import helper

    before, target = _target(graph, first), _target(graph, second)
    if before is None or target is None:
        return False
    if second.op_type == "Flatten" and min(before[1:], default=0) > 0:
        target = [0, math.prod(before[1:])]
    merged = [before[axis] if size == 0 else size for axis, size in enumerate(target)]
    if merged.count(-1) > 1:
        return False
    second.input[0] = first.input[0]
    if merged != target:
        graph.layer = second.name
        second.CopyFrom(helper.make_node("Reshape", [first.input[0], graph.ints(*merged)], second.output, second.name))
    return True


def _target(graph: OnnxGraph, node: onnx.NodeProto) -> list[int] | None:
    """Return the target shape of a node, as Reshape defines it (0 copies an axis, -1 is inferred); None if unknown."""
    if node.op_type == "Flatten" and [attribute.i for attribute in node.attribute] == [1]:
        return [0, -1]
    if node.op_type == "Reshape" and node.input[1] in graph.initializers:
        return [int(size) for size in graph.initializers[node.input[1]]]
    return None
