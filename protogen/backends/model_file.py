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
    from .setting import Blobs, Setting


@dataclass(frozen=True)
class ModelFile:
    """A model on disk.

    Attributes:
        path: of the file.
        feed: input values by the model's input names.
        outputs: the model's output names.
        blobs: the blob of each output, whose name may be another.
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
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        model.save(path, options.external_data)
        yield ModelFile(
            str(path),
            dict(zip((value.name for value in skeleton.input), (feed[blob] for blob in blobs_of(skeleton.input)))),
            [value.name for value in skeleton.output],
            onnx_blobs(skeleton),
        )


def onnx_blobs(graph: onnx.GraphProto) -> list[str]:
    """Return the blob of each output."""
    return blobs_of(graph.output)


def blobs_of(ends: Iterable[onnx.ValueInfoProto]) -> list[str]:
    """Return the blob of each input or output: its doc string has it where the name is another.

    It is if it was renamed or named after a layer, or if the blob overwrites an input in place.
    """
    return [value.doc_string or value.name for value in ends]
