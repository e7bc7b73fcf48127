"""Layers whose tops are fed from outside."""

from __future__ import annotations

import protogen
from protogen.layers.registry import class_for
from protogen.layers.source import Source, UnknownSource
from protogen.prototxt.layer import Layer
from protogen.prototxt.message import Message


def layer(type: str, **fields: object) -> Layer:
    return Layer(Message.of("LayerParameter", name="x", type=type, **fields))


def test_only_layers_without_bottoms_are_unknown_sources() -> None:
    assert class_for(layer("BoxData", top=["data", "label"])) is UnknownSource
    assert class_for(layer("BoxData", bottom=["a"], top=["data"])) is None
    assert class_for(layer("BoxData")) is None


def test_a_source_reduced_to_some_tops_is_an_input_layer() -> None:
    net = protogen.loads("""layer { name: "d" type: "Data" top: "data" top: "label"
        transform_param { crop_size: 4 } data_param { batch_size: 2 } }""")
    op = net.ops[0]
    assert isinstance(op, Source)
    message = op.with_tops([0])
    assert (message.type, [list(shape.dim) for shape in message.input_param.shape]) == ("Input", [[2, 3, 4, 4]])
