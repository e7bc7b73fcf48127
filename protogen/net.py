"""`Net`, the model that readers build and converters read: layers in order, blob shapes, learnable blobs, weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import shapes_of
from .errors import NetError, did_you_mean
from .files import write_text
from .graph.analysis import Analysis, analyse
from .layers.base import LayerType, Shape
from .prototxt.layer import Layer, layers_by_state
from .prototxt.message import Message
from .prototxt.phase import State
from .rules import DEFAULT, ReadingRules
from .surgery import Surgery

if TYPE_CHECKING:
    import numpy as np
    import onnx
    import torch

    from .graph.graph import Graph
    from .graph.store import WeightStore
    from .report.summary import Summary


class Net(Surgery):
    """A Caffe net in one phase: its active layers in order, and everything that follows from them.

    Args:
        definition: the NetParameter, in today's dialect (`load` and `loads` upgrade older ones).
        phase: "TEST" or "TRAIN": which layers are active, and how they behave.
        level, stages: the rest of Caffe's NetState, for `include`/`exclude` rules. As in Caffe, the stages in the definition's
            own `state` count too, but its phase and level do not.
        inputs: input shapes by blob name; they override or supply those of the definition.
        source: file name for error messages.
        strict: False converts layers as if fields that protogen does not compute were absent (with a warning); otherwise
            converting refuses such layers.
        groups: names of builder blocks by layer name.
        blob_counts: number of learnable blobs by layer name, from the weights that will be loaded; it selects among the
            readings of a type (see `LayerType.readings`).
        analysis: the result of `analyse` for the same layers, if the caller already has it.
        rules: how to read what the definition leaves open and forks of Caffe decide differently.
        like: a net of the same definition, whose warnings are not repeated.
        outputs: blobs that are the outputs, whether or not a layer reads them; by default those that no layer reads.
        lenient: accept layers that cannot be set up; their errors are raised when a shape is needed.

    Raises:
        NetError: unknown bottoms, a blob produced twice, an unknown input.
        LayerError: Caffe would reject a layer's parameters or bottoms.

    >>> import protogen
    >>> net = protogen.loads('''
    ...     layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
    ...     layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
    ...             convolution_param { num_output: 4 kernel_size: 3 } }''')
    >>> net.shapes["conv"], net.param_shapes["conv"], net.inputs, net.outputs
    ((1, 4, 6, 6), [(4, 3, 3, 3), (4,)], ['data'], ['conv'])
    """

    def __init__(
        self, definition: Message, *, phase: str = "TEST", level: int = 0, stages: Iterable[str] = (),
        inputs: Mapping[str, Sequence[int]] | None = None, source: str = "", strict: bool | None = None,
        groups: Mapping[str, str] | None = None, blob_counts: Mapping[str, int] | None = None,
        analysis: Analysis | None = None, rules: ReadingRules = DEFAULT, like: Net | None = None,
        outputs: Sequence[str] | None = None, lenient: bool = False,
    ) -> None:  # fmt: skip
        self.definition = definition
        self._outputs = None if outputs is None else list(outputs)
        self.state = State.of(definition, phase, level, stages)
        self.source, self.strict = source, strict
        self._groups, self._blob_counts = dict(groups or {}), dict(blob_counts or {})
        self._input_shapes = shapes_of(inputs)
        self._weights: WeightStore | None = None
        self.has_trimmed_end = False
        if analysis is None:
            layers = layers_by_state(definition, self.state, self._groups, source, self._blob_counts)
            analysis = analyse(*layers, phase, self._input_shapes, rules, like.analysis.warned if like else None, lenient)
        self.analysis: Analysis = analysis
        self.layers: list[Layer] = self.analysis.layers
        self.definition = self.analysis.rewritten(definition)
        self._blob_counts.update({layer.name: layer.blob_count for layer in self.layers if layer.blob_count is not None})
        self.analysis.check_inputs()

    @property
    def name(self) -> str:
        """The net's name, "" if it has none."""
        return self.definition.name

    @property
    def phase(self) -> str:
        """ "TEST" or "TRAIN"."""
        return self.state.phase

    @property
    def rules(self) -> ReadingRules:
        """How the net is read where its definition leaves something open."""
        return self.analysis.rules

    @property
    def inputs(self) -> list[str]:
        """Blobs fed from outside, in file order: tops of Input and data layers, and random tops of DummyData."""
        needed = None if self._outputs is None else {*self._outputs, *(blob for layer in self.layers for blob in layer.bottoms)}
        return [name for name in self.analysis.inputs if needed is None or name in needed]

    @property
    def outputs(self) -> list[str]:
        """Blobs that no layer reads, in the order they are computed (Caffe lists the same ones alphabetically).

        If there are none, the blobs that Silence layers read. Of a net cut at `outputs`, these blobs.
        """
        return list(self.analysis.outputs if self._outputs is None else self._outputs)

    @property
    def computed(self) -> list[str]:
        """Blobs that layers compute: all but the inputs, plus the inputs that a layer overwrites in place."""
        return self.analysis.computed

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """Shape of every blob by name; an in-place layer and its bottom share one entry.

        Raises:
            NetError: a shape cannot be inferred: an input has none, or a layer type is unknown.
        """
        self.require_shapes()
        return {blob: shape for blob, shape in self.analysis.shapes.items() if shape is not None}

    @cached_property
    def param_shapes(self) -> dict[str, list[Shape]]:
        """Shapes of the learnable blobs of each layer that has any, in Caffe's order.

        Raises:
            NetError: as `shapes`.
        """
        self.require_shapes()
        return {op.layer.name: [blob.shape for blob in op.blobs] for op in self.ops if op.blobs}

    @cached_property
    def ops(self) -> list[LayerType]:
        """The layers, set up for their shapes, in order.

        Raises:
            NetError: as `shapes`.
        """
        self.require_shapes()
        return self.analysis.known_ops

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one forward pass."""
        return sum(op.macs for op in self.ops)

    @property
    def param_count(self) -> int:
        """Number of trained values: all learnable blobs but statistics, shared ones counted once."""
        return self.analysis.param_count

    @property
    def unknown_layers(self) -> list[Layer]:
        """Layers of types that are not registered."""
        return self.analysis.unknown_layers

    @property
    def unknown_types(self) -> list[str]:
        """Types of those layers; a Python layer's includes its class, "Python (module.Class)"."""
        return self.analysis.unknown_types

    @property
    def shared_blobs(self) -> dict[tuple[str, int], tuple[str, int]]:
        """Blobs shared through `param { name }`: (layer, index) of each, and of the blob of the owner that it refers to."""
        return self.analysis.shared_blobs

    def layer(self, name: str) -> Layer:
        """Return the layer called `name`.

        Raises:
            NetError: no such layer; the message suggests the nearest name.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise NetError(f"no layer {name!r}{did_you_mean(name, [layer.name for layer in self.layers])}")

    def at(self, phase: str | None = None, inputs: Mapping[str, Sequence[int]] | None = None, weights: bool = True) -> Net:
        """Return a net of the same definition and weights in another phase, or with other input shapes.

        Args:
            phase: "TEST" or "TRAIN"; by default the net's own.
            inputs: shapes by blob name, such as {"data": (8, 3, 320, 320)}; those of other inputs stay.
            weights: take the weights along; otherwise the new net only has those in its definition.

        Raises:
            NetError, LayerError: as for a new net; the shapes may not suit a layer.
            WeightsError: the weights do not fit the new shapes (an InnerProduct after a larger image, say).
        """
        shapes = {**self._input_shapes, **shapes_of(inputs)}
        return self.redefined(self.definition, shapes, weights, phase=phase or self.phase)

    def known_part(self, postprocess: bool = True, unfit: bool = True) -> Net:
        """Return the net without what `Analysis.known_ends` finds at its end, or itself."""
        ends = self.analysis.known_ends(postprocess, unfit)
        part = self if ends is None else self.cut(outputs=ends)
        part.has_trimmed_end |= ends is not None
        return part

    def to_deploy(self, batch: int | None = None) -> Net:
        """Return the net to deploy of a train/val net: see `protogen.deploy.to_deploy`.

        Raises:
            ProtogenError: unknown shapes, nothing but inputs would be left, or a layer does not work with this batch.
        """
        from .deploy import to_deploy

        return to_deploy(self, batch)

    def redefined(self, definition: Message, inputs: Mapping[str, Sequence[int]], weights: bool = True, **changes: Any) -> Net:
        """Return a net of another definition that is read as this one was, with the weights of the layers that both have.

        Args:
            definition: the NetParameter.
            inputs: input shapes by blob name.
            weights: take the weights along.
            changes: other arguments of `Net`.
        """
        twin = Net(definition, inputs=inputs, **{**self.settings, "like": self, **changes})
        if weights and self._weights is not None:
            from .graph.store import WeightStore

            twin._weights = WeightStore(twin.analysis.known_ops, twin.shared_blobs, like=self._weights)
        return twin

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments by which the net is read, besides its definition and the shapes of its inputs."""
        return {
            "phase": self.phase, "level": self.state.level, "stages": self.state.stages, "source": self.source,
            "strict": self.strict, "groups": self._groups, "blob_counts": self._blob_counts, "rules": self.rules,
            "outputs": self._outputs, "lenient": self.analysis.lenient,
        }  # fmt: skip

    def require_shapes(self) -> None:
        """Check that the shape of every blob is known.

        Raises:
            NetError: names what is missing.
        """
        self.analysis.require_shapes(self.source)

    @property
    def weights(self) -> WeightStore:
        """Learnable blobs as float32 arrays, `{layer: [array, ...]}`; values set are checked against `param_shapes`.

        Initially those in the definition: the `blobs` of its layers.
        """
        if self._weights is None:
            from .graph.store import WeightStore

            self._weights = WeightStore(self.analysis.known_ops, self.shared_blobs)
        return self._weights

    @weights.setter
    def weights(self, values: Mapping[str, Sequence[np.ndarray]]) -> None:
        self.weights.clear()
        for layer, blobs in values.items():
            self.weights[layer] = list(blobs)

    # ---- conversion

    def graph(self, seed: int | None = 0) -> Graph:
        """Return the net as the graph that passes and targets work on.

        Args:
            seed: for Caffe's fillers, which fill blobs the net has no weights for; None leaves them at 0, without taking memory.

        Raises:
            NetError: unknown shapes.
            WeightsError: a filler does not suit its blob.
        """
        from .graph.cut import needed_part
        from .graph.graph import Graph

        graph = Graph.of(
            self.ops, self.outputs, self.weights.weights(seed), name=self.name, phase=self.phase, strict=self.strict,
            origins=(self.source, self.weights.source), has_trimmed_end=self.has_trimmed_end,
        )  # fmt: skip
        return graph if self._outputs is None else needed_part(graph)

    def folded(self, seed: int = 0) -> Net:
        """Return the inference form: BatchNorm, Scale and Bias folded into the preceding layer, Dropout and the like removed.

        Args:
            seed: as for `graph`.

        Raises:
            ConversionError: the net is in phase TRAIN, whose batch statistics cannot be folded.
        """
        from .graph.fold import folded

        return self.with_graph(folded(self.graph(seed)))

    def with_graph(self, graph: Graph, drawn: bool = True) -> Net:
        """Return a net with the layers and weights of a graph that passes derived from this net's graph.

        Its outputs are the blobs that no layer reads: an output of the graph that a layer also reads is not among them. Unless
        `drawn`, layers whose weights fillers drew have none.
        """
        from .targets.caffe.definition import blob_names, definition_of

        names = blob_names(graph)
        layers = [node.op.layer for node in graph.nodes]
        twin = self.redefined(
            definition_of(graph, names), {names[value]: value.shape for value in graph.inputs}, phase=graph.phase, stages=(),
            blob_counts={layer.name: layer.blob_count for layer in layers if layer.blob_count is not None},
            weights=False, outputs=None if self._outputs is None else [names[value] for value in graph.outputs],
        )  # fmt: skip
        nodes = [node for node in graph.nodes if node.weights and (drawn or not any(weight.drawn for weight in node.weights))]
        twin.weights.update({node.op.layer.name: node.arrays for node in nodes})
        return twin

    def to_prototxt(self, templates: str | Path | None = None) -> str:
        """Return the definition as prototxt, with the layers of both phases; Input layers get the shapes set by `inputs`.

        What follows from `rules` is spelled out, so that Caffe computes the same (or rejects a `round_mode` that it lacks).

        Weights in the definition (the `blobs` of its layers) are written as they were read. If a layer's weights have changed
        since, from a file or by assignment, its `blobs` are omitted: the new weights belong in a caffemodel, which the text must
        not contradict. A folded net's text has no `blobs`.

        Args:
            templates: a folder whose templates take precedence over the built-in ones of `templates/prototxt/`.

        Raises:
            ProtogenError: the folder is missing, or one of its templates fails.
        """
        from .graph.placed import with_placed_fields
        from .prototxt.inputs import with_input_shapes, without_blobs
        from .prototxt.writer import write

        other = "TEST" if self.phase == "TRAIN" else "TRAIN"
        definition = with_placed_fields(self.definition, self.analysis, lambda: self.at(other, weights=False).analysis)
        definition = without_blobs(definition, self._weights.outdated if self._weights is not None else set())
        return write(with_input_shapes(definition, self.layers, self._input_shapes), templates)

    def save_prototxt(self, path: str | Path, templates: str | Path | None = None) -> None:
        """Write `to_prototxt(templates)` to a file, atomically."""
        write_text(path, self.to_prototxt(templates))

    def to_torch(self, fold: bool = False, seed: int = 0, freeze: bool = False) -> torch.nn.Module:
        """Return the net as a `torch.nn.Module`, in eval mode for TEST and train mode for TRAIN.

        Args:
            fold: convert the inference form: BatchNorm and Scale folded into convolutions, Dropout removed.
            seed: for Caffe's fillers, which fill blobs the net has no weights for.
            freeze: let weights with `lr_mult: 0` require no gradient, as Caffe's solvers leave them as they are.

        Raises:
            ProtogenError: unknown shapes, or layers without a PyTorch form (all are named).
        """
        from .targets.torch.convert import module_of

        return module_of(self.graph(seed), fold, freeze)

    def to_onnx(self, path: str | Path | None = None, *, outputs: Sequence[str] | None = None, **options: Any) -> onnx.ModelProto:
        """Return the net as an ONNX model of standard ops, and write it to `path` if one is given.

        Args:
            path: the file to write, atomically.
            outputs: blobs that become the model's outputs, with only the layers that they depend on; see `cut`.
            options: `opset=17`, `dynamic_batch=False`, `dynamic_size=False`, `fold=True`, `postprocess=True`, `preprocess=None`,
                `preprocess_from_data=False`, `rename={}`, `names="blob"`, `fp16=False`, `external_data=False`, `seed=0`: see
                `protogen.targets.onnx.options.OnnxOptions`.

        Returns:
            The model. If its weights were written to a separate file, or to `path` and exceed 256 MB, its large initializers
            refer to the written data (external data) instead of holding a second copy; `onnx.load(path)` reads them.

        Raises:
            ProtogenError: unknown shapes, layers without an ONNX form (all are named), or options that do not suit the net.
        """
        if outputs is not None:
            return self.cut(outputs=outputs).to_onnx(path, **options)
        from .targets.onnx.emit import to_onnx
        from .targets.onnx.options import OnnxOptions

        settings = OnnxOptions.of(options)
        return to_onnx(self.known_part(settings.postprocess).graph(settings.seed), path, settings)

    def save_caffemodel(self, path: str | Path) -> None:
        """Write the weights with layer names, types and blob shapes as a .caffemodel, or as HDF5 if `path` ends in .h5.

        Raises:
            WeightsError: a layer has no weights yet, or they exceed the 2 GB limit of .caffemodel (HDF5 has none).
        """
        from .targets.caffe.files import write_weights

        self.weights.require_complete()
        write_weights(self.graph(), path, hdf5=str(path).lower().endswith(".h5"))

    def save(self, path: str | Path, ending: str | None = None, **options: Any) -> None:
        """Write the net in the format named by the ending of `path`, as `protogen convert` does.

        Args:
            path: the file to write, atomically.
            ending: ".onnx", ".pt2", ".pth", ".prototxt", ".caffemodel" or ".h5"; overrides the ending of `path`.
            options: those of the format, such as `fold=True`: see `protogen.targets.formats.FORMATS`.

        Raises:
            ConversionError: no such format or option, or the format cannot express the net.
            WeightsError: a caffemodel of a net in which some layers have weights and others none.
        """
        from .targets.formats import format_of

        target = format_of(path, ending)
        settings = target.settings(options)
        if target.is_definition and not settings.fold:
            self.save_prototxt(path, settings.templates)
        else:
            part = self.known_part(settings.postprocess) if target.leaves_out(options) else self
            target.write(part.graph(settings.seed), Path(path), settings)

    def fill(self, seed: int = 0) -> Net:
        """Fill every learnable blob that has no weights with the values of its filler; return self."""
        filled = self.weights.filled(seed)
        self.weights.update({layer: filled[layer] for layer in self.weights.missing})
        return self

    def summary(self) -> Summary:
        """Return the layers with shapes, parameters and multiply-accumulates; `print` shows them as a table."""
        from .report.summary import summarise

        return summarise(self)

    def __repr__(self) -> str:
        return f"Net({self.name!r}, {len(self.layers)} layers, {self.phase})"
