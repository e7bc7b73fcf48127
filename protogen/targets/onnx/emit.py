"""Net to ONNX: every layer type emits standard ops; blob names become value names."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import ConversionError, ProtogenError, ProtogenWarning, did_you_mean
from ...graph.cut import ends_in_detections, inference_part, measures
from ...layers.fields import require_computed
from ...layers.forms.onnx_graph import OnnxGraph
from .file import OnnxModel, half_of
from .metadata import describe
from .options import OnnxOptions
from .shapes import dimensions, require_size_free
from .tidy import merge_reshapes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    import onnx

    from ...layers.base import LayerType
    from ...net import Net
    from .options import Preprocess
    from .shapes import Dimension

# ONNX file format version that came with each operator set (onnx/docs/Versioning.md).
_IR_VERSIONS = {11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10}
MAX_RETURNED_BYTES = 256 << 20
"""Most weights that `to_onnx` both writes to a file and returns in memory."""


def to_onnx(net: Net, path: str | Path | None = None, **options: Any) -> onnx.ModelProto:
    """See `Net.to_onnx`; `options` are the attributes of `OnnxOptions`."""
    settings = OnnxOptions(**options)
    model = emit(net, settings)
    tell_left_out(net, settings)
    if path is None:
        return model.proto()
    written = model.save(path, settings.external_data)
    return written if settings.external_data or model.nbytes > MAX_RETURNED_BYTES else model.proto()


def tell_left_out(net: Net, options: OnnxOptions) -> None:
    """Warn of layers that the ONNX model lacks for they only serve training, and of a `postprocess=False` without effect."""
    names, _ = measures(net)
    if names:
        listed = ", ".join(map(repr, names))
        warnings.warn(f"left out of the ONNX model, for they only serve training: {listed}", ProtogenWarning, stacklevel=4)
    if not options.postprocess and not ends_in_detections(net):
        warnings.warn("nothing was cut off: the net does not end in detection layers", ProtogenWarning, stacklevel=4)


def emit(net: Net, options: OnnxOptions | None = None) -> OnnxModel:
    """The net as an ONNX model whose weights are still arrays, checked.

    Raises:
        ConversionError: layers without an ONNX form (all of them named), or options that do not fit the net.
    """
    options = options or OnnxOptions()
    sources, missing = [net.source, net.weights.source], net.weights.missing
    net = original = inference_part(net, options.postprocess, options.seed)
    require_computed(net.ops, net.strict)
    if options.fold and net.phase == "TEST":
        from ...graph.fold import folded

        net = folded(net, options.seed)
    emitter = Emitter(net, options, net.weights.filled(options.seed))
    emitter.emit()
    if options.dynamic_size:
        require_size_free(net, emitter)
    model = emitter.model(original.outputs)  # folded, they may be made in another order
    describe(model.skeleton, original, options, sources, [layer for layer in missing if layer in original.param_shapes])
    model.check()
    return model


@dataclass
class Emitted:
    """What one layer became: a run of the graph's nodes, and the initializers made for them."""

    op: LayerType
    nodes: slice
    initializers: list[str]


