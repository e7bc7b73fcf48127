"""Which data layers' preprocessing a net in inference does without."""

from __future__ import annotations

import protogen
from protogen.graph.transforms import lost, transforms

IMAGES = """layer { name: "train" type: "Data" top: "data" top: "label" include { phase: TRAIN }
    transform_param { crop_size: 8 scale: 2 } data_param { batch_size: 2 } }
layer { name: "test" type: "Data" top: "data" top: "label" include { phase: TEST }
    transform_param { crop_size: 8 scale: 3 } data_param { batch_size: 2 } }
"""
LOSS = """layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 3 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }"""


def test_the_data_layer_of_the_nets_own_phase_counts() -> None:
    for phase, scale in (("TRAIN", 2), ("TEST", 3)):
        found = transforms(protogen.loads(IMAGES + LOSS, phase=phase).graph(None))
        assert {name: transform.scale for name, transform in found.items()} == {"data": scale}


def test_a_data_layer_of_labels_does_not_count() -> None:
    label = """layer { name: "truth" type: "Data" top: "label" transform_param { scale: 5 crop_size: 8 force_gray: true }
        data_param { batch_size: 2 } }"""
    conv = """layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
                      convolution_param { num_output: 3 kernel_size: 1 } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "conv" bottom: "label" top: "loss" }"""
    images = IMAGES.replace(' top: "label"', "")
    assert list(transforms(protogen.loads(images + label + conv).graph(None))) == ["data"]


def test_a_crop_alone_changes_no_values() -> None:
    graph = protogen.loads(IMAGES.replace("scale: 3", "") + LOSS).graph(None)
    assert list(transforms(graph)) == ["data"]
    assert lost(graph) == []
