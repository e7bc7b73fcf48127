"""Conversion of a graph to a NetParameter, in which in-place layers share the names of their blobs again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...prototxt.message import Message
from ...prototxt.names import unused

if TYPE_CHECKING:
    from ...graph.graph import Graph, Node, Value


def definition_of(graph: Graph, names: Mapping[Value, str]) -> Message:
    """Return the graph's NetParameter: its layers in order, without phase rules and weights.

    What layers inferred from preceding layers and from reading rules is spelled out (see `LayerType.written`).

    Args:
        graph: the graph.
        names: blob names of its values, see `blob_names`.
    """
    definition = Message.of("NetParameter", name=graph.name or None)
    blobs = set(names.values())
    for node in graph.nodes:
        for message in node.op.written(layer_of(node, names), blobs):
            definition.append("layer", message)
    return definition


def layer_of(node: Node, names: Mapping[Value, str]) -> Message:
    """Return a layer's LayerParameter, as it was read, with these blob names."""
    message = node.op.layer.message.without("blobs", "include", "exclude").copy()
    for field, values in (("bottom", node.inputs), ("top", node.outputs)):
        message.remove(field)
        if values:
            message.set(field, [names[value] for value in values])
    return message


def blob_names(graph: Graph) -> dict[Value, str]:
    """Return a blob name for each value.

    In-place layers share their bottom's name. If several blobs have the same name, the last keeps it and the others append "_".
    """
    last_reader = {value: node for node in graph.nodes for value in node.inputs}
    chain_of: dict[Value, Value] = {}  # first value of each chain of in-place layers
    ends: dict[Value, Value] = {}  # last value of each chain
    for node in graph.nodes:
        for i, value in enumerate(node.outputs):
            before = node.inputs[i] if i < len(node.inputs) else None
            in_place = before is not None and before.name == value.name and last_reader[before] is node
            chain_of[value] = chain_of[before] if before is not None and in_place else value
            ends[chain_of[value]] = value
    taken: set[str] = set()
    names: dict[Value, str] = {}
    for first, value in reversed(ends.items()):
        names[first] = unused(value.name or f"blob{len(ends) - len(names)}", taken)
        taken.add(names[first])
    return {value: names[first] for value, first in chain_of.items()}
