"""`Python` layers, recognised by name: their code is never imported or run."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ..errors import LayerError, excerpt
from .base import LayerType, count
from .fields import Fields
from .registry import register
from .source import Source

if TYPE_CHECKING:
    from torch import Tensor

    from ..prototxt.layer import Layer
    from .forms.onnx_graph import OnnxGraph

_C = TypeVar("_C", bound=type[LayerType])
MAX_PARAM_STR = 4096  # characters; real nets use fewer than 200


def register_python(layer: str, *modules: str) -> Callable[[_C], _C]:
    """Class decorator: register a `LayerType` as the class that computes a `Python` layer, recognised by its class and module.

    Args:
        layer: `python_param { layer }`, the class's name.
        modules: `python_param { module }`, all names that nets use for the module.

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
    """The named values in a Python layer's `param_str`, a dict in Python's or YAML's notation.

    Only plain values are read: numbers, strings, lists, tuples, dicts, true and false.

    Raises:
        LayerError: the text is not such a dict, or longer than `MAX_PARAM_STR` characters.

    >>> from protogen.prototxt.layer import Layer
    >>> from protogen.prototxt.message import Message
    >>> def read(text):
    ...     return arguments(Layer(Message.of("LayerParameter", python_param={"param_str": text})))
    >>> read("'feat_stride': 16"), read("{'ratios': [0.5, 1], 'min': 3}"), read("top: 6000\\nuse: false # yes")
    ({'feat_stride': 16}, {'ratios': [0.5, 1], 'min': 3}, {'top': 6000, 'use': False})
    """
    text = layer.message.python_param.param_str.strip()
    if len(text) > MAX_PARAM_STR:
        raise LayerError(f"{layer.label}: its param_str has {len(text):,} characters; at most {MAX_PARAM_STR:,} are allowed")
    value = _literal(text) or _literal("{" + text + "}") or _yaml(text, layer.label)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise LayerError(f"{layer.label}: its param_str does not name its values: {excerpt(text)}")
    return {str(key): item for key, item in value.items()}


def _literal(text: str) -> Any:
    """A dict in Python's notation, which some layers evaluate; None for anything else."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    return value if isinstance(value, dict) else None


def _yaml(text: str, label: str) -> Any:
    """A value in YAML, which most layers read: its safe subset, and the tuples that PyYAML writes, but no other objects."""
    import yaml

    try:
        return yaml.load(text, _loader())
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise LayerError(f"{label}: its param_str is neither YAML nor a dict: {' '.join(str(error).split())}") from error


@cache
def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML's safe subset, with tuples."""

    def as_tuple(loader: Any, node: Any) -> tuple[Any, ...]:
        return tuple(loader.construct_sequence(node))

    Loader.add_constructor("tag:yaml.org,2002:python/tuple", as_tuple)
    return Loader


class PythonLayer(LayerType):
    """A Python layer that protogen computes; a `param_str` with any other arguments is refused.

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
    """A layer for which Caffe runs Python code (caffe/layers/python_layer.hpp).

    protogen defines well-known ones itself (`register_python`) and never runs foreign code. A layer without bottoms is an input
    of the net, whose shapes must be set by `inputs=`; any other is of an unknown type.
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

    `param_str` has the rate `p` and the `phase`, which need not be the net's. TRAIN: each channel of each item is zeroed with
    probability p, the others are multiplied by 1 / (1 - p); TEST: everything is multiplied by 1 / (1 - p).
    """

    known_arguments = frozenset(("p", "phase"))
    keeps_place = True

    def setup(self) -> None:
        settings = arguments(self.layer)
        try:
            self.rate = float(settings["p"])
        except (KeyError, TypeError, ValueError):
            raise self.error("param_str must set the rate: \"{'phase': 'TEST', 'p': '0.1'}\"") from None
        self.check(0 < self.rate < 1, f"p must be between 0 and 1, not {self.rate:g}")
        self.check(len(self.bottoms[0]) == 4, f"takes a bottom with 4 axes (N, C, H, W), not {self.bottoms[0]}")
        self.drops = settings.get("phase") == "TRAIN"
        self.tops = [self.bottoms[0]]

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        from torch.nn import functional as F

        return F.dropout2d(x, self.rate, training) if self.drops else x / (1 - self.rate)

    @property
    def is_identity(self) -> bool:
        return self.drops  # nothing is dropped in inference

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        return bottoms[0] if self.drops else graph.add("Mul", bottoms[0], graph.scalar(1 / (1 - self.rate)))


@register_python("EuclideanLossLayer", "pyloss")
class PythonEuclideanLoss(PythonLayer):
    """The loss of Caffe's example, sum((a - b)^2) / (2 N), as a blob of shape (1,) (caffe/examples/pycaffe/layers/pyloss.py).

    As for any Python layer, `loss_weight` must be set for it to count towards the net's loss.
    """

    n_bottoms = (2, 2)
    only_trains = True
    onnx_note = "a loss is for training"

    def setup(self) -> None:
        a, b = self.bottoms
        self.check(count(a) == count(b), f"bottoms must have the same number of values; they are {a} and {b}")
        self.tops = [(1,)]

    def forward(self, a: Tensor, b: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        return ((a - b.reshape(a.shape)) ** 2).sum().reshape(1) / a.shape[0] / 2
