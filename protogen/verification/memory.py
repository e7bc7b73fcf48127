"""Whether a net's blobs fit into memory, before its engines run."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from operator import itemgetter
from typing import TYPE_CHECKING

from ..errors import ProtogenError
from ..graph.activations import VALUE
from ..memory import available_memory

if TYPE_CHECKING:
    from ..graph.graph import Graph, Value

BASE = 512 << 20
"""Bytes that Python, PyTorch and ONNX Runtime take before they hold any blob, and room for parts of ONNX models."""


def require_memory(graphs: Sequence[Graph]) -> None:
    """Refuse graphs whose blobs and weights cannot be in memory while two engines run one side by side.

    Raises:
        ProtogenError: it needs more than there is; says how much, and how to ask for less.
    """
    available, (needed, graph) = available_memory(), max(((needed_memory(each), each) for each in graphs), key=itemgetter(0))
    if available is None or needed <= available:
        return
    shapes = [(value.name, value.shape) for value in graph.inputs if value.shape]
    at = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes[:3])
    batch = "a smaller batch (--batch 1), or " if any(shape[0] > 1 for _, shape in shapes) else ""
    hint = f": take {batch}a smaller image with --input {_smaller(*shapes[0])}" if shapes else ""
    raise ProtogenError(
        f"verify needs about {_gib(needed)} of memory for blobs and weights at {at}, and {_gib(available)} are available{hint}"
    )


def needed_memory(graph: Graph) -> int:
    """Estimate what `verify` takes, in bytes: two engines, each with its weights and with the blobs that it needs at one time."""
    weights = {weight: weight.values.nbytes for node in graph.nodes for weight in node.weights}
    return BASE + 2 * (_live(graph) + sum(weights.values()))


def _live(graph: Graph) -> int:
    """Return how many bytes of values are needed at one time, at most.

    In a graph, which need not be a net: values are told apart that have one blob's name, and engines hold them apart, too.
    """
    last = {value: number for number, node in enumerate(graph.nodes) for value in (*node.inputs, *node.outputs)}
    held = peak = 0
    for number, node in enumerate(graph.nodes):
        held += sum(_size(value) for value in node.outputs)
        peak = max(peak, held)
        ended = [value for value in {*node.inputs, *node.outputs} if last[value] == number and value not in graph.outputs]
        held -= sum(map(_size, ended))
    return peak


def _size(value: Value) -> int:
    return VALUE * prod(value.shape)


def _smaller(name: str, shape: tuple[int, ...]) -> str:
    """Return an input of half the size as the command line takes it."""
    halves = [1 if axis == 0 else dim if axis == 1 else max(1, dim // 2) for axis, dim in enumerate(shape)]
    return f"{name}={','.join(map(str, halves))}"


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
