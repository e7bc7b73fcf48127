"""The net in the middle: layers in order, blob shapes, learnable blobs, weights; readers make it, converters read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import NetError, ProtogenError, did_you_mean
from .layers.base import LayerType, Shape, count, definition_for, load_entry_points, unknown_type_hint
from .prototxt.message import Message
from .prototxt.phase import State, active

if TYPE_CHECKING:
    import numpy as np
    import onnx
    import torch

    from .report.summary import Summary
    from .weights.store import WeightStore


class Layer:
    """One layer of a net: a view of its LayerParameter message.

    Attributes:
        message: the layer's LayerParameter.
        name: its name, "" if it has none.
        type: Caffe's type name, such as "Convolution".
        bottoms, tops: names of the blobs it reads and makes.
        group: name of the builder block it came from ("stage1/layer2"), "" if none.
        source: file the layer was read from, for error messages.
    """

    __slots__ = ("bottoms", "group", "message", "name", "source", "tops", "type")

    def __init__(self, message: Message, group: str = "", source: str = "") -> None:
        self.message, self.group, self.source = message, group, source
        self.name: str = message.get("name", "")
        self.type: str = message.get("type", "")
        self.bottoms: list[str] = message.get("bottom", [])
        self.tops: list[str] = message.get("top", [])

    @property
    def full_type(self) -> str:
        """The type, with the class behind it for a Python layer: "Python (rpn.proposal_layer.ProposalLayer)"."""
        python = self.message.python_param
        return f"Python ({python.module}.{python.layer})" if self.type == "Python" else self.type

    @property
    def label(self) -> str:
        """`layer 'conv1' (Convolution)`, with its place in the file if it was read from one."""
        place = ""
        if self.source and self.message.origin:
            line, column = self.message.origin
            place = f"{self.source}:{line}:{column}: "
        return f"{place}layer {self.name!r} ({self.type})"

    def __repr__(self) -> str:
        return f"Layer({self.name!r}, {self.type!r}, {self.bottoms} -> {self.tops})"


class Net:
    """An ordered list of layers in one phase, with everything that follows from it.

    Args:
        definition: the NetParameter, in today's dialect (`load` and `loads` bring older ones up to it).
        phase: "TEST" or "TRAIN": which layers are active, and how they behave.
        level, stages: the rest of Caffe's NetState, for `include`/`exclude` rules.
        inputs: shapes of inputs by blob name, in place of those the definition gives, or where it gives none.
        source: name of the file in error messages.
        groups: names of builder blocks by layer name.
        analysis: what `analyse` made of the same layers, if the caller has it already.

    Raises:
        NetError: unknown bottoms, a name used twice, a blob made twice, an unknown input.
        LayerError: a layer's parameters or bottoms are such that Caffe would refuse them.

    >>> import protogen
    >>> net = protogen.loads('''
    ...     layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
    ...     layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
    ...             convolution_param { num_output: 4 kernel_size: 3 } }''')
    >>> net.shapes["conv"], net.param_shapes["conv"], net.inputs, net.outputs
    ((1, 4, 6, 6), [(4, 3, 3, 3), (4,)], ['data'], ['conv'])
    """

    def __init__(
        self,
        definition: Message,
        *,
        phase: str = "TEST",
        level: int = 0,
        stages: Iterable[str] = (),
        inputs: Mapping[str, Sequence[int]] | None = None,
        source: str = "",
        groups: Mapping[str, str] | None = None,
        analysis: Analysis | None = None,
    ) -> None:
        self.definition = definition
        self.state = State(phase, level, frozenset(stages))
        self.source = source
        self._groups = dict(groups or {})
        self._input_shapes = {name: tuple(int(dim) for dim in shape) for name, shape in (inputs or {}).items()}
        self._weights: WeightStore | None = None
        self.analysis = analysis or analyse(self._active_layers(), phase, self._input_shapes)
        self.layers: list[Layer] = self.analysis.layers
        self._check_inputs()

    def _active_layers(self) -> list[Layer]:
        return [
            Layer(message, self._groups.get(message.get("name", ""), ""), self.source)
            for message in self.definition.layer
            if active(message, self.state)
        ]

    # ---- what it is

    @property
    def name(self) -> str:
        """The net's name, "" if it has none."""
        return self.definition.name

    @property
    def phase(self) -> str:
        """"TEST" or "TRAIN"."""
        return self.state.phase

    @property
    def inputs(self) -> list[str]:
        """Blobs that are fed from outside, in file order: tops of Input and data layers."""
        return [top for op in self.analysis.sources for top in op.layer.tops]

    @property
    def outputs(self) -> list[str]:
        """Blobs that no layer reads, in the order they are made (Caffe lists the same ones alphabetically)."""
        return list(self.analysis.outputs)

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shape of every blob; layers that work in place share one.

        Raises:
            NetError: a shape cannot be known: an input's is not given, or a layer type is unknown.
        """
        self.require_shapes()
        return {blob: shape for blob, shape in self.analysis.shapes.items() if shape is not None}

    @property
    def param_shapes(self) -> dict[str, list[Shape]]:
        """Shapes of the learnable blobs in Caffe's order, for each layer that has any."""
        self.require_shapes()
        return {op.layer.name: [blob.shape for blob in op.blobs] for op in self.ops if op.blobs}

    @property
    def ops(self) -> list[LayerType]:
        """The layers set up for their shapes, in order.

        Raises:
            NetError: as `shapes`.
        """
        self.require_shapes()
        return [op for op in self.analysis.ops if op is not None]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one forward pass."""
        return sum(op.macs for op in self.ops)

    @property
    def param_count(self) -> int:
        """Number of trained values: learnable blobs without statistics, shared ones counted once."""
        shared = self.shared_blobs
        return sum(
            blob.count
            for op in self.ops
            for i, blob in enumerate(op.blobs)
            if blob.trainable and (op.layer.name, i) not in shared
        )

    @property
    def unknown_types(self) -> list[str]:
        """Layer types in use that nothing defines; a Python layer's with its class, "Python (module.Class)"."""
        return sorted({layer.full_type for layer, op in zip(self.layers, self.analysis.ops) if op is None and definition_for(layer) is None})

    @property
    def shared_blobs(self) -> dict[tuple[str, int], tuple[str, int]]:
        """(layer, index) of each blob that another layer owns, through `param { name }`, with its owner."""
        owners: dict[str, tuple[str, int]] = {}
        shared: dict[tuple[str, int], tuple[str, int]] = {}
        for op in self.analysis.ops:
            if op is None:
                continue
            for i, spec in enumerate(op.layer.message.param[: len(op.blobs)]):
                key = (op.layer.name, i)
                if spec.name and owners.setdefault(spec.name, key) != key:
                    shared[key] = owners[spec.name]
        return shared

    def layer(self, name: str) -> Layer:
        """The layer called `name`.

        Raises:
            NetError: there is none; the message offers the nearest name.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise NetError(f"no layer {name!r}{did_you_mean(name, [layer.name for layer in self.layers])}")

    def at(self, phase: str) -> Net:
        """The same definition and weights in another phase."""
        twin = Net(
            self.definition, phase=phase, level=self.state.level, stages=self.state.stages,
            inputs=self._input_shapes, source=self.source, groups=self._groups,
        )  # fmt: skip
        if self._weights is not None:
            twin.weights.update({name: blobs for name, blobs in self._weights.items() if name in twin.weights.shapes})
        return twin

    def require_shapes(self) -> None:
        """Raise a `NetError` that names what is missing unless every blob's shape is known."""
        if self.analysis.complete:
            return
        if self.unknown_types:
            listed = ", ".join(f"{name!r}{unknown_type_hint(name)}" for name in self.unknown_types)
            raise NetError(f"{self.source + ': ' if self.source else ''}unknown layer types: {listed}; register a definition "
                           "with protogen.register(...) (see the README, \"A layer type of your own\")")  # fmt: skip
        missing = [top for op in self.analysis.sources for top in op.layer.tops if self.analysis.shapes[top] is None]
        example = ", ".join(f"{name!r}: (1, 3, 224, 224)" for name in missing[:1])
        raise NetError(
            f"{self.source + ': ' if self.source else ''}the shape of input {', '.join(map(repr, missing))} is not in the "
            f"file; give it: inputs={{{example}}} or --input {missing[0] if missing else 'data'}=1,3,224,224"
        )

    def _check_inputs(self) -> None:
        for name in self._input_shapes:
            if name not in self.inputs:
                known = ", ".join(self.inputs) or "none"
                raise NetError(f"no input {name!r}{did_you_mean(name, self.inputs)} (inputs: {known})")

    # ---- weights

    @property
    def weights(self) -> WeightStore:
        """Learnable blobs as float32 arrays, `{layer: [array, ...]}`; set by layer name, checked against `param_shapes`."""
        if self._weights is None:
            from .weights.store import WeightStore

            self._weights = WeightStore(self)
        return self._weights

    @weights.setter
    def weights(self, values: Mapping[str, Sequence[np.ndarray]]) -> None:
        self.weights.clear()
        self.weights.update(values)

    # ---- forms

    def to_prototxt(self, templates: str | Path | None = None) -> str:
        """The definition as prototxt, both phases included; Input layers have the shapes given by `inputs`.

        Args:
            templates: a folder whose templates go before the built-in ones of `templates/prototxt/`.
        """
        from .prototxt.writer import write

        definition = self.definition
        if self._input_shapes:
            from .prototxt.inputs import with_input_shapes

            definition = with_input_shapes(definition, self.layers, self._input_shapes)
        return write(definition, templates)

    def to_torch(self, fold: bool = False, seed: int = 0) -> torch.nn.Module:
        """The net as a `torch.nn.Module`, in eval mode for TEST and train mode for TRAIN.

        Args:
            fold: the inference form: BatchNorm and Scale folded into convolutions, Dropout gone.
            seed: for Caffe's fillers, which fill blobs the net has no weights for.

        Raises:
            ProtogenError: unknown shapes, or layers without a PyTorch form (all of them named).
        """
        from .convert.torch import to_torch

        return to_torch(self, fold=fold, seed=seed)

    def to_onnx(
        self, path: str | Path | None = None, opset: int = 17, dynamic_batch: bool = False, fold: bool = True, seed: int = 0,
        external_data: bool = False,
    ) -> onnx.ModelProto:
        """The net as an ONNX model with standard ops, written to `path` if one is given.

        Args:
            path: file to write; replaced in one step.
            opset: version of the standard operator set.
            dynamic_batch: leave the first axis of inputs and outputs open.
            fold: fold BatchNorm and Scale into convolutions and drop what does nothing in inference.
            seed: for Caffe's fillers, which fill blobs the net has no weights for.
            external_data: write weights to `<path>.data` beside the model; beyond 2 GB they always go there.

        Returns:
            The model. If its weights went to a file apart, or `path` is given and they exceed 256 MB, big initializers only
            refer to what was written (external data), so that they are not in memory twice: `onnx.load(path)` reads them.

        Raises:
            ProtogenError: unknown shapes, or layers without an ONNX form (all of them named).
        """
        from .convert.onnx import to_onnx

        return to_onnx(self, path, opset=opset, dynamic_batch=dynamic_batch, fold=fold, seed=seed, external_data=external_data)

    def save_caffemodel(self, path: str | Path) -> None:
        """Write the weights as a binary .caffemodel with layer names, types and blob shapes; as .caffemodel.h5 if `path` ends in .h5.

        Raises:
            WeightsError: some layer has no weights yet, or they exceed 2 GB, which only .caffemodel.h5 holds.
        """
        self.weights.save_caffemodel(path)

    def fill(self, seed: int = 0) -> Net:
        """Give every learnable blob without weights the values of its filler. Returns self."""
        self.weights.update(self.weights.filled(seed))
        return self

    def summary(self) -> Summary:
        """Layers with shapes, parameters and multiply-accumulates; `print` shows the table."""
        from .report.summary import summarise

        return summarise(self)

    def __repr__(self) -> str:
        return f"Net({self.name!r}, {len(self.layers)} layers, {self.phase})"