class Emitter:
    """Emits one net; `current` maps blobs to the values that stand for them now."""

    def __init__(
        self,
        net: Net,
        options: OnnxOptions,
        weights: Mapping[str, Sequence[np.ndarray]],
        dims: dict[str, list[Dimension]] | None = None,
    ) -> None:
        self.net, self.options, self.weights = net, options, weights
        self.graph = OnnxGraph(options.opset, options.dynamic_batch, options.dynamic_size)
        self.shared = net.shared_blobs
        self.current: dict[str, str] = {}
        self.blob_inits: dict[tuple[str, int], str] = {}
        self.dims = dims or dimensions(net, options)
        self.last_maker = {top: op for op in net.ops if not _is_idle(op) for top in op.layer.tops}
        self.value_shapes: dict[str, Sequence[Dimension]] = {}
        self.overwritten: dict[str, str] = {}
        self.emitted: list[Emitted] = []
        self.image = options.preprocess.image_of(net) if options.preprocess else None
        self.names = _new_names(net, options.rename)

    def emit(self) -> None:
        """Emit every layer.

        Raises:
            ConversionError: layers without an ONNX form, all of them named.
        """
        self.graph.reserve([*self.net.shapes, *self.options.rename.values()])
        problems: list[str] = []
        for op in self.net.ops:
            first, known = len(self.graph.nodes), len(self.graph.initializers)
            try:
                self._layer(op)
            except ProtogenError as error:
                problems += error.lines
                self.current.update({top: top for top in op.layer.tops})
            made = list(islice(self.graph.initializers, known, None))
            self.emitted.append(Emitted(op, slice(first, len(self.graph.nodes)), made))
        if problems:
            raise ConversionError(*dict.fromkeys(problems))

    def model(self, outputs: Sequence[str]) -> OnnxModel:
        """The finished model with these outputs."""
        from onnx import TensorProto, helper

        wanted = list(self.net.shapes) if self.options.all_blobs else outputs
        outputs = self._name_outputs([blob for blob in wanted if blob not in self.last_maker[blob].fed_tops])
        for name in merge_reshapes(self.graph, outputs):
            self.value_shapes.pop(name, None)
        arrays = self._used_initializers()
        blobs = {name: blob for blob, name in self.overwritten.items()}  # what an output of another name stands for
        info = {
            name: helper.make_tensor_value_info(self.names.get(name, name), TensorProto.FLOAT, dims, blobs.get(name, ""))
            for name, dims in self._shapes().items()
        }
        graph = helper.make_graph(
            self.graph.nodes,
            self.net.name or "net",
            [info[blob] for blob in self.net.inputs],
            [info[blob] for blob in outputs],
            value_info=[proto for name, proto in info.items() if name not in outputs and name not in self.net.inputs],
        )
        if self.options.fp16:
            arrays = self._halved(graph, arrays)
        _rename(graph.node, self.names)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.graph.opset)])
        model.ir_version = _IR_VERSIONS[self.graph.opset]
        return OnnxModel(model, arrays)

    def _inputs(self, tops: Sequence[str]) -> None:
        for top in tops:
            self.current[top] = top
            if top == self.image:
                assert self.options.preprocess is not None
                self.graph.layer = "preprocess"
                channels = self.net.shapes[top][1]
                self.current[top] = _preprocessed(self.graph, top, self.options.preprocess, channels)

    def _layer(self, op: LayerType) -> None:
        layer = op.layer
        self._inputs(op.fed_tops)
        if op.is_input or _is_idle(op):
            return
        graph = self.graph
        graph.layer = layer.name or layer.type
        first = len(graph.nodes)
        bottoms = [self.current[blob] for blob in layer.bottoms]
        made = op.onnx(graph, bottoms, self._blob_names(op))
        values = [made] if isinstance(made, str) else list(made)
        fresh = {name for node in graph.nodes[first:] for name in node.output}
        shapes = dict(zip(layer.tops, op.tops))
        for top, value in zip(op.own_tops, values):
            shape = shapes[top]
            if value in fresh:
                name = self._public(top) if self.last_maker[top] is op else graph.unique(f"{top}/{graph.layer}")
                _rename(graph.nodes[first:], {value: name})
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

    def _public(self, blob: str) -> str:
        """The name of a blob's last value: the blob's, or `<blob>_out` for an input that a layer overwrites in place."""
        if blob not in self.net.inputs:
            return blob
        if blob not in self.overwritten:
            self.overwritten[blob] = self.graph.unique(f"{blob}_out")
        return self.overwritten[blob]

    def _name_outputs(self, outputs: Sequence[str]) -> list[str]:
        """Let each output's value have its public name, by an Identity if it has a name of its own; return the names."""
        for blob in outputs:
            value, name = self.current[blob], self._public(blob)
            if value == name:
                continue
            self.graph.layer = blob
            made = self.graph.add("Identity", value)
            _rename(self.graph.nodes[-1:], {made: name})
            self.value_shapes[name] = self.dims[blob]
        return [self._public(blob) for blob in outputs]

    def _shapes(self) -> dict[str, Sequence[Dimension]]:
        inputs = {blob: self.dims[blob] for blob in self.net.inputs}
        if self.image is not None and self.options.preprocess is not None and self.options.preprocess.nhwc:
            n, c, h, w = inputs[self.image]
            inputs[self.image] = [n, h, w, c]
        return {**inputs, **self.value_shapes}

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
                result[name], wide[name] = half, self.graph.unique(f"{name}/float32")
                node = self.graph.unique(f"node:{name}/Cast").removeprefix("node:")
                casts.append(helper.make_node("Cast", [name], [wide[name]], name=node, to=TensorProto.FLOAT))
        nodes = [*casts, *graph.node]
        _rename(nodes[len(casts) :], wide)
        graph.ClearField("node")
        graph.node.extend(nodes)
        return result

    def _used_initializers(self) -> dict[str, np.ndarray]:
        """Initializers that nodes read; weights used in one other shape only go by their own name."""
        graph = self.graph
        used = {name for node in graph.nodes for name in node.input}
        shown = {view: name for view, name in graph.views.items() if view in used and name not in used}
        times = Counter(shown.values())
        own = {view: name for view, name in shown.items() if times[name] == 1}
        _rename(graph.nodes, own)
        return {own.get(name, name): array for name, array in graph.initializers.items() if name in used}


def _is_idle(op: LayerType) -> bool:
    """Whether a layer does nothing in place (Dropout, usually): the value before it keeps the blob's name."""
    return op.is_identity and op.layer.tops == op.layer.bottoms


def _new_names(net: Net, rename: Mapping[str, str]) -> dict[str, str]:
    """`rename`, checked: it names inputs and outputs, and gives names that nothing else has."""
    public = [*net.inputs, *net.outputs]
    for old, new in rename.items():
        if old not in public:
            raise ConversionError(
                f"cannot rename {old!r}: it is no input or output{did_you_mean(old, public)} (there are: {', '.join(public)})"
            )
        if not new or (new in net.shapes and new not in rename) or list(rename.values()).count(new) > 1:
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
