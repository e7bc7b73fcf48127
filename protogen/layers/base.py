"""`LayerType`, the base of all layer types: each knows its parameters, shapes, learnable blobs, cost, PyTorch and ONNX form.

Each family of types is one file of this package. To add a type, subclass `LayerType` under `@register("Name")`; the reader, the
builder, the summary and the conversions to PyTorch and ONNX find it through the registry.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import LayerError, ProtogenError
from ..prototxt.layer import Layer
from ..prototxt.message import Message
from ..rules import DEFAULT, ReadingRules
from ..schema import message_type
from .checks import check_arity, check_loss_weight, check_setup, check_size
from .fields import Fields, field_paths, unknown_fields
from .own_types import blaming
from .readings import Reading, doubt

if TYPE_CHECKING:
    import numpy as np
    import torch

    from .coordinates import AxisMap
    from .forms.onnx_graph import OnnxGraph

Shape = tuple[int, ...]


@dataclass(frozen=True)
class BlobSpec:
    """One learnable blob of a layer.

    Attributes:
        name: name of the parameter in the PyTorch module ("weight", "bias").
        shape: Caffe's shape.
        filler: the FillerParameter that fills it in the absence of weights.
        trainable: False for statistics (BatchNorm's mean, variance, factor): buffers in PyTorch, not counted as
            parameters.
    """

    name: str
    shape: Shape
    filler: Message
    trainable: bool = True

    @property
    def count(self) -> int:
        """Number of values."""
        return count(self.shape)


class LayerType:
    """A layer set up for the shapes of its bottoms, as by Caffe's `LayerSetUp` and `Reshape`.

    Subclasses set the class attributes, fill `tops` and `blobs` in `setup`, and define `forward` (PyTorch) and `onnx`.

    Attributes:
        layer: the layer of the net: name, type, parameters.
        bottoms: shapes of the bottoms.
        phase: "TRAIN" or "TEST".
        rules: how to read what the prototxt leaves open.
        tops: shapes of the tops, set by `setup`.
        blobs: learnable blobs in Caffe's order, set by `setup`.
        macs: multiply-accumulates of one forward pass at these shapes, set by `setup`.
    """

    param_name: ClassVar[str | None] = None  # the type's field of LayerParameter
    # For a type from outside the package: the fields of `param_name`, with their defaults (see `schema.declare`).
    param_fields: ClassVar[Mapping[str, Any] | None] = None
    # Fields that the class computes or that change nothing; None: it computes all fields of `param_name` in the schema.
    fields: ClassVar[Fields | None] = None
    n_bottoms: ClassVar[tuple[int, int | None]] = (1, 1)  # minimum, and maximum or None
    n_tops: ClassVar[tuple[int, int | None]] = (1, 1)
    is_input: ClassVar[bool] = False  # a source: all its tops are fed from outside; see `fed_tops`
    is_loss: ClassVar[bool] = False  # the first top counts towards the net's loss by default
    has_gradient: ClassVar[bool] = True
    is_postprocess: ClassVar[bool] = False  # turns a net's predictions into detections; `to_onnx(postprocess=False)` cuts it off
    # Used only in training, or to measure a net (losses, accuracies, mining, sampling of targets): left out of ONNX models.
    only_trains: ClassVar[bool] = False
    # For a type with `only_trains`: in inference its first top equals its first bottom, and its other tops are not needed. In an
    # ONNX model, the readers of its first top read its first bottom.
    passes_first: ClassVar[bool] = False
    # For a loss: the type of the layer that a net to deploy has in its place ("Softmax"); "" if its bottoms are the predictions.
    prediction: ClassVar[str] = ""
    decoder: ClassVar[str] = ""  # for a loss of detections: the layers that turn its predictions into boxes, for messages only
    onnx_note: ClassVar[str] = ""  # why there is no ONNX form, for messages only
    # Bottoms that carry labels or indices: random inputs for them are small whole numbers.
    index_bottoms: ClassVar[tuple[int, ...]] = ()
    # Along height and width, each value of the (first) top comes from the same position of the first bottom; see `coordinates`.
    keeps_place: ClassVar[bool] = False
    shares_memory: ClassVar[bool] = False  # in Caffe, the tops lie in the memory of the bottom: Reshape, Split
    # Axis of the tops whose size depends on the data; there `tops` has Caffe's placeholder.
    dynamic_rows: ClassVar[int | None] = None
    is_exportable: ClassVar[bool] = True  # whether `torch.export` can follow the layer; not if its steps depend on the data
    # Forms of the type that differ only in their number of learnable blobs, by that number: see `reading`.
    readings: ClassVar[Mapping[int, Reading]] = {}
    text_decides = True  # whether the prototxt determines which of `readings` the layer is
    _guess: int | None = None

    def __init__(self, layer: Layer, bottoms: Sequence[Shape], phase: str, rules: ReadingRules = DEFAULT) -> None:
        self.layer, self.rules = layer, rules
        self.bottoms: list[Shape] = [tuple(shape) for shape in bottoms]
        self.phase = phase
        self.tops: list[Shape] = []
        self.blobs: list[BlobSpec] = []
        self.macs = 0
        check_arity(self, "bottom", len(self.bottoms), self.n_bottoms)
        check_arity(self, "top", len(layer.tops), self.n_tops)
        flags = len(layer.message.propagate_down)
        self.check(flags in (0, len(bottoms)), f"{flags} values of propagate_down for {len(bottoms)} bottoms")
        check_loss_weight(self)
        with blaming(self, "setup"):
            self.setup()
        check_setup(self)
        for shape in filter(None, self.tops):  # a source's shapes may be unknown
            check_size(self, "top", shape)
        for blob in self.blobs:
            check_size(self, "blob " + blob.name, blob.shape)

    def for_layer(self, layer: Layer) -> LayerType:
        """The same set-up for another layer with the same type, parameters and bottom shapes."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__, layer=layer)
        return twin

    def at(self, bottoms: Sequence[Shape]) -> LayerType:
        """The same layer set up for other bottom shapes.

        Raises:
            LayerError: it does not work with these shapes.
        """
        return type(self)(self.layer, bottoms, self.phase, self.rules)

    def derived(self, param: Mapping[str, Any], without: Sequence[str] = (), **attributes: Any) -> LayerType:
        """The layer with other parameters but the same shapes; `setup` is not run again.

        Args:
            param: fields of `param_name` to set.
            without: fields of `param_name` to remove.
            attributes: attributes to replace, so that they agree with the new parameters.
        """
        assert self.param_name is not None
        message = self.layer.message.without("blobs").copy()
        settings = self.param.copy().update(param)
        for name in without:
            settings.remove(name)
        message.set(self.param_name, settings)
        twin = self.for_layer(Layer(message, self.layer.group, self.layer.source, self.layer.blob_count))
        twin.__dict__.update(attributes)
        return twin

    @classmethod
    def select(cls, layer: Layer) -> type[LayerType] | None:
        """The class that defines `layer`, for types whose name alone does not determine it; by default this class.

        `Python`, for example, looks at the layer's module and class. None means that no class defines the layer.
        """
        return cls

    # ---- to be defined by a layer type

    def setup(self) -> None:
        """Check the parameters against the bottoms' shapes; set `tops` and, where they apply, `blobs` and `macs`.

        Raises:
            LayerError: where Caffe's own CHECKs would fail.
        """
        raise NotImplementedError(f"{type(self).__name__}.setup")

    @property
    def fed_tops(self) -> list[str]:
        """Tops fed from outside as inputs of the net: all tops of a source, none of most other layers.

        `forward`, `module` and `onnx` produce the others.
        """
        return list(self.layer.tops) if self.is_input else []

    def with_tops(self, indices: Sequence[int]) -> Message | None:
        """For a layer without bottoms: the message of a layer that has only these of its tops; None if that is impossible."""
        return None

    def feed(self, given: Mapping[str, Shape]) -> None:
        """For a layer with `fed_tops`: replace the shapes of its tops by those in `given`, by blob name."""
        self.tops = [given.get(top, shape) for top, shape in zip(self.layer.tops, self.tops)]

    if TYPE_CHECKING:
        # Types name their bottoms, `forward(self, x, label, *, blobs, training)`, and take as many as they have; so the method's
        # type leaves its parameters open, and `NetModule` calls it as described in its docstring.
        forward: Callable[..., torch.Tensor | Sequence[torch.Tensor]]
    else:

        def forward(self, *bottoms, blobs, training):
            """Compute the layer in PyTorch, differentiable as Caffe's backward is.

            The bottoms' shapes may differ from `self.bottoms` (in the batch size, say): read sizes from the tensors. Control flow
            must not depend on the values of the data.

            Args:
                bottoms: one tensor per bottom.
                blobs: the learnable blobs as tensors, in Caffe's order and shapes.
                training: whether the module is in train mode.

            Returns:
                The top, or a sequence of tops.
            """
            raise ProtogenError(f"{self.label}: this layer type has no PyTorch form")

    def module(self) -> torch.nn.Module:
        """The `torch.nn.Module` of this layer; by default one that holds the blobs and calls `forward`.

        Override it to use a standard module (`torch.nn.Conv2d`) where that computes exactly the same; its parameters must
        have the names of `blobs` and hold their values in the same order.
        """
        from .forms.torch_module import LayerModule

        return LayerModule(self)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str | Sequence[str]:
        """Emit standard ONNX ops into `graph`.

        Use shapes that follow the batch (`graph.reshape` with 0 and -1), so that a dynamic batch works.

        Args:
            graph: the graph to emit into.
            bottoms: names of the values of the bottoms.
            blobs: names of the values of the learnable blobs.

        Returns:
            The name of the top's value, or a sequence of the tops'.

        Raises:
            ProtogenError: the layer has no ONNX form.
        """
        why = self.onnx_note or "no standard ONNX form is known"
        raise ProtogenError(f"{self.label}: not convertible to ONNX: {why}")

    def example(self, index: int, rng: np.random.Generator) -> np.ndarray | None:
        """A valid random value for bottom `index`, for `verify`; None where normally distributed numbers will do.

        By default that is so for all bottoms but `index_bottoms`, which get small whole numbers.
        """
        return rng.integers(0, 2, self.bottoms[index]) if index in self.index_bottoms else None

    def refusals(self) -> list[str]:
        """Reasons not to convert the layer: settings in its prototxt that change results but that this class does not compute."""
        refusals = [f"{path} is not computed" for path in unknown_fields(self)]
        if self.layer.message.get("phase", self.phase) != self.phase:  # Net::Init then leaves the layer's own phase as it is
            refusals.append(f"phase: {self.layer.message.phase} in a net of phase {self.phase} is not computed")
        return refusals

    @classmethod
    def known_fields(cls) -> Fields:
        """Which fields the class computes, and which change nothing."""
        if cls.fields is not None:
            return cls.fields
        if cls.param_name is None:
            return Fields()
        return Fields(" ".join(message_type("LayerParameter").fields[cls.param_name].message_type.fields))

    @classmethod
    @cache
    def field_paths(cls) -> tuple[frozenset[str], frozenset[str]]:
        """The paths of `known_fields` within a layer of this class: see `fields.field_paths`."""
        return field_paths(cls.param_name or "", cls.known_fields())

    # ---- for layers whose behaviour depends on their place in the net (Crop) or on the rules for reading it (Pooling)

    def window(self) -> Mapping[str, Sequence[int]]:
        """Kernel, stride, pad and dilation of its sliding window, for display: a number for each spatial axis; {} without one."""
        return {}

    def reach(self) -> Sequence[int]:
        """How far apart, along each axis with a map, the first and the last position are that one value of the tops depends on.

        Positions are those of the bottoms. 0: each value depends on one position, as of layers that work on each value alone.
        """
        return [0] * len(self.bottoms[0])

    @property
    def sees_all(self) -> bool:
        """Whether each value of the tops depends on all positions of the bottoms, as that of an InnerProduct."""
        return False

    def coordinates(self) -> Sequence[AxisMap] | None:
        """The map from coordinates of the first bottom to those of the tops, for each axis (see coordinates.py); None if unknown.

        Batch and channel axes always have the identity. By default all axes have it, if the type has `keeps_place`.
        """
        if not self.keeps_place or len(self.tops[0]) != len(self.bottoms[0]):
            return None
        from .coordinates import IDENTITY

        return [IDENTITY] * len(self.bottoms[0])

    @classmethod
    def is_placed(cls, message: Message, rules: ReadingRules) -> bool:
        """Whether the behaviour of a layer with this message depends on the layers before it, or on `rules`."""
        return False

    def place(self, makers: Mapping[str, LayerType]) -> str:
        """Set what depends on the layers before this one.

        Args:
            makers: the layer that first made each blob.

        Returns:
            The text of a warning for users, "" if none is due.

        Raises:
            LayerError: the layers before it do not determine it, and the type has no other rule.
        """
        return ""

    def placed_fields(self) -> Mapping[str, Any]:
        """Fields of LayerParameter that spell out the result of `place` and of `rules`, to mean the same anywhere else."""
        return {}

    def written(self, message: Message, blobs: Container[str]) -> list[Message]:
        """The layers by which a prototxt says what this one computes, whatever its reader's rules; one, if fields can say it.

        `message` is the layer's LayerParameter, not modified; `blobs` are names that no blob between these layers can have.
        """
        return [message.copy().update(self.placed_fields())]

    # ---- for folding (see graph/fold.py); weights are float32 arrays in the order of `blobs`

    @property
    def is_identity(self) -> bool:
        """Whether the tops equal the (first) bottom in inference, so that the layer can be removed."""
        return False

    def affine(self, weights: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
        """(scale, shift) per channel, in float64, if in inference the layer is `x * scale + shift` along axis 1; else None."""
        return None

    def absorb(
        self, weights: list[np.ndarray], scale: np.ndarray, shift: np.ndarray
    ) -> tuple[LayerType, list[np.ndarray]] | None:
        """Merge the layer and a following `* scale + shift` per channel into one layer.

        Args:
            weights: values of `blobs`, float32.
            scale, shift: (C,), one number for each channel of the top, float64.

        Returns:
            The merged layer, set up, and the values of its blobs, float32; None if the layer cannot absorb them.
        """
        return None

    # ---- helpers for `setup`

    @property
    def label(self) -> str:
        """The layer's name and place in error messages."""
        return self.layer.label

    @property
    def param(self) -> Message:
        """The type's own parameters, such as `convolution_param`; defaults where the layer does not set them.

        Raises:
            AttributeError: the type has no `param_name`.
        """
        if self.param_name is None:
            raise AttributeError(f"{type(self).__name__} names no param_name")
        return getattr(self.layer.message, self.param_name)

    def error(self, message: str) -> LayerError:
        """A `LayerError` that begins with the layer's place and name."""
        return LayerError(f"{self.label}: {message}")

    def check(self, condition: bool, message: str) -> None:
        """Check a condition.

        Raises:
            LayerError: `error(message)`, unless `condition` holds.
        """
        if not condition:
            raise self.error(message)

    def reading(self, stated: int | None, usual: int, sure: bool = False) -> int:
        """Decide which of `readings` the layer is.

        Args:
            stated: the number of blobs that the prototxt implies, None if it leaves that open; then the weights decide.
            usual: the number to assume if there are no weights, either.
            sure: whether that assumption needs no warning (see `doubt`).

        Returns:
            The number of blobs, a key of `readings`.
        """
        if stated is not None:
            return stated
        self.text_decides = False
        held = self.layer.blob_count
        if held is not None and held in self.readings:
            return held
        self._guess = None if sure else usual
        return usual

    @property
    def doubt(self) -> str:
        """A warning that neither prototxt nor weights determine which of `readings` the layer is; "" if they do."""
        return "" if self._guess is None else doubt(self.label, self.readings, self._guess)

    def axis(self, index: int, shape: Shape | None = None, what: str = "axis", end: bool = False) -> int:
        """A Caffe axis (negative: from the end) as 0..ndim-1.

        Args:
            index: the axis as in the prototxt.
            shape: the shape it refers to, by default that of the first bottom.
            what: name of the field, for the message.
            end: whether ndim itself is allowed, too.

        Raises:
            LayerError: it is out of range.
        """
        ndim = len(self.bottoms[0] if shape is None else shape)
        if not -ndim <= index < ndim + end:
            raise self.error(f"{what} {index} is out of range for {ndim} axes of shape {shape or self.bottoms[0]}")
        return index + ndim if index < 0 else index

    def same_shape(self, *indices: int) -> None:
        """Check that all bottoms, or those at `indices`, have the same shape.

        Raises:
            LayerError: they differ.
        """
        shapes = [self.bottoms[i] for i in indices] if indices else self.bottoms
        self.check(len(set(shapes)) == 1, f"bottoms must have the same shape, not {', '.join(map(str, shapes))}")


def count(shape: Sequence[int]) -> int:
    """Number of values in a shape: 1 for ()."""
    return math.prod(shape)


@lru_cache(maxsize=16)
def constant_filler(value: float = 0.0) -> Message:
    """A FillerParameter that fills with one value; cached, so it must not be changed."""
    return Message.of("FillerParameter", type="constant", value=value)
