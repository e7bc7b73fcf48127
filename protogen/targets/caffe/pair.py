"""The two files that Caffe users pass around: a prototxt and the caffemodel that goes with it."""

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
    """Names of prototxt and weights for what a user gives as output: the prototxt, the weights, or what both begin with.

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


def save_pair(graph: Graph, prototxt: Path, weights: Path) -> None:
    """Write a graph's prototxt and weights; both appear, or neither.

    Raises:
        ConversionError: both are one file.
        WeightsError: layers without weights.
    """
    require_weights(graph)
    if os.path.realpath(prototxt) == os.path.realpath(weights):
        raise ConversionError(f"{os.fspath(prototxt)}: prototxt and weights cannot be one file")
    hdf5 = os.fspath(weights).lower().endswith(".h5")
    with replacing(prototxt) as text_file, replacing(weights) as weights_file:
        with open(text_file, "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            file.write(prototxt_of(graph))
        write_weights(graph, weights_file, hdf5)
