"""What an ONNX model says about itself: where it came from, and what to feed it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

    from ...graph.graph import Graph
    from .options import OnnxOptions

_PIECE = 1 << 20


def describe(model: onnx.ModelProto, graph: Graph, options: OnnxOptions) -> None:
    """Fill in producer, doc string and metadata; the same net, files and options give the same bytes.

    Metadata: `protogen.version`; `source.<n>.name` and `source.<n>.sha256` of each file the net came from (no folders: a model
    should not tell whose machine it was made on); `weights.filled`, the layers whose weights came from fillers, with commas
    between; `preprocessing`, what the model does to its image before the net sees it.

    Args:
        model: the model, without its weights.
        graph: what it was made of. Of its origins, those that are no files ("<text>") are left out.
        options: how it was made.
    """
    from ... import __version__

    model.producer_name, model.producer_version = "protogen", __version__
    files = [Path(name) for name in graph.origins if name and os.path.isfile(name)]
    origin = _text(Path(graph.origins[0]).name) if graph.origins else ""
    model.doc_string = f"Caffe net {_text(graph.name)!r}" + (f" from {origin}" if origin else "")
    properties = {"protogen.version": __version__}
    for i, file in enumerate(files, 1):
        properties[f"source.{i}.name"] = _text(file.name)
        properties[f"source.{i}.sha256"] = sha256(file)
    filled = dict.fromkeys(node.op.layer.name for node in graph.nodes if any(weight.drawn for weight in node.weights))
    if filled:
        properties["weights.filled"] = _text(",".join(filled))
    if options.preprocess is not None:
        image = options.preprocess.image_of(graph.inputs).name
        properties["preprocessing"] = _text(options.preprocess.describe(options.rename.get(image, image)))
        model.doc_string += f"\nInput {properties['preprocessing']}"
    for key, value in properties.items():
        model.metadata_props.add(key=key, value=value)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _text(name: str) -> str:
    """Protobuf's strings hold no half characters, which names of files may."""
    return name.encode("utf-8", "replace").decode("utf-8")
