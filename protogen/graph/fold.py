"""Fold a graph for inference: BatchNorm, Scale and Bias go into the layer before, identities are removed.

Pre: a graph in phase TEST. Post: the same outputs up to float32 rounding, under the same names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import ConversionError
from ..layers.fields import require_computed
from ..layers.scale import Scale
from ..weights.pages import release
from .graph import Graph, Node, Value, Weight

if TYPE_CHECKING:
    import numpy as np


def folded(graph: Graph) -> Graph:
    """`graph` with every per-channel affine layer merged into its predecessor where possible, and without identity layers.

    Raises:
        ConversionError: the graph is in phase TRAIN, whose batch statistics cannot be folded, or a layer has fields that are
            not computed.
    """
    if graph.phase != "TEST":
        raise ConversionError("only a net in phase TEST can be folded; load it with phase='TEST' (--phase test)")
    require_computed((node.op for node in graph.nodes), graph.strict)
    return fold_affine(drop_identities(graph))


def drop_identities(graph: Graph) -> Graph:
    """Remove layers whose tops equal their bottom in inference (Dropout, Split), unless an output would be lost."""
    readers, outputs, overwritten = graph.readers(), set(graph.outputs), _overwritten_inputs(graph)
    kept: list[Node] = []
    stands_for: dict[Value, Value] = {}
    for node in graph.nodes:
        node = _reading(node, [stands_for.get(value, value) for value in node.inputs])
        if not node.op.is_identity or node.inputs[0] in overwritten or any(readers[value] < 2 for value in node.inputs[1:]):
            kept.append(node)
        elif outputs.isdisjoint(node.outputs):
            readers.subtract(node.inputs)
            for value in node.outputs:
                stands_for[value] = node.inputs[0]
                readers[node.inputs[0]] += readers[value]
        elif not _hand_over(node, kept, readers, outputs):
            kept.append(node)
    return replace(graph, nodes=kept)


def _overwritten_inputs(graph: Graph) -> set[Value]:
    """Values of inputs that a layer overwrites in place: read after it, they would need another name in Caffe's files."""
    names, last = {value.name for value in graph.inputs}, set(graph.blobs)
    return {value for value in graph.values if value.name in names and value not in last}


def _reading(node: Node, inputs: Sequence[Value]) -> Node:
    return node if list(inputs) == list(node.inputs) else replace(node, inputs=inputs)


def _hand_over(node: Node, kept: list[Node], readers: Counter[Value], outputs: set[Value]) -> bool:
    """Let the layer before an identity make the identity's output, a result of the graph, if nothing else reads its own.

    Returns:
        Whether that was possible; `kept` and `readers` are updated if so.
    """
    source = node.inputs[0]
    at = next((i for i, other in enumerate(kept) if source in other.made), None)
    if at is None or len(node.outputs) > 1 or readers[source] > 1 or source in outputs:
        return False
    readers.subtract(node.inputs)
    kept[at] = replace(kept[at], outputs=[node.outputs[0] if value is source else value for value in kept[at].outputs])
    return True


def fold_affine(graph: Graph) -> Graph:
    """Merge each per-channel affine layer into the layer that makes its input, or else turn it into a Scale."""
    readers, owners, outputs = graph.readers(), graph.owners(), set(graph.outputs)
    kept: list[Node] = []
    maker: dict[Value, int] = {}  # positions in `kept` of the layers that may absorb what follows
    for node in graph.nodes:
        shares = any(owners[weight] > 1 for weight in node.weights)
        affine = None if shares else node.op.affine(node.arrays)
        if affine is not None:
            source = node.inputs[0]
            at = maker.get(source) if readers[source] == 1 and source not in outputs else None
            merged = None if at is None else _merged(kept[at], node, *affine)
            if at is not None and merged is not None:
                kept[at] = merged
                maker[merged.outputs[0]] = at
                continue
            node = _as_scale(node, *affine)
        if len(node.outputs) == 1 and not shares:
            maker[node.outputs[0]] = len(kept)
        kept.append(node)
    return replace(graph, nodes=kept)


def _merged(node: Node, after: Node, scale: np.ndarray, shift: np.ndarray) -> Node | None:
    """One layer in place of two, None if the first cannot absorb the scale and shift of the second."""
    arrays = node.arrays
    absorbed = node.op.absorb(arrays, scale, shift)
    if absorbed is None:
        return None
    for array in arrays:
        release(array)
    op, merged = absorbed
    return replace(node, op=op, outputs=after.outputs, weights=[Weight(array) for array in merged])


def _as_scale(node: Node, scale: np.ndarray, shift: np.ndarray) -> Node:
    """The affine layer as a Scale layer with a bias, of the same name."""
    import numpy as np

    weights = [Weight(np.asarray(array, dtype=np.float32)) for array in (scale, shift)]
    return Node(Scale.in_place_of(node.op), node.inputs[:1], node.outputs, weights)
