"""The graph of a net: values written once, weights shared by identity, and other shapes of its inputs."""

from __future__ import annotations

import pytest

import protogen
from protogen.errors import LayerError
from tests.nets import begun

TWICE = """
layer { name: "data" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }
layer { name: "early" type: "AbsVal" bottom: "x" top: "early" }
layer { name: "relu" type: "ReLU" bottom: "x" top: "x" }
layer { name: "late" type: "Eltwise" bottom: "x" bottom: "x" top: "late" }
"""


def test_a_blob_overwritten_in_place_is_two_values_of_one_name() -> None:
    graph = protogen.loads(TWICE).graph()
    first, second = (value for value in graph.values if value.name == "x")
    data, early, relu, late = graph.nodes
    assert (data.outputs, early.inputs, relu.inputs, relu.outputs, late.inputs) == (
        [first], [first], [first], [second], [second, second],
    )  # fmt: skip
    assert graph.readers() == {first: 2, second: 2}
    assert graph.inputs == [first] and [value.name for value in graph.blobs] == ["x", "early", "late"]
    assert graph.blobs[0] is second, "what Caffe's blob holds after a pass"


def test_shared_weights_are_one_object_in_each_layers_shape() -> None:
    fc = 'type: "InnerProduct" inner_product_param { num_output: 4 bias_term: false } param { name: "w" }'
    net = protogen.loads(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }'
        f'layer {{ name: "a" bottom: "x" top: "a" {fc} }} layer {{ name: "b" bottom: "a" top: "b" {fc} }}'
    )
    graph = net.graph()
    _, a, b = graph.nodes
    assert a.weights[0] is b.weights[0]
    assert graph.owners() == {a.weights[0]: 2}
    assert a.weights[0].drawn and not net.fill().graph().nodes[1].weights[0].drawn


def test_other_shapes_of_the_inputs_go_through_all_layers() -> None:
    b = begun((1, 3, 8, 8))
    b.softmax(b.global_pool(b.conv("data", 4, 3, name="conv")), name="prob")
    graph = b.build().fill().graph()
    (data,) = graph.inputs
    twin = graph.at({data: (5, 3, 20, 12)})
    assert {value.name: value.shape for value in twin.values}["conv"] == (5, 4, 18, 10)
    assert twin.outputs[0].shape == (5, 4, 1, 1)
    assert [node.weights for node in twin.nodes] == [node.weights for node in graph.nodes], "weights are not copied"
    assert graph.outputs[0].shape == (1, 4, 1, 1), "the graph itself stays"
    with pytest.raises(LayerError, match="layer 'conv'"):
        graph.at({data: (1, 3, 2, 2)})
