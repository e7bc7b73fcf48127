"""ONNX Runtime as a backend of `protogen.verify`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from ..errors import ProtogenError
from ..memory import release_memory
from ..targets.onnx.opsets import ir_version
from .model_file import model_of, saved
from .parts import Part, parts

if TYPE_CHECKING:
    from ..graph.graph import Graph
    from .setting import Blobs, Setting, Stream


PART = 128 << 20
"""Bytes of outputs and weights that a session holds at most, where the model can be cut."""
_MAPPED_FROM = 64 << 20  # bytes of weights from which they are in a file of their own, which is mapped instead of read


def run_onnxruntime(graph: Graph, feed: Blobs, setting: Setting) -> Stream:
    """Compute every blob, or only the outputs, with ONNX Runtime on the CPU.

    To compute every blob, a large model runs in parts, of which one after the other is in memory (see `parts.py`).

    Args:
        graph: the graph.
        feed: input values by blob.
        setting: its `onnx`, `outputs_only` and `made_at` apply.

    Yields:
        Blobs, each part's together.

    Raises:
        ProtogenError: ONNX Runtime is not installed, is older than the model's opset, or cannot run the model (with its own
            message).
        ConversionError: the net cannot be converted with these options.
    """
    model = model_of(graph, feed, setting)
    blobs = dict(zip(model.outputs, model.blobs))
    bytes_of = {value.name: 4 * prod(value.shape) for value in graph.blobs}
    sizes = {name: bytes_of.get(blob, 0) for name, blob in blobs.items()}
    values = dict(model.feed)
    for part in parts(model.model, sizes, sys.maxsize if setting.outputs_only else PART):
        values.update(_results(part, values, setting))
        release_memory()
        for name in part.outputs:
            if name in blobs:
                yield blobs[name], values.pop(name) if name in part.spent else values[name]
        for name in part.spent:
            values.pop(name, None)


def _results(part: Part, values: Blobs, setting: Setting) -> Blobs:
    """Run a part on values by name.

    Raises:
        ProtogenError: as `run_onnxruntime`.
    """
    external = setting.onnx.external_data or part.model.nbytes >= _MAPPED_FROM
    with saved(part.model, external) as path:
        try:
            feed = {name: values[name] for name in part.inputs}
            results = session_of(path).run(list(part.outputs), feed)
            return dict(zip(part.outputs, results))
        except ProtogenError:
            raise
        except Exception as error:  # its exceptions have no common base
            if not _reads(setting.onnx.opset):
                raise ProtogenError(_too_old(setting.onnx.opset)) from error
            raise ProtogenError(f"ONNX Runtime cannot run this net's ONNX form: {' '.join(str(error).split())}") from error


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
    # What pays off in many passes costs time and memory in a single one: threads that spin, memory kept for the next pass, and
    # copies of the weights in another order (of FCN-8s, 1.2 GB).
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.enable_cpu_mem_arena = False
    settings.add_session_config_entry("session.disable_prepacking", "1")
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
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