class Analysis:
    """What follows from a list of layers: each set up, every blob's shape, sources and outputs.

    Attributes:
        layers: the layers.
        ops: each layer set up, None where its type or a bottom's shape is unknown.
        shapes: blob shapes in the order the blobs are made, None where unknown.
        outputs: blobs that nothing reads.
        sources: the input layers among `ops`.
    """

    def __init__(self, phase: str, input_shapes: Mapping[str, Shape]) -> None:
        self.phase, self.input_shapes = phase, input_shapes
        self.layers: list[Layer] = []
        self.ops: list[LayerType | None] = []
        self._like: dict[Any, LayerType] = {}
        self.sources: list[LayerType] = []
        self.shapes: dict[str, Shape | None] = {}
        self.makers: dict[str, Layer] = {}
        self.learnable: dict[str, Layer] = {}
        self._unread: dict[str, None] = {}

    @property
    def complete(self) -> bool:
        """Whether every layer is set up and every shape known."""
        return None not in self.ops and None not in self.shapes.values()

    @property
    def outputs(self) -> list[str]:
        """Blobs that nothing reads after they were last made, in the order of the blobs."""
        return [blob for blob in self.shapes if blob in self._unread]

    def copy(self) -> Analysis:
        """A copy that further `add`s to either one leave the other alone."""
        twin = Analysis(self.phase, self.input_shapes)
        twin.layers, twin.ops, twin.sources = list(self.layers), list(self.ops), list(self.sources)
        twin.shapes, twin.makers, twin.learnable, twin._unread = map(dict, (self.shapes, self.makers, self.learnable, self._unread))
        return twin

    def add(self, layer: Layer, later: Mapping[str, Layer] | None = None, like: object = None) -> LayerType | None:
        """Take in the next layer: check its names, set it up, note the shapes of its tops.

        Args:
            layer: the layer.
            later: makers of blobs further on, to tell a cycle from a misspelt bottom.
            like: the same object for layers of equal type and parameters, which are set up only once for equal bottoms.

        Raises:
            NetError, LayerError: it does not fit.
        """
        self._check_bottoms(layer, later or {})
        bottoms = [self.shapes[bottom] for bottom in layer.bottoms]
        definition = definition_for(layer)
        if definition is not None and definition.is_loss and not layer.tops:
            layer.tops = [self._unused(layer.name or layer.type)]  # as Caffe: a loss makes its top itself
        self._check_tops(layer)
        op = None
        if definition is not None and (None not in bottoms):
            op = self._set_up(definition, layer, bottoms, like)
            if op.is_input:
                self._feed(op)
        tops = op.tops if op is not None else [None] * len(layer.tops)
        for bottom in layer.bottoms:
            self._unread.pop(bottom, None)
        for top, shape in zip(layer.tops, tops):
            self.shapes[top] = shape
            self.makers[top] = layer
            self._unread[top] = None
        self.layers.append(layer)
        self.ops.append(op)
        if op is not None and op.blobs:
            self._check_learnable(op)
        return op

    def _set_up(self, definition: type[LayerType], layer: Layer, bottoms: list[Any], like: object) -> LayerType:
        if like is None or definition.is_input:
            return definition(layer, bottoms, self.phase)
        key = (id(like), *bottoms, len(layer.tops))
        op = self._like.get(key)
        if op is None:
            op = self._like[key] = definition(layer, bottoms, self.phase)
            return op
        return op.for_layer(layer)

    def _feed(self, op: LayerType) -> None:
        self.sources.append(op)
        op.tops = [self.input_shapes.get(top, shape) for top, shape in zip(op.layer.tops, op.tops)]
        for top, shape in zip(op.layer.tops, op.tops):
            if shape is not None:
                op._check_size(f"input {top!r}", shape)

    def _check_bottoms(self, layer: Layer, later: Mapping[str, Layer]) -> None:
        if not layer.type:
            raise NetError(f"{layer.label}: it has no type")
        for bottom in layer.bottoms:
            if bottom not in self.shapes:
                raise NetError(f"{layer.label}: {self._unmade(bottom, later)}")

    def _check_tops(self, layer: Layer) -> None:
        for i, top in enumerate(layer.tops):
            in_place = i < len(layer.bottoms) and layer.bottoms[i] == top
            if top in self.shapes and not in_place:
                raise NetError(f"{layer.label}: its top {top!r} is made by layer {self.makers[top].name!r} already; "
                               "give it another name (only a layer that reads a blob may write it, in place)")  # fmt: skip
        if len(set(layer.tops)) != len(layer.tops):
            raise NetError(f"{layer.label}: two of its tops have one name")

    def _check_learnable(self, op: LayerType) -> None:
        """Caffe lets layers share a name, but weights go by name: only one layer of a name may have any."""
        name = op.layer.name
        if name in self.learnable:
            other = f"layer {name!r} ({self.learnable[name].type})"
            raise NetError(f"{op.label}: {other} before it has the same name, and both have weights; give one of them another name")
        self.learnable[name] = op.layer

    def _unused(self, name: str) -> str:
        while name in self.shapes:
            name += "_"
        return name

    def _unmade(self, bottom: str, later: Mapping[str, Layer]) -> str:
        if bottom in later:
            return (f"its bottom {bottom!r} is made only further on, by layer {later[bottom].name!r}; "
                    "layers must come after the layers they read from (is this a cycle?)")  # fmt: skip
        return f"no layer before it makes its bottom {bottom!r}{did_you_mean(bottom, self.shapes)}"


def analyse(layers: Sequence[Layer], phase: str, input_shapes: Mapping[str, Shape]) -> Analysis:
    """Set up `layers` in order and infer every blob's shape; unknown types leave unknown shapes behind them.

    Raises:
        NetError, LayerError: the layers do not fit together.
    """
    if any(definition_for(layer) is None for layer in layers):
        load_entry_points()
    later = {top: layer for layer in layers for top in layer.tops}
    analysis = Analysis(phase, input_shapes)
    for layer in layers:
        analysis.add(layer, later)
    return analysis
