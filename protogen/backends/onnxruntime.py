"""ONNX Runtime as a backend of `protogen.verify`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import ProtogenError
from ..targets.onnx.opsets import ir_version
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
        ProtogenError: ONNX Runtime is not installed, is older than the model's opset, or cannot run the model (with its own
            message).
        ConversionError: the net cannot be converted with these options.
    """
    with model_file(graph, feed, setting) as model:
        try:
            values = session_of(model.path).run(model.outputs, model.feed)
        except ProtogenError:
            raise
        except Exception as error:  # its exceptions have no common base
            if not _reads(setting.onnx.opset):
                raise ProtogenError(_too_old(setting.onnx.opset)) from error
            raise ProtogenError(f"ONNX Runtime cannot run this net's ONNX form: {' '.join(str(error).split())}") from error
        return dict(zip(model.blobs, values))


def session_of(model: str | bytes, entries: Mapping[str, str] | None = None) -> Any:
    """Return a session on the CPU that prints nothing.

    Args:
        model: its path, or the model itself.
        entries: further settings by key.

    Raises:
        ProtogenError: ONNX Runtime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ProtogenError("backend 'onnxruntime' needs the package onnxruntime: pip install onnxruntime") from error
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4  # errors are raised as exceptions; the log would print names unescaped
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")  # pointless for a single pass
    for key, value in (entries or {}).items():
        settings.add_session_config_entry(key, value)
    # Its fallback to other providers would print errors, which may quote names, and there is no other provider.
    return onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"], enable_fallback=0)


def _reads(opset: int) -> bool:
    """Return whether the installed ONNX Runtime reads any model of an opset: each release has a newest one."""
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Abs", ["x"], ["y"])], "probe", value[:1], value[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version(opset))
    try:
        session_of(model.SerializeToString())
    except Exception:
        return False
    return True


def _too_old(opset: int) -> str:
    import onnxruntime

    return (
        f"the installed ONNX Runtime {onnxruntime.__version__} is too old for opset {opset}: "
        "choose a lower opset, or pip install --upgrade onnxruntime"
    )
