"""Nets reshaped by `inputs=` are written with their new shapes."""

from __future__ import annotations

import pytest

import protogen

DEPLOY = """name: "n" input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layer { name: "r" type: "ReLU" bottom: "data" top: "data" }"""
SHAPELESS = """layer { name: "data" type: "Input" top: "data" }
layer { name: "r" type: "ReLU" bottom: "data" top: "data" }"""
TWO = """layer { name: "in" type: "Input" top: "a" top: "b" input_param { shape { dim: 1 dim: 2 } } }
layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "c" }"""
PHASES = """layer { name: "data" type: "Input" top: "data" include { phase: TRAIN } input_param { shape { dim: 64 dim: 2 } } }
layer { name: "data" type: "Input" top: "data" include { phase: TEST } input_param { shape { dim: 8 dim: 2 } } }
layer { name: "r" type: "ReLU" bottom: "data" top: "y" }"""


@pytest.mark.parametrize("text", [DEPLOY, SHAPELESS])
def test_the_new_shape_is_written(text: str) -> None:
    net = protogen.loads(text, inputs={"data": (4, 3, 16, 20)})
    assert protogen.loads(net.to_prototxt()).shapes["data"] == (4, 3, 16, 20)
    assert net.to_onnx().graph.input[0].type.tensor_type.shape.dim[3].dim_value == 20


def test_the_definition_is_left_alone() -> None:
    net = protogen.loads(DEPLOY, inputs={"data": (2, 3, 8, 8)})
    net.to_prototxt()
    assert list(net.definition.layer[0].input_param.shape[0].dim) == [1, 3, 8, 8]


def test_one_shape_for_several_tops() -> None:
    net = protogen.loads(TWO, inputs={"a": (5, 2), "b": (5, 2)})
    assert protogen.loads(net.to_prototxt()).shapes == {"a": (5, 2), "b": (5, 2), "c": (5, 2)}
    lone = protogen.loads(TWO.partition('layer { name: "sum"')[0], inputs={"b": (7,)})
    assert protogen.loads(lone.to_prototxt()).shapes == {"a": (1, 2), "b": (7,)}


def test_only_the_active_phase_is_reshaped() -> None:
    text = protogen.loads(PHASES, inputs={"data": (1, 2)}).to_prototxt()
    assert protogen.loads(text).shapes["data"] == (1, 2)
    assert protogen.loads(text, phase="TRAIN").shapes["data"] == (64, 2)


def test_data_layers_stay_and_a_warning_says_so() -> None:
    text = 'layer { name: "d" type: "Data" top: "x" } layer { name: "r" type: "ReLU" bottom: "x" top: "y" }'
    net = protogen.loads(text, inputs={"x": (1, 3, 8, 8)})
    with pytest.warns(
        protogen.ProtogenWarning, match=r"input shapes are not written for layer 'd' \(Data\): its data determine them"
    ):
        assert "input_param" not in net.to_prototxt()
