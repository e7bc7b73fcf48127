"""What the data layers of a graph do to the images that a net without them is fed with."""

from __future__ import annotations

from ..layers.source import Source
from ..layers.transform import Transform
from .cut import inference_part
from .graph import Graph


def transforms(graph: Graph) -> dict[str, Transform]:
    """What each data layer does to its images, by the name of their blob, for those that the net needs in inference."""
    stated = {
        node.outputs[0].name: node.op.transform
        for node in graph.nodes
        if isinstance(node.op, Source) and node.op.transform is not None
    }
    if not stated:
        return {}
    needed = {value.name for value in inference_part(graph).inputs}
    return {name: transform for name, transform in stated.items() if name in needed}


def lost(graph: Graph) -> list[Transform]:
    """The transforms that change values, and which a net fed from outside must do without."""
    return [transform for transform in transforms(graph).values() if transform.changes_values]
