"""`Python` layers, known by name: the code they name is never imported or run."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ..errors import LayerError, excerpt
from .base import LayerType, count
from .data import Source
from .fields import Fields
from .registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from ..prototxt.layer import Layer
    from .forms.onnx_graph import OnnxGraph

_C = TypeVar("_C", bound=type[LayerType])
MAX_PARAM_STR = 4096  # characters; what real nets write has less than 200


def register_python(layer: str, *modules: str) -> Callable[[_C], _C]:
    """Class decorator: make a `LayerType` the one that computes a `Python` layer, told by its class and module.

    Args:
        layer: `python_param { layer }`, the class's name.
        modules: `python_param { module }`, every name that nets use for the module.

    >>> from protogen.layers.registry import unregister
    >>> @register_python("Twice", "my.layers")
    ... class Twice(LayerType):
    ...     def setup(self):
    ...         self.tops = list(self.bottoms)
    ...     def forward(self, x, *, blobs, training):
    ...         return 2 * x
    >>> unregister("Python (my.layers.Twice)")
    """
    return register(*(f"Python ({module}.{layer})" for module in modules))


def arguments(layer: Layer) -> dict[str, Any]:
    """The named values in a Python layer's `param_str`: a dict as Python or YAML writes one.

    Only literals are read: numbers, strings, lists, dicts, true and false.

    Raises:
        LayerError: the text is something else, or longer than `MAX_PARAM_STR` characters.

    >>> from protogen.prototxt.layer import Layer
    >>> from protogen.prototxt.message import Message
    >>> def read(text):
    ...     return arguments(Layer(Message.of("LayerParameter", python_param={"param_str": text})))
    >>> read("'feat_stride': 16"), read("{'ratios': [0.5, 1], 'min': 3}"), read("top: 6000\\nuse: false # yes")
    ({'feat_stride': 16}, {'ratios': [0.5, 1], 'min': 3}, {'top': 6000, 'use': False})
    """
    text = layer.message.python_param.param_str.strip()
    if len(text) > MAX_PARAM_STR:
        raise LayerError(f"{layer.label}: its param_str has {len(text):,} characters; up to {MAX_PARAM_STR:,} are read")
    for candidate in (text, "{" + text + "}"):
        value = _literal(candidate)
        if isinstance(value, dict):
            return {str(key): item for key, item in value.items()}
    values = {}
    for line in text.strip("{}").replace("\n", ";" if "\n" in text else "\n").split(";"):
        key, colon, value = line.partition(" #")[0].partition(":")
        if colon:
            values[key.strip().strip("'\"")] = _scalar(value.strip())
        elif key.strip() and not key.lstrip().startswith("#"):
            raise LayerError(f"{layer.label}: its param_str is no list of named values: {excerpt(key.strip())}")
    return values


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def _scalar(text: str) -> Any:
    """A YAML scalar or flow list; text that is neither stays text."""
    words: dict[str, Any] = {"true": True, "yes": True, "false": False, "no": False, "null": None, "~": None, "": None}
    if text.lower() in words:
        return words[text.lower()]
    value = _literal(text)
    return text if value is None else value


class PythonLayer(LayerType):
    """A Python layer that protogen computes: what its `param_str` sets must be known to the class.

    Attributes:
        known_arguments: names of the values in `param_str` that the class uses.
    """

    param_name = "python_param"
    fields = Fields(
        "module layer param_str",
        share_in_parallel="BVLC/caffe src/caffe/proto/caffe.proto:970: one object for all GPUs",
    )
    known_arguments: ClassVar[frozenset[str]] = frozenset()

    def refusals(self) -> list[str]:
        unknown = sorted(set(arguments(self.layer)) - self.known_arguments)
        return super().refusals() + [f"{name!r} of its param_str is not computed" for name in unknown]


@register("Python")
class Python(LayerType):
    """A layer that Caffe runs Python code for (caffe/layers/python_layer.hpp).

    protogen has definitions of well-known ones (`register_python`) and never runs foreign code. One without bottoms is an
    input of the net, whose shapes only `inputs=` can tell; any other is an unknown layer type.
    """

    param_name = "python_param"
    fields = PythonLayer.fields
    n_bottoms = (0, None)
    n_tops = (0, None)

    @classmethod
    def select(cls, layer: Layer) -> type[LayerType] | None:
        return PythonSource if layer.tops and not layer.bottoms else None


class PythonSource(Source):
    """A Python layer without bottoms: a data layer, such as Fast R-CNN's `roi_data_layer.layer`."""

    param_name = "python_param"

    def setup(self) -> None:
        self.tops = self.unknown()


@register_python("SpatialDropoutLayer", "spatial_dropout")
class SpatialDropout(PythonLayer):
    """ENet's dropout of whole channels (TimoSaemann/ENet, spatial_dropout.py).

    `param_str` has the rate `p` and the `phase`, whatever the net's. TRAIN: each channel of each item is zeroed with probability
    p, the rest times 1 / (1 - p); TEST: everything times 1 / (1 - p).
    """

    known_arguments = frozenset(("p", "phase"))
    keeps_place = True

    def setup(self) -> None:
        given = arguments(self.layer)
        try:
            self.rate = float(given["p"])
        except (KeyError, TypeError, ValueError):
            raise self.error("param_str must give the rate: \"{'phase': 'TEST', 'p': '0.1'}\"") from None
        self.check(0 < self.rate < 1, f"p must lie between 0 and 1, not {self.rate:g}")
        self.check(len(self.bottoms[0]) == 4, f"takes a bottom with 4 axes (N, C, H, W), not {self.bottoms[0]}")
        self.drops = given.get("phase") == "TRAIN"
        self.tops = [self.bottoms[0]]

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        from torch.nn import functional as F

        return F.dropout2d(x, self.rate, training) if self.drops else x / (1 - self.rate)

    @property
    def is_identity(self) -> bool:
        return self.drops  # in inference, where nothing is dropped

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        return bottoms[0] if self.drops else graph.add("Mul", bottoms[0], graph.scalar(1 / (1 - self.rate)))


@register_python("EuclideanLossLayer", "pyloss")
class PythonEuclideanLoss(PythonLayer):
    """The loss of Caffe's own example, sum((a - b)^2) / (2 N), as a blob of shape (1,) (caffe/examples/pycaffe/layers/pyloss.py).

    As for any Python layer, `loss_weight` must be given for it to count into the net's loss.
    """

    n_bottoms = (2, 2)
    only_trains = True
    onnx_note = "a loss is for training"

    def setup(self) -> None:
        a, b = self.bottoms
        self.check(count(a) == count(b), f"bottoms must have equally many values; they are {a} and {b}")
        self.tops = [(1,)]

    def forward(self, a: Tensor, b: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        return ((a - b.reshape(a.shape)) ** 2).sum().reshape(1) / a.shape[0] / 2
