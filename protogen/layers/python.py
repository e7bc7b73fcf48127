"""`Python` layers, known by name: the code they name is never imported or run."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from .base import LayerType, register
from .data import Source

if TYPE_CHECKING:
    from torch import Tensor

    from ..convert.onnx_graph import OnnxGraph
    from ..net import Layer

_PYTHON: dict[tuple[str, str], type[LayerType]] = {}
_T = TypeVar("_T", bound=type[LayerType])
MAX_PARAM_STR = 4096  # characters; what real nets write has less than 200


def register_python(layer: str, *modules: str) -> Callable[[_T], _T]:
    """Class decorator: make a `LayerType` the definition of a `Python` layer, told by its class and module.

    Args:
        layer: `python_param { layer }`, the class's name.
        modules: `python_param { module }`, every name that nets use for the module.

    >>> @register_python("Twice", "my.layers")
    ... class Twice(LayerType):
    ...     def setup(self):
    ...         self.tops = list(self.bottoms)
    ...     def forward(self, x, *, blobs, training):
    ...         return 2 * x
    >>> _PYTHON.pop(("my.layers", "Twice")) is Twice
    True
    """

    def add(cls: _T) -> _T:
        for module in modules:
            _PYTHON[module, layer] = cls
        return cls

    return add


def arguments(layer: Layer) -> dict[str, Any]:
    """The named values in a Python layer's `param_str`: a dict as Python or YAML writes one; {} if it is none of these.

    Only literals are read: numbers, strings, lists, dicts, true and false.

    >>> from protogen.net import Layer
    >>> from protogen.prototxt.message import Message
    >>> def read(text):
    ...     return arguments(Layer(Message.of("LayerParameter", python_param={"param_str": text})))
    >>> read("'feat_stride': 16"), read("{'ratios': [0.5, 1], 'min': 3}"), read("top: 6000\\nuse: false # yes")
    ({'feat_stride': 16}, {'ratios': [0.5, 1], 'min': 3}, {'top': 6000, 'use': False})
    """
    text = layer.message.python_param.param_str.strip()
    if len(text) > MAX_PARAM_STR:
        return {}
    for candidate in (text, "{" + text + "}"):
        value = _literal(candidate)
        if isinstance(value, dict):
            return {str(key): item for key, item in value.items()}
    values = {}
    for line in text.strip("{}").replace("\n", ";" if "\n" in text else "\n").split(";"):
        key, colon, value = line.partition(" #")[0].partition(":")
        if colon:
            values[key.strip().strip("'\"")] = _scalar(value.strip())
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


@register("Python")
class Python(LayerType):
    """A layer that Caffe runs Python code for (caffe/layers/python_layer.hpp).

    protogen has definitions of well-known ones (`register_python`) and never runs foreign code. One without bottoms is an
    input of the net, whose shapes only `inputs=` can tell; any other is an unknown layer type.
    """

    param_name = "python_param"
    n_bottoms = (0, None)
    n_tops = (0, None)

    @classmethod
    def select(cls, layer: Layer) -> type[LayerType] | None:
        python = layer.message.python_param
        definition = _PYTHON.get((python.module, python.layer))
        if definition is None and not layer.bottoms and layer.tops:
            return PythonSource
        return definition


class PythonSource(Source):
    """A Python layer without bottoms: a data layer, such as Fast R-CNN's `roi_data_layer.layer`."""

    param_name = "python_param"

    def setup(self) -> None:
        self.tops = self.unknown()
