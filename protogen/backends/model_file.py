"""Temporary ONNX files for the engines that run them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

    from ..graph.graph import Graph
    from ..targets.onnx.file import OnnxModel
    from .setting import Blobs, Setting


@dataclass(frozen=True)
class Model:
    """A graph's ONNX model, and what it calls the graph's blobs.

    Attributes:
        model: the model.
        feed: input values by the model's input names.
        outputs: the model's output names.
        blobs: the blob of each output, whose name may be another.
    """

    model: OnnxModel
    feed: Blobs
    outputs: list[str]
    blobs: list[str]


def model_of(graph: Graph, feed: Blobs, setting: Setting) -> Model:
    """Convert a graph to ONNX; every blob is an output unless `outputs_only`.

    Args:
        graph: the graph.
        feed: input values by blob.
        setting: its `onnx`, `outputs_only` and `made_at` apply.

    Raises:
        ConversionError: the net cannot be converted with these options.
    """
    from ..targets.onnx.emit import emit

    options = replace(setting.onnx, fold=False, all_blobs=not setting.outputs_only)
    model = emit(setting.made_at or graph, options, check=False)
    skeleton = model.skeleton.graph
    return Model(
        model,
        dict(zip((value.name for value in skeleton.input), (feed[blob] for blob in blobs_of(skeleton.input)))),
        [value.name for value in skeleton.output],
        onnx_blobs(skeleton),
    )


@contextmanager
def saved(model: OnnxModel, external_data: bool = False) -> Iterator[str]:
    """Write a model to a temporary file while the block runs, and give its path."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        model.save(path, external_data)
        yield str(path)


def onnx_blobs(graph: onnx.GraphProto) -> list[str]:
    """Return the blob of each output."""
    return blobs_of(graph.output)


def blobs_of(ends: Iterable[onnx.ValueInfoProto]) -> list[str]:
    """Return the blob of each input or output: its doc string has it where the name is another.

    It is if it was renamed or named after a layer, or if the blob overwrites an input in place.
    """
    return [value.doc_string or value.name for value in ends]
