"""Fields of layers from Python values: where they belong, and what is said of those that belong nowhere."""

from __future__ import annotations

from typing import Any

import pytest

import protogen
from protogen.layers.settings import set_fields
from protogen.prototxt.message import Message


def layer(type: str, **fields: Any) -> Message:
    message = Message.of("LayerParameter", type=type)
    set_fields(message, type, fields)
    return message


def test_fields_go_to_the_types_own_message_or_to_the_layer() -> None:
    message = layer("Convolution", num_output=4, kernel_size=3, include={"phase": "TRAIN"}, bias_term=None)
    assert message == Message.of(
        "LayerParameter", type="Convolution", include={"phase": "TRAIN"}, convolution_param={"num_output": 4, "kernel_size": 3}
    )


@pytest.mark.parametrize(
    ("type", "field", "hint"),
    [
        ("Data", {"batch_size": 8}, "data_param={'batch_size': 8}"),
        ("ImageData", {"new_height": 32}, "image_data_param={'new_height': 32}"),
        ("AnnotatedData", {"batch_size": 8}, "data_param={'batch_size': 8}"),
        ("Data", {"crop_size": 32}, "transform_param={'crop_size': 32}"),
        ("Data", {"num_output": 8}, "unknown field 'num_output' in LayerParameter$"),
        ("Silence", {"botom": "x"}, "did you mean 'bottom'"),
    ],
)
def test_a_field_of_another_message_is_told_where_it_belongs(type: str, field: dict[str, Any], hint: str) -> None:
    with pytest.raises(protogen.ProtogenError, match=hint):
        layer(type, **field)


def test_fields_of_an_unknown_type_are_messages() -> None:
    assert layer("Fancy", fancy_param={"x": 1}).get("fancy_param").get("x") == 1
    with pytest.raises(protogen.ProtogenError, match="pass fields of an unknown type as messages"):
        layer("Fancy", x=1)
