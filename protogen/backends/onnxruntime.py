"""ONNX Runtime as a backend of `protogen.verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ProtogenError
from .model_file import model_file

if TYPE_CHECKING:
    from ..graph.graph import Graph
    from .setting import Blobs, Setting


def run_onnxruntime(graph: Graph, feed: Blobs, setting: Setting) -> Blobs:
    """Every blob by ONNX Runtime, or the outputs only, on the CPU.

    Raises:
        ProtogenError: ONNX Runtime is missing.
        ConversionError: the net has no such ONNX form.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ProtogenError("backend 'onnxruntime' needs the package of this name: pip install onnxruntime") from error
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4  # what goes wrong comes as an exception; its log would show names as they are
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")  # one pass: waiting threads need not be fast
    with model_file(graph, feed, setting) as model:
        session = onnxruntime.InferenceSession(model.path, settings, providers=["CPUExecutionProvider"])
        return dict(zip(model.blobs, session.run(model.outputs, model.feed)))
