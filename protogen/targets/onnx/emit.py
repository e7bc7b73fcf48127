"""Conversion of a graph to ONNX: layers emit standard ops, and values are named after their blobs."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING

from ...errors import ConversionError, ProtogenError, ProtogenNote, ProtogenWarning, did_you_mean
from ...graph.cut import inference_part, measures, warn_without_postprocess
from ...graph.fold import folded
from ...graph.names import with_text_names
from ...graph.outputs import last_layer_first, layer_names
from ...graph.transforms import lost
from ...layers.fields import require_computed
from ...layers.forms.onnx_graph import OnnxGraph
from ...layers.own_types import blaming, class_name, is_built_in
from .file import OnnxModel, half_of
from .from_data import with_data_preprocessing
from .metadata import describe
from .opsets import ir_version
from .options import OnnxOptions
from .shapes import dimensions, require_size_free
from .tidy import merge_reshapes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import onnx

    from ...graph.graph import Graph, Node, Value, Weight
    from ...layers.base import LayerType, Shape
    from .options import Preprocess
    from .shapes import Dimension

MAX_LISTED = 5
"""Most outputs that a note names."""
MAX_RETURNED_BYTES = 256 << 20
"""Largest weights that `to_onnx` returns in memory as well when it writes them to a file."""


def to_onnx(graph: Graph, path: str | Path | None, options: OnnxOptions) -> onnx.ModelProto:
    """Convert a graph to an ONNX model; see `Net.to_onnx`.

    Args:
        graph: the graph.
        path: the file to write, or None.
        options: of the conversion.

    Raises:
        ConversionError: as `emit`.
    """
    model = emit(graph, options)
    warn_of_omissions(graph, options)
    if path is None:
        return model.proto()
    written = model.save(path, options.external_data)
    return written if options.external_data or model.nbytes > MAX_RETURNED_BYTES else model.proto()


def save(graph: Graph, path: Path, options: OnnxOptions) -> None:
    """Write the graph's ONNX model, without a second copy of its weights in memory.

    Args:
        graph: the graph.
        path: the file to write.
        options: of the conversion.

    Raises:
        ConversionError: as `emit`.
    """
    model = emit(graph, options)
    warn_of_omissions(graph, options)
    model.save(path, options.external_data)


def warn_of_omissions(graph: Graph, options: OnnxOptions) -> None:
    """Warn of layers omitted because they only train or read data, and of `postprocess=False` without effect.

    A note says what OpenCV 4 called outputs, where that is not the name of their blob.
    """
    names, _ = measures(graph)
    if names:
        listed = ", ".join(map(repr, names))
        warnings.warn(f"left out of the ONNX model, because used only in training: {listed}", ProtogenWarning, stacklevel=4)
    if options.preprocess is None and not options.preprocess_from_data:
        for transform in lost(graph):
            text = f"{transform}: not part of the model; --preprocess-from-data (preprocess_from_data=True) builds it in"
            warnings.warn(text, ProtogenNote, stacklevel=4)
    if not options.postprocess:
        warn_without_postprocess(graph)
    if options.names == "blob":
        _note_layers(modelled_part(graph, options), options.rename)


def _note_layers(graph: Graph, renamed: Collection[str]) -> None:
    layers = layer_names(graph)
    blobs = {value.name: layers[value] for value in graph.outputs if value in layers and value.name not in renamed}
    listed = [f"{layer!r} for blob {blob!r}" for blob, layer in blobs.items() if blob != layer]
    if listed:
        more = f" and {len(listed) - MAX_LISTED} more" if len(listed) > MAX_LISTED else ""
        text = f"OpenCV 4 called outputs by their layers: {', '.join(listed[:MAX_LISTED])}{more}"
        warnings.warn(f"{text}; --names layer (names='layer') does, too", ProtogenNote, stacklevel=5)


def emit(graph: Graph, options: OnnxOptions | None = None, check: bool = True) -> OnnxModel:
    """Convert a graph to an ONNX model whose weights are still arrays.

    Args:
        graph: the graph.
        options: of the model.
        check: check the model with onnx's checker; not needed if an engine reads it at once.

    Raises:
        ConversionError: layers without an ONNX form (all are named), or options that do not suit the net.
    """
    options = with_data_preprocessing(options or OnnxOptions(), with_text_names(graph))
    graph = modelled_part(graph, options)
    require_computed((node.op for node in graph.nodes), graph.strict)
    names = layer_names(graph) if options.names == "layer" else {}
    emitter = Emitter(folded(graph) if options.fold and graph.phase == "TEST" else graph, options, names)
    emitter.emit()
    if options.dynamic_size:
        require_size_free(emitter)
    model = emitter.model()
    describe(model.skeleton, graph, options)
    if check:
        _check(model, graph)
    return model


def modelled_part(graph: Graph, options: OnnxOptions) -> Graph:
    """Return what a model has of a graph: no training layers, outputs in the model's order, names that ONNX can store."""
    return inference_part(last_layer_first(with_text_names(graph)), options.postprocess)


