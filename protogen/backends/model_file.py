"""Temporary ONNX files for the engines that run them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

    from ..graph.graph import Graph
    from .setting import Blobs, Setting


@dataclass(frozen=True)
class ModelFile:
    """A model on disk.

    Attributes:
        path: of the file.
        feed: input values by the model's input names.
        outputs: the model's output names.
        blobs: the blob of each output: outputs may have been renamed, and an input that a layer overwrites in place has a
            separate output.
    """

    path: str
    feed: Blobs
    outputs: list[str]
    blobs: list[str]


@contextmanager
def model_file(graph: Graph, feed: Blobs, setting: Setting) -> Iterator[ModelFile]:
    """Write the graph's ONNX model to a temporary file while the block runs; every blob is an output unless `outputs_only`.

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
    old = {new: blob for blob, new in options.rename.items()}
    values = {old.get(value.name, value.name): value.name for value in skeleton.input}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        model.save(path, options.external_data)
        yield ModelFile(
            str(path),
            {name: feed[blob] for blob, name in values.items()},
            [value.name for value in skeleton.output],
            [old.get(blob, blob) for blob in onnx_blobs(skeleton)],
        )


def onnx_blobs(graph: onnx.GraphProto) -> list[str]:
    """Return the blob of each output: a blob that overwrites an input in place is an output of another name."""
    return [value.doc_string or value.name for value in graph.output]
