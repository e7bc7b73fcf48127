"""Net to ONNX: every layer type emits standard ops; blob names become value names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ConversionError, ProtogenError
from .onnx_file import OnnxModel
from .onnx_graph import OnnxGraph

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import onnx

    from ..layers.base import LayerType, Shape
    from ..net import Net

OPSETS = range(11, 22)
# ONNX file format version that came with each operator set (onnx/docs/Versioning.md).
_IR_VERSIONS = {11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10}
MAX_RETURNED_BYTES = 256 << 20
"""Most weights that `to_onnx` both writes to a file and returns in memory."""


def to_onnx(
    net: Net,
    path: str | Path | None = None,
    opset: int = 17,
    dynamic_batch: bool = False,
    fold: bool = True,
    seed: int = 0,
    all_blobs: bool = False,
    external_data: bool = False,
) -> onnx.ModelProto:
    """See `Net.to_onnx`; with `all_blobs` every blob is an output, as `verify` wants it."""
    model = emit(net, opset, dynamic_batch, fold, seed, all_blobs)
    if path is None:
        return model.proto()
    written = model.save(path, external_data)
    return written if external_data or model.nbytes > MAX_RETURNED_BYTES else model.proto()


def emit(
    net: Net, opset: int = 17, dynamic_batch: bool = False, fold: bool = True, seed: int = 0, all_blobs: bool = False
) -> OnnxModel:
    """The net as an ONNX model whose weights are still arrays, checked.

    Raises:
        ConversionError: an unknown opset, or layers without an ONNX form (all of them named).
    """
    if opset not in OPSETS:
        raise ConversionError(f"opset {opset} is not supported; choose one of {OPSETS[0]} to {OPSETS[-1]}")
    original = net
    if fold and net.phase == "TEST":
        from .fold import folded

        net = folded(net, seed)
    model = _Emitter(net, opset, dynamic_batch, seed, all_blobs).model(original)
    model.check()
    return model


class _Emitter:
    """Emits one net; `current` maps blobs to the values that stand for them now."""

    def __init__(self, net: Net, opset: int, dynamic_batch: bool, seed: int, all_blobs: bool) -> None:
        self.net, self.all_blobs, self.dynamic_batch = net, all_blobs, dynamic_batch
        self.graph = OnnxGraph(opset, dynamic_batch)
        self.weights = net.weights.filled(seed)
        self.shared = net.shared_blobs
        self.current: dict[str, str] = {}
        self.blob_inits: dict[tuple[str, int], str] = {}
        self.dims = _dimensions(net, dynamic_batch)
        self.last_maker = {top: op for op in net.ops if not _is_idle(op) for top in op.layer.tops}
        self.value_shapes: dict[str, Sequence[int | str | None]] = {}

    def model(self, original: Net) -> OnnxModel:
        """The finished model; `original` is the net before folding, for the description."""
        from onnx import TensorProto, helper

        from .. import __version__

        self.graph.reserve(list(self.net.shapes))
        problems = []
        for op in self.net.ops:
            try:
                self._layer(op)
            except ProtogenError as error:
                problems.append(str(error))
                self.current.update({top: top for top in op.layer.tops})
        if problems:
            raise ConversionError("\n".join(dict.fromkeys(problems)))
        wanted = list(self.net.shapes) if self.all_blobs else original.outputs  # folded, they may be made in another order
        outputs = [blob for blob in wanted if blob not in self.net.inputs]
        self._name_outputs(outputs)
        info = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in self._shapes().items()}
        graph = helper.make_graph(
            self.graph.nodes,
            self.net.name or "net",
            [info[blob] for blob in self.net.inputs],
            [info[blob] for blob in outputs],
            value_info=[proto for name, proto in info.items() if name not in outputs and name not in self.net.inputs],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.graph.opset)], producer_name="protogen")
        model.producer_version = __version__
        model.ir_version = _IR_VERSIONS[self.graph.opset]
        model.doc_string = f"Caffe net {original.name!r}" + (f" from {Path(original.source).name}" if original.source else "")
        return OnnxModel(model, self._used_initializers())

    def _layer(self, op: LayerType) -> None:
        layer = op.layer
        if op.is_input:
            self.current.update({top: top for top in layer.tops})
            return
        if _is_idle(op):
            return
        graph = self.graph
        graph.layer = layer.name or layer.type
        first = len(graph.nodes)
        bottoms = [self.current[blob] for blob in layer.bottoms]
        made = op.onnx(graph, bottoms, self._blob_names(op))
        values = [made] if isinstance(made, str) else list(made)
        fresh = {name for node in graph.nodes[first:] for name in node.output}
        for top, shape, value in zip(layer.tops, op.tops, values):
            if value in fresh and top not in self.net.inputs:
                name = top if self.last_maker[top] is op else graph.unique(f"{top}/{graph.layer}")
                _rename(graph.nodes[first:], value, name)
                values = [name if other == value else other for other in values]
                value = name
                if self.last_maker[top] is op:
                    self.value_shapes[name] = self.dims[top]
                elif list(shape) == self.dims[top]:  # a blob's value before it is worked on in place, nothing open
                    self.value_shapes[name] = list(shape)
            self.current[top] = value

    def _blob_names(self, op: LayerType) -> list[str]:
        """Initializer names of a layer's learnable blobs, stored on first use (a blob nobody uses is left out later)."""
        names = []
        for i, blob in enumerate(op.blobs):
            key = self.shared.get((op.layer.name, i), (op.layer.name, i))
            if key not in self.blob_inits:
                values = self.weights[op.layer.name][i].reshape(blob.shape)
                self.blob_inits[key] = self.graph.initializer(f"{op.layer.name}.{blob.name}", values)
            names.append(self.blob_inits[key])
        return names

    def _name_outputs(self, outputs: Sequence[str]) -> None:
        """Give each output's value the blob's name; a value that already has a name of its own gets an Identity."""
        for blob in outputs:
            value = self.current[blob]
            if value == blob:
                continue
            self.graph.layer = blob
            made = self.graph.add("Identity", value)
            _rename(self.graph.nodes[-1:], made, blob)
            self.value_shapes[blob] = self.dims[blob]

    def _shapes(self) -> dict[str, Sequence[int | str | None]]:
        return {**{blob: self.dims[blob] for blob in self.net.inputs}, **self.value_shapes}

    def _used_initializers(self) -> dict[str, np.ndarray]:
        used = {name for node in self.graph.nodes for name in node.input}
        return {name: array for name, array in self.graph.initializers.items() if name in used}


