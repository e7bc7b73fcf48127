"""ONNX Runtime as a backend of `protogen.verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ProtogenError
from .model_file import model_file

if TYPE_CHECKING:
    from ..graph.graph import Graph
    from .setting import Blobs, Setting


def run_onnxruntime(graph: Graph, feed: Blobs, setting: Setting) -> Blobs:
    """Compute every blob, or only the outputs, with ONNX Runtime on the CPU.

    Args:
        graph: the graph.
        feed: input values by blob.
        setting: its `onnx`, `outputs_only` and `made_at` apply.

    Raises:
        ProtogenError: ONNX Runtime is not installed, or it cannot run the model (with its own message).
        ConversionError: the net cannot be converted with these options.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ProtogenError("backend 'onnxruntime' needs the package onnxruntime: pip install onnxruntime") from error
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4  # errors are raised as exceptions; the log would print names unescaped
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")  # pointless for a single pass
    with model_file(graph, feed, setting) as model:
        try:
            session = onnxruntime.InferenceSession(model.path, settings, providers=["CPUExecutionProvider"])
            values = session.run(model.outputs, model.feed)
        except Exception as error:  # its exceptions have no common base
            raise ProtogenError(f"ONNX Runtime cannot run this net's ONNX form: {' '.join(str(error).split())}") from error
        return dict(zip(model.blobs, values))
