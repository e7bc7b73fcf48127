"""Names of layers' results, which OpenCV's own importer confirms in test_outputs.py."""

from __future__ import annotations

import protogen
from protogen.graph.fold import folded
from protogen.graph.layer_names import top_names

TEXT = """
    layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 dim: 6 dim: 6 } } }
    layer { type: "Slice" name: "s" bottom: "data" top: "a" top: "b" }
    layer { name: "act" type: "ReLU" bottom: "a" top: "a" }
    layer { name: "act" type: "TanH" bottom: "a" top: "a" }
    layer { name: "act" type: "TanH" bottom: "b" top: "c" }
    layer { type: "ReLU" bottom: "c" top: "c" }
    layer { name: "conv" type: "Convolution" bottom: "a" top: "map" convolution_param { num_output: 1 kernel_size: 1 } }
    layer { name: "end" type: "Silence" bottom: "map" }"""


def test_each_layers_tops() -> None:
    net = protogen.loads(TEXT)
    names = [["in"], ["s", "s.1"], ["act"], ["act_1"], ["act_2"], ["ReLU"], ["map"], ["end"]]
    assert list(top_names(net.ops)) == names


def test_they_outlast_folding_and_other_shapes() -> None:
    graph = protogen.loads(TEXT).graph()
    twin = graph.at({graph.inputs[0]: (2, 4, 9, 9)})
    assert [value.layer_name for value in twin.values] == [value.layer_name for value in graph.values]
    assert [value.layer_name for value in folded(graph).outputs] == ["ReLU"]
