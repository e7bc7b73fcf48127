"""Write a graph as Caffe's own files: the definition as prototxt, the weights as a caffemodel or HDF5."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import WeightsError, some
from ...files import write_text
from ...graph.fold import folded
from ...prototxt.inputs import with_input_shapes
from ...prototxt.layer import Layer
from ...prototxt.writer import write
from .definition import blob_names, definition_of
from .options import CaffeOptions, DefinitionOptions

if TYPE_CHECKING:
    import numpy as np

    from ...graph.graph import Graph, Weight


def save_prototxt(graph: Graph, path: Path, options: DefinitionOptions) -> None:
    """Write the graph's definition, for its phase and without weights.

    Args:
        graph: the graph.
        path: the file to write.
        options: `fold` and `templates` apply.
    """
    write_text(path, prototxt_of(folded(graph) if options.fold else graph, options.templates))


def prototxt_of(graph: Graph, templates: str | None = None) -> str:
    """Return the graph's definition as prototxt, with the graph's shapes in its Input layers, by these `templates`."""
    names = blob_names(graph)
    shapes = {names[value]: value.shape for value in graph.inputs}
    definition = definition_of(graph, names)
    return write(with_input_shapes(definition, [Layer(message) for message in definition.layer], shapes), templates)


def save_caffemodel(graph: Graph, path: Path, options: CaffeOptions, hdf5: bool = False) -> None:
    """Write the graph's weights, or those drawn by fillers if the net has none at all.

    Args:
        graph: the graph.
        path: the file to write.
        options: `fold` applies.
        hdf5: write HDF5 instead of a caffemodel.

    Raises:
        WeightsError: only some layers have weights: the file would look trained without being so.
    """
    if not all(weight.drawn for node in graph.nodes for weight in node.weights):
        require_weights(graph)
    write_weights(folded(graph) if options.fold else graph, path, hdf5)


def require_weights(graph: Graph) -> None:
    """Check that no layer's weights were drawn by fillers.

    Raises:
        WeightsError: names the layers without weights.
    """
    missing = [node.op.layer.name for node in graph.nodes if any(weight.drawn for weight in node.weights)]
    if missing:
        raise WeightsError(f"layers without weights: {some(missing)}; load or set them, or draw them with net.fill()")


def write_weights(graph: Graph, path: str | os.PathLike[str], hdf5: bool = False) -> None:
    """Write names, types and blobs of a graph's layers.

    Args:
        graph: the graph.
        path: the file to write.
        hdf5: write a `.caffemodel.h5`, without blobs shared from an earlier layer, as Caffe does.

    Raises:
        WeightsError: the weights exceed the format's limits.
        ProtogenError: writing failed.
    """
    if hdf5:
        from ...weights.hdf5 import write as write_hdf5

        write_hdf5(path, graph.name, _layers(graph, shared=False))
        return
    from ...weights.caffemodel import write as write_caffemodel

    write_caffemodel(path, graph.name, _layers(graph, shared=True))


def _layers(graph: Graph, shared: bool) -> Iterator[tuple[str, str, list[str], list[str], Sequence[np.ndarray | None]]]:
    """Yield (name, type, bottoms, tops, blobs) of each layer; unless `shared`, a blob of an earlier layer is None."""
    names = blob_names(graph)
    written: set[Weight] = set()
    for node in graph.nodes:
        blobs = [None if weight in written else array for weight, array in zip(node.weights, node.arrays)]
        if not shared:
            written.update(node.weights)
        layer = node.op.layer
        yield layer.name, layer.type, [names[value] for value in node.inputs], [names[value] for value in node.outputs], blobs
