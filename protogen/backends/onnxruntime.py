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
        ProtogenError: ONNX Runtime is not installed.
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
        session = onnxruntime.InferenceSession(model.path, settings, providers=["CPUExecutionProvider"])
        return dict(zip(model.blobs, session.run(model.outputs, model.feed)))