def _is_idle(op: LayerType) -> bool:
    """Whether a layer does nothing in place (Dropout, usually): the value before it keeps the blob's name."""
    return op.is_identity and op.layer.tops == op.layer.bottoms


def _rename(nodes: Sequence[onnx.NodeProto], old: str, new: str) -> None:
    for node in nodes:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name == old:
                    names[i] = new


def _dimensions(net: Net, dynamic_batch: bool) -> dict[str, list[int | str | None]]:
    """Blob shapes as the model states them: None where a size follows from the data (boxes found, say).

    With an open batch, "N" where a dimension is the batch and None where it is something else that follows the batch.
    """
    shapes = net.shapes
    with_rows = _grown(net, rows=1) if any(op.dynamic_rows is not None for op in net.ops) else shapes
    with_batch = shapes
    if dynamic_batch:
        try:
            with_batch = _grown(net, batch=1)
        except ProtogenError as error:
            raise ConversionError(f"the batch cannot be left open (--dynamic-batch): with another batch size, {error}") from error
    batch = {shapes[name][0] for name in net.inputs if shapes[name]}

    def dimension(a: int, rows: int, items: int) -> int | str | None:
        if a == rows == items:
            return a
        return "N" if a == rows and len(batch) == 1 and a in batch and items == a + 1 else None

    return {
        blob: [dimension(*sizes) for sizes in zip(shape, with_rows[blob], with_batch[blob])] for blob, shape in shapes.items()
    }


def _grown(net: Net, batch: int = 0, rows: int = 0) -> dict[str, Shape]:
    """Blob shapes with so many items more in each input, and so many rows more where the data tell how many there are."""
    shapes: dict[str, Shape] = {}
    for op in net.ops:
        if op.is_input:
            shapes.update({top: tuple(dim + batch * (i == 0) for i, dim in enumerate(net.shapes[top])) for top in op.layer.tops})
            continue
        tops = type(op)(op.layer, [shapes[bottom] for bottom in op.layer.bottoms], net.phase).tops
        axis = op.dynamic_rows
        if axis is not None:
            tops = [(*top[:axis], top[axis] + rows, *top[axis + 1 :]) for top in tops]
        shapes.update(zip(op.layer.tops, tops))
    return shapes
