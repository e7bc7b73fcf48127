"""Write a prototxt and the caffemodel that belongs to it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ...errors import ConversionError
from ...files import Path, replacing
from .files import prototxt_of, require_weights, write_weights

if TYPE_CHECKING:
    from ...graph.graph import Graph

_WEIGHTS = (".caffemodel.h5", ".caffemodel", ".h5")


def pair_paths(output: str, weights: str | None = None) -> tuple[str, str]:
    """Return the names of prototxt and weights for an `output` that names the prototxt, the weights, or their common stem.

    >>> pair_paths("folded"), pair_paths("folded.prototxt")
    (('folded.prototxt', 'folded.caffemodel'), ('folded.prototxt', 'folded.caffemodel'))
    >>> pair_paths("a/folded.caffemodel.h5"), pair_paths("a.txt", "b.caffemodel")
    (('a/folded.prototxt', 'a/folded.caffemodel.h5'), ('a.txt', 'b.caffemodel'))
    """
    if weights is not None:
        return output, weights
    for ending in _WEIGHTS:
        if output.lower().endswith(ending):
            return output[: -len(ending)] + ".prototxt", output
    stem = output[: -len(".prototxt")] if output.lower().endswith(".prototxt") else output
    return stem + ".prototxt", stem + ".caffemodel"


def save_pair(graph: Graph, prototxt: Path, weights: Path, text: str | None = None) -> None:
    """Write a net's prototxt and weights, both or neither.

    Args:
        graph: the net's graph, with its weights.
        prototxt: the definition's file.
        weights: the weights' file; HDF5 if it ends in .h5.
        text: the definition, if it is another than the graph's own: that of both phases, or by other templates.

    Raises:
        ConversionError: both paths name the same file.
        WeightsError: layers without weights.
    """
    require_weights(graph)
    if os.path.realpath(prototxt) == os.path.realpath(weights):
        raise ConversionError(f"{os.fspath(prototxt)}: prototxt and weights cannot be the same file")
    hdf5 = os.fspath(weights).lower().endswith(".h5")
    with replacing(prototxt) as text_file, replacing(weights) as weights_file:
        with open(text_file, "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            file.write(prototxt_of(graph) if text is None else text)
        write_weights(graph, weights_file, hdf5)
