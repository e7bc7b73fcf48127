"""Graph to ONNX: every layer type emits standard ops; blob names become value names."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from ...errors import ConversionError, ProtogenError, ProtogenWarning, did_you_mean
from ...graph.cut import ends_in_detections, inference_part, measures
from ...graph.fold import folded
from ...layers.fields import require_computed
from ...layers.forms.onnx_graph import OnnxGraph
from .file import OnnxModel, half_of
from .metadata import describe
from .options import OnnxOptions
from .shapes import dimensions, require_size_free
from .tidy import merge_reshapes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import onnx

    from ...graph.graph import Graph, Node, Value, Weight
    from ...layers.base import LayerType
    from .options import Preprocess
    from .shapes import Dimension

# ONNX file format version that came with each operator set (onnx/docs/Versioning.md).
_IR_VERSIONS = {11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10}
MAX_RETURNED_BYTES = 256 << 20
"""Most weights that `to_onnx` both writes to a file and returns in memory."""


def to_onnx(graph: Graph, path: str | Path | None, options: OnnxOptions) -> onnx.ModelProto:
    """See `Net.to_onnx`."""
    model = emit(graph, options)
    tell_left_out(graph, options)
    if path is None:
        return model.proto()
    written = model.save(path, options.external_data)
    return written if options.external_data or model.nbytes > MAX_RETURNED_BYTES else model.proto()


def save(graph: Graph, path: Path, options: OnnxOptions) -> None:
    """Write the graph's model; weights go from array to file and are never held twice."""
    model = emit(graph, options)
    tell_left_out(graph, options)
    model.save(path, options.external_data)


def tell_left_out(graph: Graph, options: OnnxOptions) -> None:
    """Warn of layers that the ONNX model lacks for they only serve training, and of a `postprocess=False` without effect."""
    names, _ = measures(graph)
    if names:
        listed = ", ".join(map(repr, names))
        warnings.warn(f"left out of the ONNX model, for they only serve training: {listed}", ProtogenWarning, stacklevel=4)
    if not options.postprocess and not ends_in_detections(graph):
        warnings.warn("nothing was cut off: the net does not end in detection layers", ProtogenWarning, stacklevel=4)


def emit(graph: Graph, options: OnnxOptions | None = None) -> OnnxModel:
    """The graph as an ONNX model whose weights are still arrays, checked.

    Raises:
        ConversionError: layers without an ONNX form (all of them named), or options that do not fit the net.
    """
    options = options or OnnxOptions()
    graph = inference_part(graph, options.postprocess)
    require_computed((node.op for node in graph.nodes), graph.strict)
    emitter = Emitter(folded(graph) if options.fold and graph.phase == "TEST" else graph, options)
    emitter.emit()
    if options.dynamic_size:
        require_size_free(emitter)
    model = emitter.model()
    describe(model.skeleton, graph, options)
    model.check()
    return model


@dataclass(frozen=True)
class Emitted:
    """What one layer became: a run of the model's nodes, and the initializers made for them."""

    op: LayerType
    nodes: slice
    initializers: list[str]


