"""Python layers that only write files."""

from __future__ import annotations

import warnings

import protogen

NET = """
layer { name: "a" type: "Input" top: "a" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
layer { name: "c" type: "Convolution" bottom: "a" top: "c" convolution_param { num_output: 3 kernel_size: 1 } }
layer { name: "show" type: "Python" bottom: "c" top: "trash"
        python_param { module: "visualization_layer" layer: "VisualizationLayer"
                       param_str: "{'path': '.', 'name': 'c', 'mult': 200}" } }
layer { name: "quiet" type: "Silence" bottom: "trash" }
"""


def test_pictures_are_no_part_of_a_model() -> None:
    net = protogen.loads(NET)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = net.to_onnx().graph
    assert ([value.name for value in graph.output], [node.op_type for node in graph.node]) == (["c"], ["Conv"])
