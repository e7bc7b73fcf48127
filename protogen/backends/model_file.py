"""The ONNX model of a net as a file that an engine reads, for as long as it runs."""

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
        path: where it is.
        feed: values by the model's own input names.
        outputs: the model's output names.
        blobs: the blobs they stand for, one each: an output may have been renamed, and an input that a layer overwrites in
            place has an output of its own.
    """

    path: str
    feed: Blobs
    outputs: list[str]
    blobs: list[str]


@contextmanager
def model_file(graph: Graph, feed: Blobs, setting: Setting) -> Iterator[ModelFile]:
    """Write the model that `setting` asks for, every blob an output unless only the outputs are wanted; it is gone afterwards.

    Raises:
        ConversionError: the net has no such ONNX form.
    """
    from ..targets.onnx.emit import emit

    options = replace(setting.onnx, fold=False, all_blobs=not setting.outputs_only)
    model = emit(setting.made_at or graph, options)
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
    """The blobs behind a model's outputs: an input that is overwritten in place is an output of another name."""
    return [value.doc_string or value.name for value in graph.output]
