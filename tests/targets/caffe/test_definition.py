"""A graph's definition: layers in place share a blob again, other values get names of their own."""

from __future__ import annotations

import pytest

import protogen
from protogen.targets.caffe.definition import blob_names, definition_of
from tests.nets import begun, small_net


def written(net: protogen.Net) -> protogen.Net:
    graph = net.graph()
    return protogen.Net(definition_of(graph, blob_names(graph)))


@pytest.mark.parametrize("make", [small_net, lambda: protogen.models.peleenet(size=32, classes=4)], ids=["small", "peleenet"])
def test_a_graph_that_nobody_changed_gives_the_definition_back(make) -> None:
    net = make()
    assert written(net).definition == net.definition


def test_rules_of_phases_and_weights_are_left_out() -> None:
    net = protogen.loads("""
        layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } include { phase: TEST } }
        layer { name: "fc" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 1 bias_term: false }
                blobs { shape { dim: 1 dim: 2 } data: [1, 2] } }
        layer { name: "loss" type: "EuclideanLoss" bottom: "y" bottom: "y" top: "l" include { phase: TRAIN } }""")
    again = written(net)
    assert [layer.name for layer in again.layers] == ["in", "fc"]
    assert not [layer for layer in again.layers if "include" in layer.message or "blobs" in layer.message]


def test_a_blob_read_again_after_its_layer_in_place_has_gone_is_another_one() -> None:
    """Folding takes the Dropout out: who read the blob before it and who read it behind it read one value now."""
    b = begun((1, 2, 4, 4))
    b.conv("data", 3, 1, name="conv")
    b.relu("conv", in_place=False, name="early")
    b.dropout("conv")
    b.sigmoid("conv", in_place=False, name="late")
    folded = b.build().fill().folded()
    assert [(layer.name, layer.bottoms, layer.tops) for layer in folded.layers[2:]] == [
        ("early", ["conv"], ["early"]), ("late", ["conv"], ["late"]),
    ]  # fmt: skip


def test_a_value_that_is_still_read_when_it_would_be_overwritten_keeps_a_blob_of_its_own() -> None:
    """The Split between goes in folding, and with it the name of what the Eltwise read."""
    net = protogen.loads("""
        layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }
        layer { name: "tanh" type: "TanH" bottom: "x" top: "t" }
        layer { name: "twin" type: "Split" bottom: "t" top: "twin" }
        layer { name: "relu" type: "ReLU" bottom: "t" top: "t" }
        layer { name: "sum" type: "Eltwise" bottom: "t" bottom: "twin" top: "sum" }""")
    assert [(layer.name, layer.bottoms, layer.tops) for layer in net.folded().layers[1:]] == [
        ("tanh", ["x"], ["t_"]), ("relu", ["t_"], ["t"]), ("sum", ["t", "t_"], ["sum"]),
    ]  # fmt: skip
    assert protogen.verify(net).ok
