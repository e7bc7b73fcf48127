"""The net in the middle: layers in order, blob shapes, learnable blobs, weights; readers make it, converters read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import NetError, ProtogenError, did_you_mean
from .files import write_text
from .graph.analysis import Analysis, analyse
from .layers.base import LayerType, Shape
from .prototxt.layer import Layer
from .prototxt.message import Message
from .prototxt.phase import State, active

if TYPE_CHECKING:
    import numpy as np
    import onnx
    import torch

    from .graph.graph import Graph
    from .graph.store import WeightStore
    from .report.summary import Summary


class Net:
    """An ordered list of layers in one phase, with everything that follows from it.

    Args:
        definition: the NetParameter, in today's dialect (`load` and `loads` bring older ones up to it).
        phase: "TEST" or "TRAIN": which layers are active, and how they behave.
        level, stages: the rest of Caffe's NetState, for `include`/`exclude` rules. As in Caffe, stages that the definition's own
            `state` names count too, while its phase and level do not.
        inputs: shapes of inputs by blob name, in place of those the definition gives, or where it gives none.
        source: name of the file in error messages.
        strict: False converts layers as if the fields that protogen does not compute were not there (with a warning); otherwise
            converting refuses such layers.
        groups: names of builder blocks by layer name.
        blob_counts: how many learnable blobs the weights to come have, by layer name: it tells forms of a type apart (see
            `LayerType.readings`).
        analysis: what `analyse` made of the same layers, if the caller has it already.
        crop: where a Crop layer without `crop_param` begins. "aligned": where its bottoms' pixels lie on each other, as in the
            Caffe of HED and of the first FCNs, with a warning where that is not at 0 or nowhere; "bvlc": at 0, as in BVLC's.
        like: a net of the same definition; warnings that it gave are not repeated.

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
        strict: bool | None = None,
        groups: Mapping[str, str] | None = None,
        blob_counts: Mapping[str, int] | None = None,
        analysis: Analysis | None = None,
        crop: str = "aligned",
        like: Net | None = None,
    ) -> None:
        self.definition = definition
        self.state = State(phase, level, frozenset(stages) | frozenset(definition.state.stage))
        self.source = source
        self.strict = strict
        self._groups = dict(groups or {})
        self._blob_counts = dict(blob_counts or {})
        self._input_shapes = {name: tuple(int(dim) for dim in shape) for name, shape in (inputs or {}).items()}
        self._weights: WeightStore | None = None
        warned = like.analysis.warned if like else None
        self.analysis: Analysis = analysis or analyse(*self._layers_by_state(), phase, self._input_shapes, crop, warned)
        self.layers: list[Layer] = self.analysis.layers
        self._check_inputs()

    def _layers_by_state(self) -> tuple[list[Layer], dict[str, Message]]:
        """Layers that take part in the net's state, and those that do not, by their tops."""
        taking_part: list[Layer] = []
        inactive: dict[str, Message] = {}
        for message in self.definition.layer:
            if active(message, self.state):
                name = message.get("name", "")
                taking_part.append(Layer(message, self._groups.get(name, ""), self.source, self._blob_counts.get(name)))
            else:
                inactive.update(dict.fromkeys(message.get("top", []), message))
        return taking_part, inactive

    # ---- what it is

    @property
    def name(self) -> str:
        """The net's name, "" if it has none."""
        return self.definition.name

    @property
    def phase(self) -> str:
        """ "TEST" or "TRAIN"."""
        return self.state.phase

    @property
    def crop(self) -> str:
        """ "aligned" or "bvlc": where a Crop layer without `crop_param` begins."""
        return self.analysis.crop

    @property
    def inputs(self) -> list[str]:
        """Blobs that are fed from outside, in file order: tops of Input and data layers, and DummyData's random ones."""
        return self.analysis.inputs

    @property
    def outputs(self) -> list[str]:
        """Blobs that no layer reads, in the order they are made (Caffe lists the same ones alphabetically).

        Where a net has none of these, what its Silence layers read.
        """
        return list(self.analysis.outputs)

    @property
    def computed(self) -> list[str]:
        """Blobs whose values layers make: all but the inputs, and those inputs that a layer overwrites in place."""
        fed = {top: op.layer for op in self.analysis.sources for top in op.fed_tops}
        return [blob for blob, maker in self.analysis.makers.items() if fed.get(blob) is not maker]

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Shape of every blob; layers that work in place share one.

        Raises:
            NetError: a shape cannot be known: an input's is not given, or a layer type is unknown.
        """
        self.require_shapes()
        return {blob: shape for blob, shape in self.analysis.shapes.items() if shape is not None}

    @cached_property
    def param_shapes(self) -> dict[str, list[Shape]]:
        """Shapes of the learnable blobs in Caffe's order, for each layer that has any."""
        self.require_shapes()
        return {op.layer.name: [blob.shape for blob in op.blobs] for op in self.ops if op.blobs}

    @cached_property
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
    def unknown_layers(self) -> list[Layer]:
        """Layers whose types nothing defines."""
        return self.analysis.unknown_layers

    @property
    def unknown_types(self) -> list[str]:
        """Layer types in use that nothing defines; a Python layer's with its class, "Python (module.Class)"."""
        return self.analysis.unknown_types

    @property
    def shared_blobs(self) -> dict[tuple[str, int], tuple[str, int]]:
        """(layer, index) of each blob that another layer owns, through `param { name }`, with its owner."""
        return self.analysis.shared_blobs

    def layer(self, name: str) -> Layer:
        """The layer called `name`.

        Raises:
            NetError: there is none; the message offers the nearest name.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise NetError(f"no layer {name!r}{did_you_mean(name, [layer.name for layer in self.layers])}")

    def at(self, phase: str | None = None, inputs: Mapping[str, Sequence[int]] | None = None, weights: bool = True) -> Net:
        """The same definition and weights in another phase, or with other input shapes.

        Args:
            phase: "TEST" or "TRAIN"; by default the net's own.
            inputs: shapes by blob name, such as {"data": (8, 3, 320, 320)}; those of other inputs stay.
            weights: take the weights along; without, the net has none yet but those that its definition holds.

        Raises:
            NetError, LayerError: as for a new net; a layer may not work with these shapes.
            WeightsError: the weights do not fit these shapes (an InnerProduct after a larger image, say).
        """
        twin = Net(
            self.definition, phase=phase or self.phase, level=self.state.level, stages=self.state.stages,
            inputs={**self._input_shapes, **(inputs or {})}, source=self.source, strict=self.strict, groups=self._groups,
            blob_counts=self._blob_counts, crop=self.crop, like=self,
        )  # fmt: skip
        if weights and self._weights is not None:
            from .graph.store import WeightStore

            twin._weights = WeightStore(twin.ops, twin.shared_blobs, like=self._weights)
        return twin

    def require_shapes(self) -> None:
        """Raise a `NetError` that names what is missing unless every blob's shape is known."""
        self.analysis.require_shapes(self.source)

    def _check_inputs(self) -> None:
        for name in self._input_shapes:
            if name not in self.inputs:
                known = ", ".join(self.inputs) or "none"
                raise NetError(f"no input {name!r}{did_you_mean(name, self.inputs)} (inputs: {known})")

    # ---- weights

    @property
    def weights(self) -> WeightStore:
        """Learnable blobs as float32 arrays, `{layer: [array, ...]}`; set by layer name, checked against `param_shapes`.

        To begin with, those that the definition itself holds: the `blobs` of its layers.
        """
        if self._weights is None:
            from .graph.store import WeightStore

            self._weights = WeightStore(self.ops, self.shared_blobs)
        return self._weights

    @weights.setter
    def weights(self, values: Mapping[str, Sequence[np.ndarray]]) -> None:
        self.weights.clear()
        for layer, blobs in values.items():
            self.weights[layer] = list(blobs)

    # ---- forms

    def graph(self, seed: int = 0) -> Graph:
        """The net as the graph that passes and targets work on.

        Args:
            seed: for Caffe's fillers, which fill blobs the net has no weights for.

        Raises:
            NetError: unknown shapes.
            WeightsError: a filler does not suit its blob.
        """
        from .graph.graph import Graph

        return Graph.of(
            self.ops, self.outputs, self.weights.weights(seed), name=self.name, phase=self.phase, strict=self.strict,
            origins=(self.source, self.weights.source),
        )  # fmt: skip

    def folded(self, seed: int = 0) -> Net:
        """The inference form: BatchNorm, Scale and Bias folded into the layer before, Dropout and the like gone.

        Args:
            seed: as for `graph`.

        Raises:
            ConversionError: the net is in phase TRAIN, whose batch statistics cannot be folded.
        """
        from .graph.fold import folded

        return self.with_graph(folded(self.graph(seed)))

    def with_graph(self, graph: Graph) -> Net:
        """A net of the layers and weights of a graph that passes made from this net's.

        Its outputs are the blobs that no layer reads, as ever: an output of the graph that another layer reads, too, is none.
        """
        from .targets.caffe.definition import blob_names, definition_of

        names = blob_names(graph)
        layers = [node.op.layer for node in graph.nodes]
        twin = Net(
            definition_of(graph, names), phase=graph.phase, inputs={names[value]: value.shape for value in graph.inputs},
            source=self.source, strict=self.strict, groups=self._groups, crop=self.crop, like=self,
            blob_counts={layer.name: layer.blob_count for layer in layers if layer.blob_count is not None},
        )  # fmt: skip
        twin.weights.update({node.op.layer.name: node.arrays for node in graph.nodes if node.weights})
        return twin

    def to_prototxt(self, templates: str | Path | None = None) -> str:
        """The definition as prototxt, both phases included; Input layers have the shapes given by `inputs`.

        Crop layers without `crop_param` get one where the rules for them differ (see `crop`), so that every Caffe, and any
        rule, gives the numbers of this net.

        Weights that the definition holds (the `blobs` of its layers) are written as they were read. Once a layer's weights are
        others, from a file or set by hand, its `blobs` are left out: weights belong into a caffemodel beside the text, which must
        not say otherwise. A folded net's text has none.

        Args:
            templates: a folder whose templates go before the built-in ones of `templates/prototxt/`.
        """
        from .graph.placed import has_placed_layers, with_placed_fields
        from .prototxt.inputs import with_input_shapes, with_layers
        from .prototxt.writer import write

        definition = self.definition
        if has_placed_layers(definition):
            definition = with_placed_fields(definition, self._phases(), self.source)
        outdated = self._weights.outdated if self._weights is not None else set()
        bare = {id(layer): layer.without("blobs") for layer in definition.layer if layer.get("name", "") in outdated}
        definition = with_layers(definition, bare)
        if self._input_shapes:
            definition = with_input_shapes(definition, self.layers, self._input_shapes)
        return write(definition, templates)

    def save_prototxt(self, path: str | Path, templates: str | Path | None = None) -> None:
        """Write `to_prototxt(templates)` to a file, in one step."""
        write_text(path, self.to_prototxt(templates))

    def _phases(self) -> Iterator[Analysis]:
        """Of the net's phase and, where there are layers that do not take part in it, of the other one, if it has one."""
        yield self.analysis
        if len(self.layers) < len(self.definition.layer):
            with suppress(ProtogenError):  # a definition for one phase alone
                yield self.at("TEST" if self.phase == "TRAIN" else "TRAIN", weights=False).analysis

    def to_torch(self, fold: bool = False, seed: int = 0) -> torch.nn.Module:
        """The net as a `torch.nn.Module`, in eval mode for TEST and train mode for TRAIN.

        Args:
            fold: the inference form: BatchNorm and Scale folded into convolutions, Dropout gone.
            seed: for Caffe's fillers, which fill blobs the net has no weights for.

        Raises:
            ProtogenError: unknown shapes, or layers without a PyTorch form (all of them named).
        """
        from .targets.torch.convert import to_torch

        graph = self.graph(seed)
        if fold:
            from .graph.fold import folded

            graph = folded(graph)
        return to_torch(graph)

    def to_onnx(self, path: str | Path | None = None, **options: Any) -> onnx.ModelProto:
        """The net as an ONNX model with standard ops, written to `path` if one is given.

        Args:
            path: file to write; replaced in one step.
            options: `opset=17`, `dynamic_batch=False`, `dynamic_size=False`, `fold=True`, `postprocess=True`, `preprocess=None`,
                `rename={}`, `fp16=False`, `external_data=False`, `seed=0`: see `protogen.targets.onnx.options.OnnxOptions`.

        Returns:
            The model. If its weights went to a file apart, or `path` is given and they exceed 256 MB, big initializers only
            refer to what was written (external data), so that they are not in memory twice: `onnx.load(path)` reads them.

        Raises:
            ProtogenError: unknown shapes, layers without an ONNX form (all of them named), or options that do not fit the net.
        """
        from .targets.onnx.emit import to_onnx
        from .targets.onnx.options import OnnxOptions

        settings = OnnxOptions.of(options)
        return to_onnx(self.graph(settings.seed), path, settings)

    def save_caffemodel(self, path: str | Path) -> None:
        """Write the weights with layer names, types and blob shapes: a .caffemodel, or HDF5 if `path` ends in .h5.

        Raises:
            WeightsError: some layer has no weights yet, or they exceed 2 GB, which only .caffemodel.h5 holds.
        """
        from .targets.caffe.files import write_weights

        self.weights.require_complete()
        write_weights(self.graph(), path, hdf5=str(path).lower().endswith(".h5"))

    def save(self, path: str | Path, ending: str | None = None, **options: Any) -> None:
        """Write the net in the format that the ending of `path` names, as `protogen convert` does.

        Args:
            path: the file; replaced in one step.
            ending: ".onnx", ".pt2", ".pth", ".prototxt", ".caffemodel" or ".h5", whatever `path` ends in.
            options: those of the format, such as `fold=True`: see `protogen.targets.formats.FORMATS`.

        Raises:
            ConversionError: no such format or option, or the net has no form in it.
            WeightsError: for a caffemodel, if some layers have weights and others none.
        """
        from .targets.formats import format_of

        chosen = format_of(path, ending)
        settings = chosen.settings(options)
        if chosen.is_definition and not settings.fold:
            self.save_prototxt(path)
        else:
            chosen.write(self.graph(settings.seed), Path(path), settings)

    def fill(self, seed: int = 0) -> Net:
        """Give every learnable blob without weights the values of its filler. Returns self."""
        filled = self.weights.filled(seed)
        self.weights.update({layer: filled[layer] for layer in self.weights.missing})
        return self

    def summary(self) -> Summary:
        """Layers with shapes, parameters and multiply-accumulates; `print` shows the table."""
        from .report.summary import summarise

        return summarise(self)

    def __repr__(self) -> str:
        return f"Net({self.name!r}, {len(self.layers)} layers, {self.phase})"
