"""ONNX models with their weights as arrays: checked and written without copies, converted to a ModelProto on demand.

A ModelProto holds a copy of every weight, and serializing it creates another. The file format is simple enough to write weights
directly from the arrays (field numbers: onnx/onnx.proto), which may be views of a mapped .caffemodel.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from ...errors import ConversionError
from ...files import replacing
from ...weights.pages import chunks
from ...weights.wire import encode_header

if TYPE_CHECKING:
    import numpy as np
    import onnx

MAX_PROTO_BYTES = (2 << 30) - (64 << 20)  # protobuf's limit minus room for the graph itself
_EXTERNAL_FROM = 1024  # bytes; smaller tensors (shapes, axes) stay in the model for shape inference
_ALIGNMENT = 4096  # so that runtimes can map the weights
_MODEL_GRAPH, _GRAPH_INITIALIZER, _TENSOR_RAW_DATA = 7, 5, 9


class OnnxModel:
    """A model without its initializers, and the initializers as arrays by name."""

    def __init__(self, skeleton: onnx.ModelProto, arrays: Mapping[str, np.ndarray]) -> None:
        self.skeleton = skeleton
        self.arrays = {name: array.astype(array.dtype.newbyteorder("<"), copy=False) for name, array in arrays.items()}

    @property
    def nbytes(self) -> int:
        """Size of all weights in bytes."""
        return sum(array.nbytes for array in self.arrays.values())

    def proto(self) -> onnx.ModelProto:
        """Return the model as a ModelProto with its weights."""
        model = self._copy()
        for name, array in self.arrays.items():
            model.graph.initializer.append(_described(name, array))
            model.graph.initializer[-1].raw_data = array.tobytes()
        return model

    def check(self) -> None:
        """Run ONNX's checker on the model, with strict shape inference against the recorded shapes.

        Large weights are declared as inputs, because the checker serializes the model, and no shape depends on their values.

        Raises:
            ConversionError: the checker rejects the model.
        """
        import onnx

        model = self._copy()
        for name, array in self.arrays.items():
            tensor = _described(name, array)
            if array.nbytes < _EXTERNAL_FROM:
                tensor.raw_data = array.tobytes()
                model.graph.initializer.append(tensor)
            else:
                model.graph.input.append(onnx.helper.make_tensor_value_info(name, tensor.data_type, array.shape))
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            what = " ".join(str(error).split())
            raise ConversionError(f"the converted ONNX model is invalid: {what}") from error

    def save(self, path: str | Path, external_data: bool = False) -> onnx.ModelProto:
        """Write the model atomically, with the weights directly from their arrays.

        Args:
            path: the file to write.
            external_data: write the weights to `<path>.data`; always done beyond protobuf's limit of 2 GB.

        Returns:
            The model with small initializers inside, and large ones as external data that refers to the written file.
        """
        if external_data or self.nbytes > MAX_PROTO_BYTES:
            return self._save_apart(Path(path))
        data = _data_of(Path(path))
        with replacing(path) as temporary, open(temporary, "wb") as file:
            model = self._write(file, Path(path).name)
        if data is not None:
            data.unlink(missing_ok=True)  # nothing refers to it any more
        return model

    def _save_apart(self, path: Path) -> onnx.ModelProto:
        data = _data_path(path)
        with replacing(path) as temporary, replacing(data) as data_temporary:
            model = self._copy()
            with open(data_temporary, "wb") as file:
                for name, array in self.arrays.items():
                    tensor = _described(name, array)
                    if array.nbytes < _EXTERNAL_FROM:
                        tensor.raw_data = array.tobytes()
                    else:
                        file.write(bytes(-file.tell() % _ALIGNMENT))
                        _refer(tensor, data.name, file.tell(), array.nbytes)
                        _write_values(file, array)
                    model.graph.initializer.append(tensor)
            with open(temporary, "wb") as file:
                file.write(model.SerializeToString())
        return model

    def _write(self, file: BinaryIO, name: str) -> onnx.ModelProto:
        """Write the whole model as protobuf: other fields, the graph, and the graph's initializers last."""
        outside = self._copy()
        outside.ClearField("graph")
        graph = self.skeleton.graph.SerializeToString()
        tensors = []
        for key, array in self.arrays.items():
            inner = _described(key, array).SerializeToString() + encode_header(_TENSOR_RAW_DATA, array.nbytes)
            tensors.append((encode_header(_GRAPH_INITIALIZER, len(inner) + array.nbytes) + inner, key, array))
        size = len(graph) + sum(len(head) + array.nbytes for head, _, array in tensors)
        file.write(outside.SerializeToString() + encode_header(_MODEL_GRAPH, size) + graph)
        model = self._copy()
        for head, key, array in tensors:
            file.write(head)
            tensor = _described(key, array)
            if array.nbytes < _EXTERNAL_FROM:
                tensor.raw_data = array.tobytes()
            else:
                _refer(tensor, name, file.tell(), array.nbytes)
            model.graph.initializer.append(tensor)
            _write_values(file, array)
        return model

    def _copy(self) -> onnx.ModelProto:
        copy = type(self.skeleton)()
        copy.CopyFrom(self.skeleton)
        return copy


def _data_path(path: Path) -> Path:
    """Return the file of a model's external data."""
    return path.with_name(path.name + ".data")


def _data_of(path: Path) -> Path | None:
    """Return the file that the model at `path` has its external data in, None unless it is there and named as ours are."""
    data = _data_path(path)
    if not (data.is_file() and path.is_file() and path.stat().st_size):
        return None
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return data if content.find(os.fsencode(data.name)) >= 0 else None


def half_of(array: np.ndarray) -> np.ndarray | None:
    """Return weights as float16, or None for those that should stay float32.

    Those are small arrays, vectors (biases, statistics), and arrays beyond float16's range: with a value above 65504, or with no
    value large enough for float16's full 11 bits.
    """
    import numpy as np

    if array.dtype != np.float32 or array.size == max(array.shape, default=1) or array.nbytes < _EXTERNAL_FROM:
        return None
    half = np.empty(array.shape, np.float16)
    limits = np.finfo(np.float16)
    at, flat, largest = 0, half.reshape(-1), 0.0
    for piece in chunks(array):
        peak = float(np.abs(piece).max())
        if not peak <= float(limits.max):
            return None
        largest = max(largest, peak)
        flat[at : at + piece.size] = piece
        at += piece.size
    return half if largest >= float(limits.smallest_normal) else None


def _described(name: str, array: np.ndarray) -> onnx.TensorProto:
    """Return a TensorProto of the array's type and shape, without values."""
    import onnx

    return onnx.TensorProto(name=name, data_type=onnx.helper.np_dtype_to_tensor_dtype(array.dtype), dims=array.shape)


def _refer(tensor: onnx.TensorProto, location: str, offset: int, length: int) -> None:
    tensor.data_location = tensor.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))


def _write_values(file: BinaryIO, array: np.ndarray) -> None:
    for piece in chunks(array):
        file.write(piece.data)