def _check(model: OnnxModel, graph: Graph) -> None:
    """Check the model; if it is invalid, it may be due to a layer type from outside the package."""
    try:
        model.check()
    except ConversionError as error:
        foreign = [node.op for node in graph.nodes if not is_built_in(type(node.op))]
        if not foreign:
            raise ConversionError(f"{error}; please report this") from error.__cause__
        suspects = ", ".join(f"{class_name(op)} of {op.label}" for op in foreign)
        raise ConversionError(f"{error}; check the ONNX form of {suspects}") from error.__cause__


@dataclass(frozen=True)
class Emitted:
    """ONNX form of one layer: a range of the model's nodes, and the names of their initializers."""

    op: LayerType
    nodes: slice
    initializers: list[str]


class Emitter:
    """Converts one graph to ONNX.

    Args:
        graph: the graph.
        options: of the model.
        own_names: names of values that are not named after their blobs.
        dims: dimensions of each value, if they are known already.

    Attributes:
        onnx: the ONNX graph that layers emit into.
        names: name of each value in the model.
        emitted: ONNX form of each layer, in order.
    """

    def __init__(
        self, graph: Graph, options: OnnxOptions, own_names: Mapping[Value, str] = MappingProxyType({}),
        dims: Mapping[Value, list[Dimension]] | None = None,
    ) -> None:  # fmt: skip
        self.graph, self.options = graph, options
        self.onnx = OnnxGraph(options.opset, options.dynamic_batch, options.dynamic_size)
        self.names: dict[Value, str] = {}
        self.emitted: list[Emitted] = []
        self._dims = dims or dimensions(graph, options)
        self._weights: dict[tuple[Weight, Shape], str] = {}
        # The value that has each blob's name: the last one computed. Layers that do nothing in place compute none.
        self._carriers = {value.name: value for node in graph.nodes if not _is_idle(node) for value in node.outputs if value.name}
        self._fed = {value.name for value in graph.inputs}
        self._value_shapes: dict[str, Sequence[Dimension]] = {}
        self._overwritten: dict[str, str] = {}
        self._own_names = own_names
        self._blobs: dict[str, str] = {}  # of the model's inputs and outputs, by name
        self._image = options.preprocess.image_of(graph.inputs) if options.preprocess else None
        self._new_names = _new_names(graph, options.rename, own_names)

    def like(self, twin: Graph) -> Emitter:
        """Convert the same graph at other shapes with the same options; return the emitter."""
        twins = dict(zip(self.graph.values, twin.values))
        own_names = {twins[value]: name for value, name in self._own_names.items() if value in twins}
        other = Emitter(twin, self.options, own_names, dict(zip(twin.values, self._dims.values())))
        other.emit()
        return other

    def emit(self) -> None:
        """Emit every layer.

        Raises:
            ConversionError: layers without an ONNX form; all are named.
        """
        self.onnx.reserve([*(value.name for value in self.graph.blobs), *self.options.rename.values(), *self._own_names.values()])
        problems: list[str] = []
        for node in self.graph.nodes:
            first_node, first_initializer = len(self.onnx.nodes), len(self.onnx.initializers)
            try:
                self._layer(node)
            except ProtogenError as error:
                problems += error.lines
                self.names.update((value, value.name) for value in node.outputs)
            initializers = list(islice(self.onnx.initializers, first_initializer, None))
            self.emitted.append(Emitted(node.op, slice(first_node, len(self.onnx.nodes)), initializers))
        if problems:
            raise ConversionError(*dict.fromkeys(problems))

    def model(self) -> OnnxModel:
        """Return the finished model."""
        from onnx import TensorProto, helper

        results = self.graph.blobs if self.options.all_blobs else self.graph.outputs
        outputs = self._name_outputs([value for value in results if value not in self.graph.inputs])
        for name in merge_reshapes(self.onnx, outputs):
            self._value_shapes.pop(name, None)
        arrays = self._used_initializers()
        info = {
            name: helper.make_tensor_value_info(self._new_names.get(name, name), TensorProto.FLOAT, dims, self._other_blob(name))
            for name, dims in self._shapes().items()
        }
        inputs = [self.names[value] if value is not self._image else value.name for value in self.graph.inputs]
        ends = {*inputs, *outputs}
        graph = helper.make_graph(
            self.onnx.nodes,
            self.graph.name or "net",
            [info[name] for name in inputs],
            [info[name] for name in outputs],
            value_info=[proto for name, proto in info.items() if name not in ends],
        )
        if self.options.fp16:
            arrays = self._halved(graph, arrays)
        _rename(graph.node, self._new_names)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.onnx.opset)])
        model.ir_version = ir_version(self.onnx.opset)
        return OnnxModel(model, arrays)

    def _inputs(self, values: Iterable[Value]) -> None:
        for value in values:
            self.names[value] = value.name or self.onnx.unique("input")
            self._blobs[self.names[value]] = value.name
            if value is self._image:
                assert self.options.preprocess is not None
                self.onnx.layer = "preprocess"
                self.names[value] = _preprocessed(self.onnx, value.name, self.options.preprocess, value.shape[1])

    def _layer(self, node: Node) -> None:
        op = node.op
        self._inputs(node.fed)
        if op.is_input:
            return
        if _is_idle(node):
            self.names.update(zip(node.outputs, (self.names[value] for value in node.inputs)))
            return
        onnx = self.onnx
        onnx.layer = op.layer.name or op.layer.type
        first = len(onnx.nodes)
        with blaming(op, "onnx"):
            emitted = op.onnx(onnx, [self.names[value] for value in node.inputs], self._weight_names(node))
            names = [emitted] if isinstance(emitted, str) else list(emitted)
        fresh = {name for emitted_node in onnx.nodes[first:] for name in emitted_node.output}
        public: dict[str, str] = {}
        for value, name in zip(node.made, names):
            if name in fresh and name not in public:
                public[name] = self._name_of(value)
                self._set_shape(public[name], value)
            self.names[value] = public.get(name, name)
        _rename(onnx.nodes[first:], public)

    def _name_of(self, value: Value) -> str:
        """Return the name of a value that a layer computes: its own, or its blob's, if it is the blob's last value."""
        if value in self._own_names:
            return self._own_names[value]
        if self._carries(value):
            return self._public(value.name)
        return self.onnx.unique(f"{value.name or 'value'}/{self.onnx.layer}")

    def _carries(self, value: Value) -> bool:
        return self._carriers.get(value.name) is value

    def _set_shape(self, name: str, value: Value) -> None:
        """Record a value's shape for the model; that of a blob before an in-place layer only if it is fixed."""
        if self._carries(value) or list(value.shape) == self._dims[value]:
            self._value_shapes[name] = self._dims[value]

    def _weight_names(self, node: Node) -> list[str]:
        """Return the initializer names of a layer's learnable blobs, adding them on first use; unused ones are removed later."""
        names = []
        for blob, weight, array in zip(node.op.blobs, node.weights, node.arrays):
            key = weight, array.shape  # a layer may share a blob in another shape
            if key not in self._weights:
                self._weights[key] = self.onnx.weight(f"{node.op.layer.name}.{blob.name}", array)
            names.append(self._weights[key])
        return names

    def _public(self, blob: str) -> str:
        """Return the name of a blob's last value: the blob's, or `<blob>_out` for an input overwritten in place."""
        if blob not in self._fed:
            return blob
        if blob not in self._overwritten:
            self._overwritten[blob] = self.onnx.unique(f"{blob}_out")
        return self._overwritten[blob]

    def _name_outputs(self, values: Sequence[Value]) -> list[str]:
        """Give each output its public name, with an Identity if it already has another; return the names."""
        outputs = []
        for value in values:
            name = self._own_names.get(value) or (self._public(value.name) if value.name else self.names[value])
            self._blobs[name] = value.name
            if self.names[value] != name:
                self.onnx.layer = value.name
                copy = self.onnx.add("Identity", self.names[value])
                _rename(self.onnx.nodes[-1:], {copy: name})
            self._value_shapes[name] = self._dims[value]
            outputs.append(name)
        return outputs

    def _other_blob(self, name: str) -> str:
        """Return the blob of an input or output whose name in the model is another, for its doc string; "" otherwise."""
        blob = self._blobs.get(name, "")
        return "" if blob == self._new_names.get(name, name) else blob

    def _shapes(self) -> dict[str, Sequence[Dimension]]:
        inputs = {value.name if value is self._image else self.names[value]: self._dims[value] for value in self.graph.inputs}
        if self._image is not None and self.options.preprocess is not None and self.options.preprocess.nhwc:
            n, c, h, w = inputs[self._image.name]
            inputs[self._image.name] = [n, h, w, c]
        return {**inputs, **self._value_shapes}

    def _halved(self, graph: onnx.GraphProto, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the weights as float16, and add a Cast of each to float32 to the graph.

        Weights that do not suit float16 stay (see `half_of`), as do constants such as prior boxes, which need their precision.
        """
        from onnx import TensorProto, helper

        weights = {name for emitted in self.emitted if emitted.op.blobs for name in emitted.initializers}
        result, casts, wide = dict(arrays), [], {}
        for name, array in arrays.items():
            half = half_of(array) if name in weights else None
            if half is not None:
                result[name], wide[name] = half, self.onnx.unique(f"{name}/float32")
                node = self.onnx.unique_node(f"{name}/Cast")
                casts.append(helper.make_node("Cast", [name], [wide[name]], name=node, to=TensorProto.FLOAT))
        nodes = [*casts, *graph.node]
        _rename(nodes[len(casts) :], wide)
        graph.ClearField("node")
        graph.node.extend(nodes)
        return result

    def _used_initializers(self) -> dict[str, np.ndarray]:
        """Return the initializers that nodes read; weights used only in one reshaped form get their original name."""
        onnx = self.onnx
        used = {name for node in onnx.nodes for name in node.input}
        views = {view: name for view, name in onnx.views.items() if view in used and name not in used}
        counts = Counter(views.values())
        originals = {view: name for view, name in views.items() if counts[name] == 1}
        _rename(onnx.nodes, originals)
        return {originals.get(name, name): array for name, array in onnx.initializers.items() if name in used}


def _is_idle(node: Node) -> bool:
    """Return whether a layer does nothing in place (usually Dropout), so that its bottom keeps the blob's name."""
    return node.op.is_identity and [value.name for value in node.outputs] == [value.name for value in node.inputs]


def _new_names(graph: Graph, rename: Mapping[str, str], own_names: Mapping[Value, str]) -> dict[str, str]:
    """Check that `rename` maps inputs and outputs to unused names, and return it."""
    public = list(dict.fromkeys(own_names.get(value, value.name) for value in (*graph.inputs, *graph.outputs)))
    taken = {own_names.get(value, value.name) for value in graph.values}
    for old, new in rename.items():
        if old not in public:
            raise ConversionError(
                f"cannot rename {old!r}: not an input or output{did_you_mean(old, public)} (they are: {', '.join(public)})"
            )
        if not new or (new in taken and new not in rename) or list(rename.values()).count(new) > 1:
            raise ConversionError(f"cannot rename {old!r} to {new!r}: " + ("the name is taken" if new else "the name is empty"))
    return dict(rename)


def _preprocessed(graph: OnnxGraph, x: str, preprocess: Preprocess, channels: int) -> str:
    """Emit the preprocessing of the image `x`; return the name of the net's input."""
    if preprocess.nhwc:
        x = graph.transpose(x, [0, 3, 1, 2])
    if preprocess.swap_rb:
        x = graph.add("Gather", x, graph.ints(*range(channels)[::-1]), axis=1)
    if preprocess.offset.any():
        x = graph.add("Sub", x, graph.constant(preprocess.offset))
    return graph.add("Mul", x, graph.constant(preprocess.factor)) if any(number != 1 for number in preprocess.scales) else x


def _rename(nodes: Iterable[onnx.NodeProto], new_names: Mapping[str, str]) -> None:
    for node in nodes:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name in new_names:
                    names[i] = new_names[name]
