"""A graph for another number of images per pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .graph import Graph, Value


def batch_inputs(graph: Graph, image: Value | None = None) -> list[Value]:
    """Return the inputs whose first axis is the batch: those that agree in it with the image, by default the first input."""
    sized = [value for value in graph.inputs if value.shape]
    first = image or (sized[0] if sized else None)
    return [] if first is None else [value for value in sized if value.shape[0] == first.shape[0]]


def with_batch(graph: Graph, batch: int, image: Value | None = None) -> Graph:
    """Return the graph for another batch.

    Args:
        graph: the graph.
        batch: the images per pass.
        image: the input whose batch it is, by default the first.

    Raises:
        LayerError: a layer does not work with this batch.
    """
    return graph.at({value: (batch, *value.shape[1:]) for value in batch_inputs(graph, image)})
