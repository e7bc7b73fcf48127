"""ONNX models of other converters: their inputs and tensors, and running them with ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ProtogenError, excerpt
from ..files import reason
from .onnxruntime import session_of

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from .setting import Blobs

_FOLDER = "session.model_external_initializers_file_folder_path"


@dataclass(frozen=True)
class ModelInput:
    """An input of a model.

    Attributes:
        name: its name.
        dtype: its element type, by NumPy's name.
        shape: its shape; None for a dynamic dimension.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...]


class OtherModel:
    """An ONNX model that someone else made.

    Args:
        path: its file.

    Attributes:
        inputs: its inputs, without weights.
        outputs: names of its outputs.
        tensors: what its nodes compute, in order: the name of the node that computes each by the name of the tensor; "" for a
            node of several outputs, which does not name any of them.
        in_half: whether it has weights in float16.

    Raises:
        ProtogenError: the file cannot be read, is not an ONNX model, or has inputs that are not tensors of numbers.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        from onnx import TensorProto

        self.path = os.fspath(path)
        self._proto = _read(self.path)
        graph = self._proto.graph
        weights = {tensor.name for tensor in graph.initializer}
        self.inputs = [self._input(value) for value in graph.input if value.name not in weights]
        self.outputs = [value.name for value in graph.output]
        self.tensors: dict[str, str] = {}
        for node in graph.node:
            outputs = [name for name in node.output if name]
            self.tensors.update((name, node.name if len(outputs) == 1 else "") for name in outputs)
        tensors = list(_tensors(graph))
        self.in_half = any(tensor.data_type == TensorProto.FLOAT16 for tensor in tensors)
        self._external = [tensor for tensor in tensors if tensor.data_location == TensorProto.EXTERNAL]
        self._check_external()

    def _input(self, value: onnx.ValueInfoProto) -> ModelInput:
        import onnx

        kind = value.type.tensor_type
        try:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        except KeyError:  # no element type, or one of a later version
            dtype = None
        if dtype is None or dtype.kind not in "fiu" or not kind.HasField("shape"):
            raise ProtogenError(f"{self.path}: input {value.name!r} is not a tensor of numbers with a shape, as blobs are")
        dims = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in kind.shape.dim]
        return ModelInput(value.name, dtype.name, tuple(dims))

    def _check_external(self) -> None:
        """Refuse weights outside of the model's folder: a model must not make other files of this machine readable."""
        folder = Path(self.path).resolve().parent
        for tensor in self._external:
            location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
            target = (folder / location).resolve() if "\0" not in location else Path()
            if not location or not target.is_relative_to(folder):
                raise ProtogenError(f"{self.path}: its weights {tensor.name!r} are in {excerpt(location)}, outside of its folder")
            if not target.is_file():
                raise ProtogenError(f"{self.path}: its weights are in {excerpt(location)}, which is missing beside it")

    def run(self, feed: Blobs, tensors: Sequence[str]) -> Blobs:
        """Run the model with ONNX Runtime on the CPU and return the values of some of its tensors.

        Args:
            feed: values of the inputs by their names in the model.
            tensors: names of the tensors, inner ones too.

        Raises:
            ProtogenError: ONNX Runtime is not installed, or rejects the model (with its own message).
        """
        model = type(self._proto)()
        model.CopyFrom(self._proto)
        for name in tensors:
            if name not in self.outputs:
                model.graph.output.add(name=name)
        entries = {_FOLDER: str(Path(self.path).resolve().parent)} if self._external else {}
        try:
            session = session_of(model.SerializeToString(), entries)
            values = session.run(list(tensors), self._typed(feed))
        except ProtogenError:
            raise
        except Exception as error:  # its exceptions have no common base
            raise ProtogenError(f"{self.path}: ONNX Runtime cannot run it: {' '.join(str(error).split())}") from error
        return {name: value for name, value in zip(tensors, values) if _is_numeric(value)}

    def _typed(self, feed: Mapping[str, np.ndarray]) -> Blobs:
        return {value.name: feed[value.name].astype(value.dtype) for value in self.inputs}


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield the constants of a graph, and of the graphs inside its nodes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _is_numeric(value: Any) -> bool:
    """Whether a value is an array of numbers, not text or a sequence."""
    return hasattr(value, "dtype") and value.dtype.kind in "biuf"


def _read(path: str) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ProtogenError(f"{path}: cannot read: {reason(error)}") from error
    except ValueError as error:
        raise ProtogenError(f"{path!r}: not a valid file name: {error}") from error
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ProtogenError(f"{path}: not an ONNX model, or a damaged one") from error
    if not model.graph.node or not model.graph.output:
        raise ProtogenError(f"{path}: not an ONNX model: it has no graph that computes anything")
    if not all(isinstance(name, str) for name in _names(model.graph)):  # protobuf gives what is not UTF-8 as bytes
        raise ProtogenError(f"{path}: a damaged ONNX model: it has names that are not UTF-8")
    return model


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (value.name for value in (*graph.input, *graph.output))
    yield from (tensor.name for tensor in graph.initializer)
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
