"""What follows from a list of layers: which blobs there are, inputs and outputs, and what does not fit together."""

from __future__ import annotations

import pytest

import protogen
from protogen import ConversionError, LayerError, NetError
from tests.nets import SMALL, layers

FC = "inner_product_param { num_output: 2 }"


def test_in_place_layers_share_a_blob() -> None:
    net = protogen.loads(SMALL)
    assert net.shapes == {"data": (2, 3, 8, 8), "conv": (2, 4, 8, 8), "pool": (2, 4, 4, 4), "fc": (2, 5), "side": (2, 4, 1, 1)}


def test_a_blob_read_and_then_worked_on_in_place_is_no_output() -> None:
    net = protogen.loads(layers('name: "relu" type: "ReLU" bottom: "data" top: "data"'))
    assert net.outputs == ["data"]
    net = protogen.loads(SMALL)
    assert "conv" not in net.outputs


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            layers('name: "a" type: "ReLU" bottom: "dota" top: "a"'),
            "layer 'a' .*no layer before it makes its bottom 'dota'; did you mean 'data'",
        ),
        (
            layers('name: "a" type: "ReLU" bottom: "b" top: "a"', 'name: "b" type: "ReLU" bottom: "a" top: "b"'),
            "layer 'a' .*only made later, by layer 'b'.*cycle",
        ),
        (
            layers('name: "a" type: "ReLU" bottom: "data" top: "x"', 'name: "b" type: "ReLU" bottom: "data" top: "x"'),
            "layer 'b' .*top 'x' is already made by layer 'a'",
        ),
        (layers('name: "a" type: "Slice" bottom: "data" top: "x" top: "x"'), "two of its tops have the same name"),
        (layers('name: "a" type: "Eltwise" top: "x"'), "needs at least 1 bottom, has 0"),
        (layers('name: "a" bottom: "data" top: "x"'), "has no type"),
        (
            layers('name: "a" type: "Convolution" bottom: "data" top: "x" convolution_param { num_output: 2 kernel_size: 11 }'),
            "layer 'a' .*11",
        ),
    ],
)
def test_layers_that_do_not_fit(text: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        protogen.loads(text)


def test_layer_errors_say_where() -> None:
    text = layers(
        'name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 4 kernel_size: 3 group: 3 }'
    )
    with pytest.raises(LayerError, match=r"^net\.prototxt:2:7: layer 'c' \(Convolution\)"):
        protogen.loads(text, source="net.prototxt")


def test_unknown_layer_types_read_but_have_no_shapes() -> None:
    net = protogen.loads(
        layers('name: "a" type: "Convolutoin" bottom: "data" top: "x"', 'name: "b" type: "ReLU" bottom: "x" top: "y"')
    )
    assert net.unknown_types == ["Convolutoin"]
    assert [layer.name for layer in net.layers] == ["data", "a", "b"]
    with pytest.raises(NetError, match=r"unknown layer type 'Convolutoin'; did you mean 'Convolution'"):
        _ = net.shapes
    with pytest.raises(NetError, match="Convolutoin"):
        net.to_onnx()


def test_a_loss_without_a_top_makes_one() -> None:
    net = protogen.loads(
        layers(
            'name: "label" type: "Input" top: "label" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } }',
            'name: "loss" type: "EuclideanLoss" bottom: "data" bottom: "label"',
        )
    )
    assert net.outputs == ["loss"]
    assert net.shapes["loss"] == ()


def test_what_silence_alone_reads_is_the_output() -> None:
    """The published colourisation net ends so; without outputs, its converted forms would compute nothing."""
    net = protogen.loads("""
        layer { name: "l" type: "Input" top: "l" top: "label" input_param { shape { dim: 1 dim: 1 dim: 4 dim: 4 } } }
        layer { name: "side" type: "Power" bottom: "l" top: "side" }
        layer { name: "ab" type: "Convolution" bottom: "side" top: "ab" convolution_param { num_output: 2 kernel_size: 1 } }
        layer { name: "relu" type: "ReLU" bottom: "ab" top: "ab" }
        layer { name: "quiet" type: "Silence" bottom: "ab" bottom: "side" bottom: "label" }""")
    assert net.outputs == ["ab"]
    assert [value.name for value in net.to_onnx().graph.output] == ["ab"]
    assert protogen.verify(net).ok
    more = 'layer { name: "prob" type: "Softmax" bottom: "ab" top: "prob" }'
    assert protogen.loads(net.to_prototxt() + more).outputs == ["prob"], "what is unread comes first"


def shared(outputs: int, more: str, other_outputs: int) -> str:
    """Two 1x1 convolutions in a row that share param "w"; `more` goes into the second one's param."""
    a = f'convolution_param {{ num_output: {outputs} kernel_size: 1 }} param {{ name: "w" }}'
    b = f'convolution_param {{ num_output: {other_outputs} kernel_size: 1 }} param {{ name: "w" {more} }}'
    kind = 'type: "Convolution"'
    return layers(f'name: "a" {kind} bottom: "data" top: "a" {a}', f'name: "b" {kind} bottom: "a" top: "b" {b}')


def test_shared_blobs_have_one_shape() -> None:
    with pytest.raises(LayerError, match=r"'b' .*\(4, 3, 1, 1\) cannot share param 'w' .*\(3, 3, 1, 1\) of layer 'a'"):
        protogen.loads(shared(3, "", 4))
    assert protogen.loads(shared(3, "", 3)).shared_blobs == {("b", 0): ("a", 0)}


def test_permissive_sharing_asks_for_equal_sizes_only() -> None:
    """Caffe's share_mode PERMISSIVE: 4x3x1x1 and 1x4x1x3 have twelve values each."""
    permissive = "share_mode: PERMISSIVE"
    text = shared(4, permissive, 1).replace("num_output: 1 kernel_size: 1", "num_output: 1 kernel_h: 1 kernel_w: 3")
    net = protogen.loads(text)
    assert net.param_shapes["b"][0] == (1, 4, 1, 3)
    assert net.to_onnx()
    with pytest.raises(ConversionError, match=r"shares its weight in another shape, \(1, 4, 1, 3\) instead of \(4, 3, 1, 1\)"):
        net.to_torch()
    with pytest.raises(LayerError, match="cannot share"):
        protogen.loads(text.replace(permissive, "share_mode: STRICT"))
    with pytest.raises(LayerError, match="cannot share"):
        protogen.loads(text.replace("kernel_w: 3", "kernel_w: 2"))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ('name: "c" type: "Deconvolution" bottom: "data" top: "data" convolution_param { num_output: 3 kernel_size: 3 }',
         "in place"),
        ('name: "p" type: "Pooling" bottom: "data" top: "data" pooling_param { kernel_size: 2 stride: 2 }', "in place"),
        ('name: "r" type: "ReLU" bottom: "data" top: ""', "name of a top is empty"),
        ('name: "r" type: "Reshape" bottom: "data" top: "r" reshape_param { num_axes: 0 shape { ' + 29 * "dim: 1 " + "} }",
         "would have 33 axes, more than Caffe's 32"),
    ],
)  # fmt: skip
def test_what_caffe_has_no_blob_for_is_refused(layer: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        protogen.loads(layers(layer))


def test_a_summary_shows_a_layer_that_cannot_share_its_weights() -> None:
    net = protogen.loads(shared(3, "", 4), lenient=True)
    assert len(net.analysis.errors) == 1


def test_an_output_to_stop_at_is_quoted_for_the_shell() -> None:
    text = layers('name: "r" type: "ReLU" bottom: "data" top: "a $(x)"', 'name: "u" type: "Unheard" bottom: "a $(x)" top: "u"')
    with pytest.raises(NetError, match=r"use --outputs 'a \$\(x\)' or outputs=\['a \$\(x\)'\]"):
        protogen.loads(text).require_shapes()
