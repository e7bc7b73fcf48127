"""Metadata of ONNX models: their origin, and what to feed them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ...prototxt.names import as_utf8

if TYPE_CHECKING:
    import onnx

    from ...graph.graph import Graph
    from .options import OnnxOptions

_PIECE = 1 << 20


def describe(model: onnx.ModelProto, graph: Graph, options: OnnxOptions) -> None:
    """Set producer, doc string and metadata, which depend only on the net, its files and the options.

    Metadata: `protogen.version`; `source.<n>.name` and `source.<n>.sha256` of each file the net was read from, without folders,
    which might reveal whose machine it was; `weights.filled`, the layers whose weights came from fillers, separated by commas;
    `preprocessing`, the steps applied to the image before the net.

    Args:
        model: the model, without its weights.
        graph: its source; origins that are not files ("<text>") are omitted.
        options: of the conversion.
    """
    from ... import __version__

    model.producer_name, model.producer_version = "protogen", __version__
    files = [Path(name) for name in graph.origins if name and os.path.isfile(name)]
    origin = as_utf8(Path(graph.origins[0]).name) if graph.origins else ""
    model.doc_string = f"Caffe net {as_utf8(graph.name)!r}" + (f" from {origin}" if origin else "")
    properties = {"protogen.version": __version__}
    for i, file in enumerate(files, 1):
        properties[f"source.{i}.name"] = as_utf8(file.name)
        properties[f"source.{i}.sha256"] = sha256(file)
    filled = dict.fromkeys(node.op.layer.name for node in graph.nodes if any(weight.drawn for weight in node.weights))
    if filled:
        properties["weights.filled"] = as_utf8(",".join(filled))
    if options.preprocess is not None:
        image = options.preprocess.image_of(graph.inputs).name
        properties["preprocessing"] = as_utf8(options.preprocess.describe(options.rename.get(image, image)))
        model.doc_string += f"\nInput {properties['preprocessing']}"
    for key, value in properties.items():
        model.metadata_props.add(key=key, value=value)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
