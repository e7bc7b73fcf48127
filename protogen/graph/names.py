"""Names that can be stored as UTF-8, which ONNX requires; a prototxt may contain any bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING

from ..prototxt.names import as_utf8, unused

if TYPE_CHECKING:
    from .graph import Graph, Node, Value


def with_text_names(graph: Graph) -> Graph:
    """Return the graph with every lone surrogate in the names of blobs, layers and the net escaped, as in error messages.

    Lone surrogates stand for the bytes of a prototxt that are not UTF-8. Names that differed still differ. A graph without such
    names is returned as it is.
    """
    blobs = _text_names(value.name for value in graph.values)
    layers = _text_names(node.op.layer.name for node in graph.nodes)
    name = as_utf8(graph.name)
    if not blobs and not layers and name == graph.name:
        return graph
    graph = _with_value_names(graph, {value: blobs.get(value.name, value.name) for value in graph.values})
    return replace(graph, nodes=[_renamed(node, layers) for node in graph.nodes], name=name)


def with_version_names(graph: Graph) -> Graph:
    """Return the graph with a name for every value: a blob that layer "l" overwrites in place is "<blob> before l" until then."""
    last: dict[str, Value] = {}
    names: dict[Value, str] = {}
    taken = {value.name for value in graph.values}
    for node in graph.nodes:
        for value in node.outputs:
            before = last.get(value.name)
            if before is not None and value.name:
                name = unused(f"{value.name} before {node.op.layer.name or node.op.layer.type}", taken)
                taken.add(name)
                names[before] = name
            last[value.name] = value
    return _with_value_names(graph, names) if names else graph


def _with_value_names(graph: Graph, names: Mapping[Value, str]) -> Graph:
    twins = {value: replace(value, name=names.get(value, value.name)) for value in graph.values}

    def renamed(node: Node) -> Node:
        inputs, outputs = ([twins[value] for value in values] for values in (node.inputs, node.outputs))
        return replace(node, inputs=inputs, outputs=outputs)

    return replace(graph, nodes=list(map(renamed, graph.nodes)), outputs=[twins[value] for value in graph.outputs])


def _renamed(node: Node, layers: Mapping[str, str]) -> Node:
    layer = copy(node.op.layer)
    layer.name = layers.get(layer.name, layer.name)
    return replace(node, op=node.op.for_layer(layer))


def _text_names(names: Iterable[str]) -> dict[str, str]:
    """Return a new name for each that UTF-8 cannot store."""
    taken = dict.fromkeys(names)
    result: dict[str, str] = {}
    for name in list(taken):
        if as_utf8(name) != name:
            result[name] = unused(as_utf8(name), taken)
            taken[result[name]] = None
    return result