class Emitter:
    """Emits one graph.

    Attributes:
        onnx: what layers emit into.
        names: what stands for each value in the model.
        emitted: what each layer became, in order.
    """

    def __init__(self, graph: Graph, options: OnnxOptions, dims: Mapping[Value, list[Dimension]] | None = None) -> None:
        self.graph, self.options = graph, options
        self.onnx = OnnxGraph(options.opset, options.dynamic_batch, options.dynamic_size)
        self.names: dict[Value, str] = {}
        self.emitted: list[Emitted] = []
        self._dims = dims or dimensions(graph, options)
        self._weights: dict[Weight, str] = {}
        # The value that carries each blob's name: the last that a layer really makes. One that does nothing in place makes none.
        self._carriers = {value.name: value for node in graph.nodes if not _is_idle(node) for value in node.outputs if value.name}
        self._fed = {value.name for value in graph.inputs}
        self._stated: dict[str, Sequence[Dimension]] = {}
        self._overwritten: dict[str, str] = {}
        self._image = options.preprocess.image_of(graph.inputs) if options.preprocess else None
        self._new_names = _new_names(graph, options.rename)

    def like(self, twin: Graph) -> Emitter:
        """Another emitter with the same options, for the same graph set up for other shapes; it has emitted it."""
        other = Emitter(twin, self.options, dict(zip(twin.values, self._dims.values())))
        other.emit()
        return other

    def emit(self) -> None:
        """Emit every layer.

        Raises:
            ConversionError: layers without an ONNX form, all of them named.
        """
        self.onnx.reserve([*(value.name for value in self.graph.blobs), *self.options.rename.values()])
        problems: list[str] = []
        for node in self.graph.nodes:
            first, known = len(self.onnx.nodes), len(self.onnx.initializers)
            try:
                self._layer(node)
            except ProtogenError as error:
                problems += error.lines
                self.names.update((value, value.name) for value in node.outputs)
            initializers = list(islice(self.onnx.initializers, known, None))
            self.emitted.append(Emitted(node.op, slice(first, len(self.onnx.nodes)), initializers))
        if problems:
            raise ConversionError(*dict.fromkeys(problems))

    def model(self) -> OnnxModel:
        """The finished model."""
        from onnx import TensorProto, helper

        results = self.graph.blobs if self.options.all_blobs else self.graph.outputs
        outputs = self._name_outputs([value for value in results if value not in self.graph.inputs])
        for name in merge_reshapes(self.onnx, outputs):
            self._stated.pop(name, None)
        arrays = self._used_initializers()
        blobs = {name: blob for blob, name in self._overwritten.items()}  # what an output of another name stands for
        info = {
            name: helper.make_tensor_value_info(self._new_names.get(name, name), TensorProto.FLOAT, dims, blobs.get(name, ""))
            for name, dims in self._shapes().items()
        }
        inputs = [self.names[value] if value is not self._image else value.name for value in self.graph.inputs]
        graph = helper.make_graph(
            self.onnx.nodes,
            self.graph.name or "net",
            [info[name] for name in inputs],
            [info[name] for name in outputs],
            value_info=[proto for name, proto in info.items() if name not in outputs and name not in inputs],
        )
        if self.options.fp16:
            arrays = self._halved(graph, arrays)
        _rename(graph.node, self._new_names)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.onnx.opset)])
        model.ir_version = _IR_VERSIONS[self.onnx.opset]
        return OnnxModel(model, arrays)

    def _inputs(self, values: Iterable[Value]) -> None:
        for value in values:
            self.names[value] = value.name or self.onnx.unique("input")
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
        emitted = op.onnx(onnx, [self.names[value] for value in node.inputs], self._weight_names(node))
        names = [emitted] if isinstance(emitted, str) else list(emitted)
        fresh = {name for made in onnx.nodes[first:] for name in made.output}
        for value, name in zip(node.made, names):
            if name in fresh:
                public = self._name_of(value)
                _rename(onnx.nodes[first:], {name: public})
                names = [public if other == name else other for other in names]
                name = public
                self._state(name, value)
            self.names[value] = name

    def _name_of(self, value: Value) -> str:
        """What a value that a layer makes is called: its blob, if it is the last of it."""
        if self._carries(value):
            return self._public(value.name)
        return self.onnx.unique(f"{value.name or 'value'}/{self.onnx.layer}")

    def _carries(self, value: Value) -> bool:
        return self._carriers.get(value.name) is value

    def _state(self, name: str, value: Value) -> None:
        """Let the model state a value's shape; before a blob is worked on in place, only where nothing of it is open."""
        if self._carries(value) or list(value.shape) == self._dims[value]:
            self._stated[name] = self._dims[value]

    def _weight_names(self, node: Node) -> list[str]:
        """Initializer names of a layer's learnable blobs, stored on first use (a blob nobody uses is left out later)."""
        for blob, weight, array in zip(node.op.blobs, node.weights, node.arrays):
            if weight not in self._weights:
                self._weights[weight] = self.onnx.weight(f"{node.op.layer.name}.{blob.name}", array)
        return [self._weights[weight] for weight in node.weights]

    def _public(self, blob: str) -> str:
        """The name of a blob's last value: the blob's, or `<blob>_out` for an input that a layer overwrites in place."""
        if blob not in self._fed:
            return blob
        if blob not in self._overwritten:
            self._overwritten[blob] = self.onnx.unique(f"{blob}_out")
        return self._overwritten[blob]

    def _name_outputs(self, values: Sequence[Value]) -> list[str]:
        """Let each output have its public name, by an Identity if it has a name of its own; return the names."""
        outputs = []
        for value in values:
            name = self._public(value.name) if value.name else self.names[value]
            if self.names[value] != name:
                self.onnx.layer = value.name
                copy = self.onnx.add("Identity", self.names[value])
                _rename(self.onnx.nodes[-1:], {copy: name})
            self._stated[name] = self._dims[value]
            outputs.append(name)
        return outputs

    def _shapes(self) -> dict[str, Sequence[Dimension]]:
        inputs = {value.name if value is self._image else self.names[value]: self._dims[value] for value in self.graph.inputs}
        if self._image is not None and self.options.preprocess is not None and self.options.preprocess.nhwc:
            n, c, h, w = inputs[self._image.name]
            inputs[self._image.name] = [n, h, w, c]
        return {**inputs, **self._stated}

    def _halved(self, graph: onnx.GraphProto, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Weights as float16, each brought back to float32 by a Cast before anything else.

        Those that float16 does not suit stay (see `half_of`); so do constants that are no weights: prior boxes need their digits.
        """
        from onnx import TensorProto, helper

        ours = {name for made in self.emitted if made.op.blobs for name in made.initializers}
        result, casts, wide = dict(arrays), [], {}
        for name, array in arrays.items():
            half = half_of(array) if name in ours else None
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
        """Initializers that nodes read; weights used in one other shape only go by their own name."""
        onnx = self.onnx
        used = {name for node in onnx.nodes for name in node.input}
        shown = {view: name for view, name in onnx.views.items() if view in used and name not in used}
        times = Counter(shown.values())
        own = {view: name for view, name in shown.items() if times[name] == 1}
        _rename(onnx.nodes, own)
        return {own.get(name, name): array for name, array in onnx.initializers.items() if name in used}


def _is_idle(node: Node) -> bool:
    """Whether a layer does nothing in place (Dropout, usually): the value before it keeps the blob's name."""
    return node.op.is_identity and [value.name for value in node.outputs] == [value.name for value in node.inputs]


def _new_names(graph: Graph, rename: Mapping[str, str]) -> dict[str, str]:
    """`rename`, checked: it names inputs and outputs, and gives names that nothing else has."""
    public = list(dict.fromkeys(value.name for value in (*graph.inputs, *graph.outputs)))
    taken = {value.name for value in graph.values}
    for old, new in rename.items():
        if old not in public:
            raise ConversionError(
                f"cannot rename {old!r}: it is no input or output{did_you_mean(old, public)} (there are: {', '.join(public)})"
            )
        if not new or (new in taken and new not in rename) or list(rename.values()).count(new) > 1:
            raise ConversionError(f"cannot rename {old!r} to {new!r}: " + ("that name is taken" if new else "a name is needed"))
    return dict(rename)


def _preprocessed(graph: OnnxGraph, x: str, what: Preprocess, channels: int) -> str:
    """The image as the net wants it."""
    if what.nhwc:
        x = graph.transpose(x, [0, 3, 1, 2])
    if what.swap_rb:
        x = graph.add("Gather", x, graph.ints(*range(channels)[::-1]), axis=1)
    mean, scale = (graph.constant([[[n]] for n in numbers]) for numbers in (what.means, what.scales))
    if any(what.means):
        x = graph.add("Sub", x, mean)
    return graph.add("Mul", x, scale) if any(number != 1 for number in what.scales) else x


def _rename(nodes: Iterable[onnx.NodeProto], new_names: Mapping[str, str]) -> None:
    for node in nodes:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                if name in new_names:
                    names[i] = new_names[name]
