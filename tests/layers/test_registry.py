"""One table of layer types: what it holds, and who may change it."""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest

import protogen
from protogen.errors import ProtogenError, ProtogenWarning
from protogen.layers.activation import ReLU
from protogen.layers.base import LayerType
from protogen.layers.registry import INDEX, built_in_modules, layer_type, layer_types, register, unregister
from tests.commands import fresh_python


def test_the_index_is_what_the_decorators_say() -> None:
    """`python -m protogen.layers.registry` writes it."""
    assert json.loads(INDEX.read_bytes()) == built_in_modules()


def test_a_type_outside_the_index_is_found_too(tmp_path: object) -> None:
    """A contributor who forgets the index gets a failing test, not a missing layer."""
    code = (
        "from protogen.layers import registry; index = registry._index(); index.pop('ReLU');"
        "import sys; print(registry.layer_type('ReLU').__name__)"
    )
    assert fresh_python(code).strip() == "ReLU"


def test_a_net_of_few_types_imports_few_families() -> None:
    code = (
        'import protogen, sys; protogen.loads(\'layer { name: "d" type: "Input" top: "d" input_param { shape { dim: 1 } } } \''
        '\'layer { name: "r" type: "ReLU" bottom: "d" top: "r" }\');'
        "print(*(name for name in sys.modules if name.startswith('protogen.layers.detection')))"
    )
    assert fresh_python(code).strip() == ""


def test_two_built_in_classes_of_one_type_are_refused() -> None:
    second = type("Second", (LayerType,), {"__module__": "protogen.layers.activation"})
    with pytest.raises(ProtogenError, match=r"'ReLU' is registered twice: by ReLU and by Second"):
        register("ReLU")(second)
    assert layer_type("ReLU") is ReLU


def test_replacing_a_type_of_protogen_is_told_or_said() -> None:
    class Mine(LayerType):
        pass

    try:
        with pytest.warns(ProtogenWarning, match=r"'Pooling' is built in, and Mine now replaces it; pass override=True"):
            protogen.register("Pooling")(Mine)
        assert layer_type("Pooling") is Mine
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            protogen.register("ReLU", override=True)(Mine)
        assert layer_type("ReLU") is Mine
        assert layer_types()["ReLU"] is Mine
    finally:
        unregister("Pooling", "ReLU")
    assert layer_type("ReLU") is ReLU
    assert layer_type("Pooling") is not None


def test_layers_of_pythons_are_types_like_any() -> None:
    assert any(name.startswith("Python (") for name in layer_types())


@pytest.mark.parametrize(
    ("names", "message"), [((type("Gain", (LayerType,), {}),), r'@register\("Gain"\)'), ((), "there is none"), ((5,), "not 5")]
)
def test_register_takes_names(names: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ProtogenError, match=message):
        register(*names)
