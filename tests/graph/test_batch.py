"""Graphs for another number of images per pass."""

from __future__ import annotations

import pytest

import protogen
from protogen import LayerError
from protogen.graph.batch import batch_inputs, with_batch
from tests.nets import small_net

TWO = """layer { name: "in" type: "Input" top: "data" top: "rois" top: "label"
                input_param { shape { dim: 4 dim: 3 dim: 6 dim: 6 } shape { dim: 9 dim: 5 } shape { dim: 4 } } }
layer { name: "pool" type: "ROIPooling" bottom: "data" bottom: "rois" top: "pool"
        roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 1 } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }"""


def test_every_blob_follows_the_batch() -> None:
    graph = small_net().graph()
    twin = with_batch(graph, 5)
    assert [value.shape for value in twin.values] == [(5, *value.shape[1:]) for value in graph.values]
    assert twin.nodes[1].weights == graph.nodes[1].weights


def test_inputs_of_another_kind_stay() -> None:
    graph = protogen.loads(TWO, phase="TRAIN").graph()
    assert [value.name for value in batch_inputs(graph)] == ["data", "label"]
    assert [value.shape for value in with_batch(graph, 1).inputs] == [(1, 3, 6, 6), (9, 5), (1,)]


def test_a_layer_that_wants_its_own_batch() -> None:
    net = protogen.loads("""
        layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 } } }
        layer { name: "r" type: "Reshape" bottom: "data" top: "r" reshape_param { shape { dim: 2 dim: 6 } } }""")
    with pytest.raises(LayerError, match="'r'"):
        with_batch(net.graph(), 1)
