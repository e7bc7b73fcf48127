"""Order and names of outputs as programs know them that read Caffe's files with OpenCV 4.

Its importer gave, for `forward()` without a name, the first top of the net's last layer; OpenCV 5 gives an ONNX model's first
output. And it knew results by the names of layers, not of blobs: where a layer works in place, each of the two had its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..prototxt.names import as_utf8

if TYPE_CHECKING:
    from .graph import Graph, Value


def last_layer_first(graph: Graph) -> Graph:
    """Return the graph with the outputs that its last layer makes before the others, unless the outputs were asked for.

    The others stay in their order.
    """
    if graph.has_chosen_outputs:
        return graph
    ends = ([value for value in node.made if value in graph.outputs] for node in reversed(graph.nodes))
    first = next((values for values in ends if values), [])
    return replace(graph, outputs=[*first, *(value for value in graph.outputs if value not in first)])


def layer_names(graph: Graph) -> dict[Value, str]:
    """Return a name of its own for each value that a layer makes: its `layer_name`, with a number where that is taken.

    It is taken if an input, or an earlier value, has it; inputs keep their blobs' names.
    """
    taken = {value.name for value in graph.inputs}
    names: dict[Value, str] = {}
    for value in (value for node in graph.nodes for value in node.made):
        name = wanted = as_utf8(value.layer_name)
        number = 0
        while name in taken:
            number += 1
            name = f"{wanted}_{number}"
        taken.add(name)
        names[value] = name
    return names
