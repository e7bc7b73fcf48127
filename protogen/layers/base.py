"""What a layer type is: one class that knows its parameters, shapes, learnable blobs, cost, PyTorch and ONNX form.

A family of types is one file of this package. To add a type, subclass `LayerType` under `@register("Name")`; reader,
builder, summary, PyTorch and ONNX find it through the registry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import LayerError, ProtogenError
from ..prototxt.layer import Layer
from ..prototxt.message import Message
from ..schema import message_type
from .fields import Fields, field_paths, unknown_fields
from .readings import Reading, doubt

if TYPE_CHECKING:
    import numpy as np
    import torch

    from .coordinates import AxisMap
    from .forms.onnx_graph import OnnxGraph

Shape = tuple[int, ...]
MAX_ELEMENTS = 2**31 - 1  # Caffe's Blob::Reshape refuses more: counts are int32


@dataclass(frozen=True)
class BlobSpec:
    """One learnable blob of a layer.

    Attributes:
        name: parameter's name in the PyTorch module ("weight", "bias").
        shape: Caffe's shape.
        filler: the FillerParameter that fills it when no weights are given.
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
    """A layer set up for the shapes of its bottoms, as Caffe's `LayerSetUp` and `Reshape` do it.

    Subclasses set the class attributes, fill `tops` and `blobs` in `setup`, and give `forward` (PyTorch) and `onnx`.

    Attributes:
        layer: the layer of the net: name, type, parameters.
        bottoms: shapes of the bottoms.
        phase: "TRAIN" or "TEST".
        tops: shapes of the tops, set by `setup`.
        blobs: learnable blobs in Caffe's order, set by `setup`.
        macs: multiply-accumulates of one forward pass over the shapes given, set by `setup`.
    """

    param_name: ClassVar[str | None] = None  # the type's field of LayerParameter
    # For a type from outside the package: the fields of `param_name`, with their defaults (see `schema.declare`).
    param_fields: ClassVar[Mapping[str, Any] | None] = None
    # Fields that the class computes or that change nothing; None: it computes every one of `param_name` that the schema knows.
    fields: ClassVar[Fields | None] = None
    n_bottoms: ClassVar[tuple[int, int | None]] = (1, 1)  # least and most
    n_tops: ClassVar[tuple[int, int | None]] = (1, 1)
    is_input: ClassVar[bool] = False  # a source: all its tops are fed from outside; see `fed_tops`
    is_loss: ClassVar[bool] = False  # first top counts into the net's loss by default
    has_gradient: ClassVar[bool] = True
    is_postprocess: ClassVar[bool] = False  # turns a net's predictions into detections; `to_onnx(postprocess=False)` cuts it off
    # Only serves training, or tells how good a net is (losses, accuracies, mining, sampling of targets): ONNX models go without.
    only_trains: ClassVar[bool] = False
    # Of a type that only trains: in inference its first top is its first bottom, and its other tops are not needed. Where such a
    # layer stands in the middle of a net, what reads its first top reads its first bottom in an ONNX model.
    passes_first: ClassVar[bool] = False
    onnx_note: ClassVar[str] = ""  # why there is no ONNX form, in words; nothing follows from them
    # Bottoms that carry labels or indices: random inputs for them are small whole numbers.
    index_bottoms: ClassVar[tuple[int, ...]] = ()
    # Along height and width, each value of its (first) top comes from the same place of its first bottom; see `coordinates`.
    keeps_place: ClassVar[bool] = False
    # Axis of the tops whose size only the data tell; `tops` states Caffe's placeholder.
    dynamic_rows: ClassVar[int | None] = None
    # Forms of the type that only the number of learnable blobs tells apart, by that number: see `reading`.
    readings: ClassVar[Mapping[int, Reading]] = {}
    text_decides = True  # whether the text says which of `readings` the layer is
    _guess: int | None = None

    def __init__(self, layer: Layer, bottoms: Sequence[Shape], phase: str) -> None:
        self.layer = layer
        self.bottoms: list[Shape] = [tuple(shape) for shape in bottoms]
        self.phase = phase
        self.tops: list[Shape] = []
        self.blobs: list[BlobSpec] = []
        self.macs = 0
        self._check_arity("bottom", len(self.bottoms), self.n_bottoms)
        self._check_arity("top", len(layer.tops), self.n_tops)
        flags = len(layer.message.propagate_down)
        self.check(flags in (0, len(bottoms)), f"{flags} values of propagate_down for {len(bottoms)} bottoms")
        self._check_loss_weight()
        self.setup()
        for shape in filter(None, self.tops):  # a source's may be unknown
            self._check_size("top", shape)
        for blob in self.blobs:
            self._check_size("blob " + blob.name, blob.shape)

    def for_layer(self, layer: Layer) -> LayerType:
        """The same set-up for another layer of equal type, parameters and bottoms."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__, layer=layer)
        return twin

    def at(self, bottoms: Sequence[Shape]) -> LayerType:
        """The same layer set up for other shapes of its bottoms.

        Raises:
            LayerError: it does not work with these.
        """
        return type(self)(self.layer, bottoms, self.phase)

    def derived(self, param: Mapping[str, Any], without: Sequence[str] = (), **attributes: Any) -> LayerType:
        """The layer with other parameters, whose shapes are the same; it is not set up anew.

        Args:
            param: fields of `param_name` to set.
            without: fields of it to take out.
            attributes: what follows from them, in place of the attributes that `setup` gave.
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
        """The class that defines `layer`, for types whose name alone does not tell: by default this one.

        `Python` looks at the module and the class named; None says that nothing defines this layer.
        """
        return cls

    # ---- to be given by a layer type

    def setup(self) -> None:
        """Check the parameters against the bottoms' shapes; set `tops`, and `blobs` and `macs` where there are any.

        Raises:
            LayerError: where Caffe's own CHECKs would stop.
        """
        raise NotImplementedError(f"{type(self).__name__}.setup")

    @property
    def fed_tops(self) -> list[str]:
        """Tops that are inputs of the net, fed from outside: all of a source's, none of most other layers'.

        `forward`, `module` and `onnx` give the others.
        """
        return list(self.layer.tops) if self.is_input else []

    def with_tops(self, indices: Sequence[int]) -> Message | None:
        """For a layer without bottoms: the message of a layer that has only these of its tops; None if there is no such layer."""
        return None

    def feed(self, given: Mapping[str, Shape]) -> None:
        """For a layer with `fed_tops`: take the shapes given for them, by blob name, in place of its own."""
        self.tops = [given.get(top, shape) for top, shape in zip(self.layer.tops, self.tops)]

    if TYPE_CHECKING:
        # Types name their bottoms, `forward(self, x, label, *, blobs, training)`, and take as many as they have; so the type of
        # the method says nothing of its parameters, and `NetModule` calls it as its docstring says.
        forward: Callable[..., torch.Tensor | Sequence[torch.Tensor]]
    else:

        def forward(self, *bottoms, blobs, training):
            """The layer in PyTorch: bottoms to its top, or to a sequence of tops; differentiable as Caffe's backward is.

            Shapes other than `self.bottoms` may come in (another batch size, say): read sizes from the tensors. `blobs` are in
            Caffe's order and shapes. Nothing here may depend on the values of the data.

            Args:
                bottoms: tensors, one for each bottom.
                blobs: the learnable blobs, tensors.
                training: whether the module is in train mode.
            """
            raise ProtogenError(f"{self.label}: this layer type has no PyTorch form")

    def module(self) -> torch.nn.Module:
        """The `torch.nn.Module` of this layer; by default one that holds the blobs and calls `forward`.

        Override to use a standard module (`torch.nn.Conv2d`) where that computes exactly the same; its parameters must
        carry the names of `blobs` and hold their values in the same order.
        """
        from .forms.torch_module import LayerModule

        return LayerModule(self)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str | Sequence[str]:
        """Emit standard ONNX ops into `graph` from the values named `bottoms` and `blobs`; return the tops' value names.

        Keep to shapes that follow the batch (`graph.reshape` with 0 and -1), so that a dynamic batch works.
        """
        why = self.onnx_note or "no standard ONNX form is known"
        raise ProtogenError(f"{self.label}: not convertible to ONNX: {why}")

    def example(self, index: int, rng: np.random.Generator) -> np.ndarray | None:
        """A value that the bottom of this index could have, drawn for `verify`; None where normal random numbers will do.

        By default that is so for all but `index_bottoms`, which get small whole numbers.
        """
        return rng.integers(0, 2, self.bottoms[index]) if index in self.index_bottoms else None

    def refusals(self) -> list[str]:
        """Why the layer must not be converted: what its prototxt says that would change its results, unknown to this class."""
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
        """What `known_fields` come to for a layer of this class: see `fields.field_paths`."""
        return field_paths(cls.param_name or "", cls.known_fields())

    # ---- for layers whose place in the net decides what they do (Crop)

    def coordinates(self) -> Sequence[AxisMap] | None:
        """Where its tops have the coordinates of its first bottom, for each axis (see coordinates.py); None where nothing tells.

        Batch and channels stay what they are, whatever becomes of them. By default: as they are, if the type `keeps_place`.
        """
        if not self.keeps_place or len(self.tops[0]) != len(self.bottoms[0]):
            return None
        from .coordinates import IDENTITY

        return [IDENTITY] * len(self.bottoms[0])

    @classmethod
    def is_placed(cls, message: Message) -> bool:
        """Whether the layers before a layer with this message decide what it does."""
        return False

    def place(self, makers: Mapping[str, LayerType], crop: str) -> str:
        """Take what follows from the layers before it, which first made each blob; `crop` is the net's rule (see `Net`).

        Returns:
            What users should be warned of, "" if nothing.

        Raises:
            LayerError: nothing follows, and the type has no other rule.
        """
        return ""

    def placed_fields(self) -> Mapping[str, Any]:
        """Fields of LayerParameter that state what `place` found, so that the layer means the same anywhere else."""
        return {}

    # ---- for folding (see graph/fold.py); weights are float32 arrays in the order of `blobs`

    @property
    def is_identity(self) -> bool:
        """Whether the tops equal the (first) bottom in inference, so that the layer can go."""
        return False

    def affine(self, weights: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
        """(scale, shift) per channel, in float64, if in inference the layer is `x * scale + shift` along axis 1; else None."""
        return None

    def absorb(
        self, weights: list[np.ndarray], scale: np.ndarray, shift: np.ndarray
    ) -> tuple[LayerType, list[np.ndarray]] | None:
        """The layer followed by `* scale + shift` per channel as one layer, or None if it cannot be.

        Args:
            weights: values of `blobs`, float32.
            scale, shift: (C,), one number for each channel of the top, float64.

        Returns:
            The layer set up, and values of its blobs, float32.
        """
        return None

    # ---- help for `setup`

    @property
    def label(self) -> str:
        """What error messages call the layer."""
        return self.layer.label

    @property
    def param(self) -> Message:
        """The type's own parameters, such as `convolution_param`; defaults where the layer gives none."""
        if self.param_name is None:
            raise AttributeError(f"{type(self).__name__} names no param_name")
        return getattr(self.layer.message, self.param_name)

    def error(self, message: str) -> LayerError:
        """A `LayerError` that begins with the layer's place and name."""
        return LayerError(f"{self.label}: {message}")

    def check(self, condition: bool, message: str) -> None:
        """Raise `error(message)` unless `condition` holds."""
        if not condition:
            raise self.error(message)

    def reading(self, stated: int | None, usual: int, sure: bool = False) -> int:
        """Which of `readings` the layer is, by its number of blobs: what the text states or, if None, what its weights have.

        Where they do not tell, either, it is the `usual` one; unless that is `sure`, a warning is due (see `doubt`).
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
        """That neither text nor weights tell which of `readings` the layer is, and what it is taken for; "" where they do."""
        return "" if self._guess is None else doubt(self.label, self.readings, self._guess)

    def axis(self, index: int, shape: Shape | None = None, what: str = "axis", end: bool = False) -> int:
        """A Caffe axis (negative counts from the end) as 0..ndim-1; with `end`, ndim itself is allowed too."""
        ndim = len(self.bottoms[0] if shape is None else shape)
        if not -ndim <= index < ndim + end:
            raise self.error(f"{what} {index} is out of range for {ndim} axes of shape {shape or self.bottoms[0]}")
        return index + ndim if index < 0 else index

    def same_shape(self, *indices: int) -> None:
        """Check that bottoms (all, or those of `indices`) have one shape."""
        shapes = [self.bottoms[i] for i in indices] if indices else self.bottoms
        self.check(len(set(shapes)) == 1, f"bottoms must have one shape, not {', '.join(map(str, shapes))}")

    def _check_arity(self, what: str, number: int, allowed: tuple[int, int | None]) -> None:
        least, most = allowed
        if least <= number and (most is None or number <= most):
            return
        wanted = f"{least}" if least == most else f"at least {least}" if most is None else f"{least} to {most}"
        raise self.error(f"needs {wanted} {what}{'' if wanted == '1' else 's'}, has {number}")

    def _check_loss_weight(self) -> None:
        """As Caffe's `SetLossWeights` (caffe/layer.hpp). A loss layer without any gets one, which two tops refuse."""
        number, n = len(self.layer.message.loss_weight), len(self.layer.tops)
        if number:
            wrong = f"has {n} top{'s' if n != 1 else ''} and {number} of loss_weight; give none, or one for each top"
            self.check(number == n, wrong)
        elif self.is_loss:
            self.check(n == 1, f"is a loss with {n} tops: give loss_weight {n} times, once for each")

    def _check_size(self, what: str, shape: Shape) -> None:
        if any(dim < 0 for dim in shape):
            raise self.error(f"{what} would have the shape {shape}: negative size")
        if count(shape) > MAX_ELEMENTS:
            raise self.error(f"{what} would have the shape {shape}: {count(shape):,} values, more than Caffe's 2^31-1")


def count(shape: Sequence[int]) -> int:
    """Number of values in a shape: 1 for ()."""
    total = 1
    for dim in shape:
        total *= dim
    return total


@lru_cache(maxsize=16)
def constant_filler(value: float = 0.0) -> Message:
    """A FillerParameter that fills with one value; shared, not to be changed."""
    return Message.of("FillerParameter", type="constant", value=value)
