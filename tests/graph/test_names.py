"""Names that UTF-8 cannot store, in ONNX models and in verification."""

from __future__ import annotations

import onnx

import protogen
from protogen.graph.names import with_text_names, with_version_names

TEXT = r"""
    name: "\377"
    layer { name: "data" type: "Input" top: "\376" input_param { shape { dim: 1 dim: 2 dim: 5 dim: 5 } } }
    layer { name: "\377\376" type: "Convolution" bottom: "\376" top: "\377" convolution_param { num_output: 2 kernel_size: 3 } }
    layer { name: "b\377" type: "BatchNorm" bottom: "\377" top: "\377" }
    layer { name: "taken" type: "ReLU" bottom: "\377" top: "\\udcff" }
"""


def test_names_that_differed_still_differ() -> None:
    model = protogen.loads(TEXT).to_onnx()
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == [r"\udcfe"]
    assert [value.name for value in model.graph.output] == [r"\udcff"], "the blob of that very name keeps it"
    assert r"\udcff_" in {name for node in model.graph.node for name in node.output}
    assert model.graph.name == r"\udcff"


def test_such_a_net_is_verified_blob_by_blob() -> None:
    report = protogen.verify(protogen.loads(TEXT))
    assert report.ok
    assert {row.blob for row in report.rows} == {r"\udcff", r"\udcff_"}


def test_a_graph_of_plain_names_is_returned_as_it_is() -> None:
    graph = protogen.models.peleenet(size=32).graph()
    assert with_text_names(graph) is graph


def test_each_value_of_a_blob_has_a_name_of_its_own() -> None:
    net = protogen.loads("""
        layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }
        layer { name: "a" type: "ReLU" bottom: "x" top: "x" }
        layer { name: "b" type: "TanH" bottom: "x" top: "x" }
        layer { name: "c" type: "Power" bottom: "x" top: "x before b" }""")
    graph = net.graph()
    named = with_version_names(graph)
    assert [value.name for value in named.values] == ["x before a", "x before b_", "x", "x before b"]
    assert [value.name for value in named.inputs] == ["x before a"]
    assert [value.name for value in named.outputs] == [value.name for value in graph.outputs] == ["x before b"]
    assert [value.name for value in graph.values] == ["x", "x", "x", "x before b"], "the graph given stays as it is"
    assert with_version_names(named) is named
