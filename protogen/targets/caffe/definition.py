"""Graph to NetParameter: values get the names of blobs, which layers that work in place share again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ...prototxt.message import Message

if TYPE_CHECKING:
    from ...graph.graph import Graph, Node, Value


def definition_of(graph: Graph, names: Mapping[Value, str]) -> Message:
    """The graph's NetParameter: its layers without phase rules and weights, in the order of the graph.

    Layers carry the offsets that they took from those before them (see `LayerType.place`).

    Args:
        graph: the graph.
        names: of the blobs that hold its values, see `blob_names`.
    """
    definition = Message.of("NetParameter", name=graph.name or None)
    for node in graph.nodes:
        definition.append("layer", layer_of(node, names))
    return definition


def layer_of(node: Node, names: Mapping[Value, str]) -> Message:
    """A layer's LayerParameter with these names of blobs."""
    message = node.op.layer.message.without("blobs", "include", "exclude").copy().update(node.op.placed_fields())
    for field, values in (("bottom", node.inputs), ("top", node.outputs)):
        message.remove(field)
        if values:
            message.set(field, [names[value] for value in values])
    return message


def blob_names(graph: Graph) -> dict[Value, str]:
    """A blob's name for each value: a layer in place shares its bottom's, the last value of a name keeps it, others get "_"."""
    last_reader = {value: node for node in graph.nodes for value in node.inputs}
    chain_of: dict[Value, Value] = {}  # the first value of each chain of layers in place
    ends: dict[Value, Value] = {}  # its last
    for node in graph.nodes:
        for i, value in enumerate(node.outputs):
            before = node.inputs[i] if i < len(node.inputs) else None
            in_place = before is not None and before.name == value.name and last_reader[before] is node
            chain_of[value] = chain_of[before] if before is not None and in_place else value
            ends[chain_of[value]] = value
    taken: set[str] = set()
    names: dict[Value, str] = {}
    for first, value in reversed(ends.items()):
        name = value.name or f"blob{len(ends) - len(names)}"
        while name in taken:
            name += "_"
        taken.add(name)
        names[first] = name
    return {value: names[first] for value, first in chain_of.items()}
