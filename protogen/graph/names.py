"""Names that can be stored as UTF-8, which ONNX requires; a prototxt may contain any bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .graph import Graph, Node, Value


def with_text_names(graph: Graph) -> Graph:
    """Return the graph with every lone surrogate in the names of blobs, layers and the net escaped, as in error messages.

    Lone surrogates stand for the bytes of a prototxt that are not UTF-8. Names that differed still differ. A graph without such
    names is returned as it is.
    """
    blobs = _text_names(value.name for value in graph.values)
    layers = _text_names(node.op.layer.name for node in graph.nodes)
    name = _escaped(graph.name)
    if not blobs and not layers and name == graph.name:
        return graph
    twins = {value: replace(value, name=blobs.get(value.name, value.name)) for value in graph.values}
    nodes = [_renamed(node, layers, twins) for node in graph.nodes]
    return replace(graph, nodes=nodes, outputs=[twins[value] for value in graph.outputs], name=name)


def _renamed(node: Node, layers: Mapping[str, str], twins: Mapping[Value, Value]) -> Node:
    layer = copy(node.op.layer)
    layer.name = layers.get(layer.name, layer.name)
    inputs, outputs = ([twins[value] for value in values] for values in (node.inputs, node.outputs))
    return replace(node, op=node.op.for_layer(layer), inputs=inputs, outputs=outputs)


def _text_names(names: Iterable[str]) -> dict[str, str]:
    """Return a new name for each that UTF-8 cannot store."""
    taken = dict.fromkeys(names)
    result: dict[str, str] = {}
    for name in list(taken):
        text = _escaped(name)
        if text != name:
            while text in taken:
                text += "_"
            taken[text] = None
            result[name] = text
    return result


def _escaped(name: str) -> str:
    return name if name.isascii() else name.encode("utf-8", "backslashreplace").decode("utf-8")
