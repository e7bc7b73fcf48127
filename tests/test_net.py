"""Net and Layer: blobs, shapes, learnable blobs, cost, phases, and what is said when layers do not fit."""

from __future__ import annotations

import numpy as np
import pytest

import protogen
from protogen import LayerError, NetError, WeightsError

DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }\n'
SMALL = (
    'name: "small"\n'
    + DATA
    + """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "side" type: "Pooling" bottom: "conv" top: "side" pooling_param { pool: AVE global_pooling: true } }
"""
)


FC = "inner_product_param { num_output: 2 }"


def layers(*texts: str) -> str:
    return DATA + "\n".join(f"layer {{ {text} }}" for text in texts)


def test_what_a_net_is() -> None:
    net = protogen.loads(SMALL)
    assert (net.name, net.phase, net.inputs, net.outputs) == ("small", "TEST", ["data"], ["fc", "side"])
    assert [layer.name for layer in net.layers] == ["data", "conv", "bn", "scale", "relu", "pool", "fc", "side"]
    conv = net.layer("conv")
    assert (conv.type, conv.bottoms, conv.tops) == ("Convolution", ["data"], ["conv"])


def test_in_place_layers_share_a_blob() -> None:
    net = protogen.loads(SMALL)
    assert net.shapes == {"data": (2, 3, 8, 8), "conv": (2, 4, 8, 8), "pool": (2, 4, 4, 4), "fc": (2, 5), "side": (2, 4, 1, 1)}


def test_learnable_blobs_in_caffes_order() -> None:
    assert protogen.loads(SMALL).param_shapes == {
        "conv": [(4, 3, 3, 3), (4,)],
        "bn": [(4,), (4,), (1,)],
        "scale": [(4,), (4,)],
        "fc": [(5, 64), (5,)],
    }


def test_cost() -> None:
    net = protogen.loads(SMALL)
    assert net.param_count == (4 * 27 + 4) + (4 + 4) + (5 * 64 + 5), "statistics are no parameters"
    convolution, classifier = 2 * 4 * 8 * 8 * 27, 2 * 5 * 64
    assert net.macs == convolution + classifier


def test_a_blob_read_and_then_worked_on_in_place_is_no_output() -> None:
    net = protogen.loads(layers('name: "relu" type: "ReLU" bottom: "data" top: "data"'))
    assert net.outputs == ["data"]
    net = protogen.loads(SMALL)
    assert "conv" not in net.outputs


def test_input_shapes_can_be_given() -> None:
    net = protogen.loads(SMALL, inputs={"data": (1, 3, 32, 24)})
    assert net.shapes["conv"] == (1, 4, 32, 24)
    assert net.inputs == ["data"]
    net = protogen.loads('input: "x" layer { name: "relu" type: "ReLU" bottom: "x" top: "y" }', inputs={"x": [1, 2]})
    assert net.shapes == {"x": (1, 2), "y": (1, 2)}


def test_a_missing_input_shape_says_how_to_give_it() -> None:
    net = protogen.loads('input: "x" layer { name: "relu" type: "ReLU" bottom: "x" top: "y" }')
    assert net.layers
    assert net.to_prototxt()
    with pytest.raises(NetError, match=r"the shape of input 'x' .*--input x=1,3,224,224"):
        _ = net.shapes


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"dat": (1, 3, 8, 8)}, "no input 'dat'; did you mean 'data'"),
        ({"data": (1, 3, 8, -1)}, "negative"),
        ({"data": (2**20, 2**20)}, "more than Caffe's"),
        ({"data": (1, 3, 2)}, "layer .pool. .*4 axes"),
    ],
)
def test_input_shapes_that_do_not_fit(inputs: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(NetError, match=message):
        _ = protogen.loads(SMALL, inputs=inputs).shapes


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
        (layers('name: "a" type: "Eltwise" top: "x"'), "needs at least 2 bottoms, has 0"),
        (layers('name: "a" bottom: "data" top: "x"'), "has no type"),
        (
            layers(*[f'name: "a" type: "InnerProduct" bottom: "data" top: "{top}" {FC}' for top in "xy"]),
            "layer 'a' .*the same name, and both have weights",
        ),
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


def test_layer_by_name() -> None:
    with pytest.raises(NetError, match="no layer 'convo'; did you mean 'conv'"):
        protogen.loads(SMALL).layer("convo")


PHASES = layers(
    'name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 5 }',
    'name: "label" type: "Input" top: "label" input_param { shape { dim: 2 } } include { phase: TRAIN }',
    'name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" include { phase: TRAIN }',
    'name: "prob" type: "Softmax" bottom: "fc" top: "prob" include { phase: TEST }',
    'name: "deep" type: "ReLU" bottom: "fc" top: "deep" include { min_level: 2 }',
    'name: "staged" type: "ReLU" bottom: "fc" top: "staged" include { stage: "extra" }',
    'name: "unstaged" type: "ReLU" bottom: "fc" top: "unstaged" exclude { stage: "extra" }',
)


def test_phase_rules() -> None:
    assert protogen.loads(PHASES).outputs == ["prob", "unstaged"]
    assert protogen.loads(PHASES, phase="TRAIN").outputs == ["loss", "unstaged"]
    assert protogen.loads(PHASES, level=2).outputs == ["prob", "deep", "unstaged"]
    assert protogen.loads(PHASES, stages=["extra"]).outputs == ["prob", "staged"]
    assert protogen.loads(PHASES).to_prototxt().count("layer {") == 8, "the prototxt keeps every phase"


def test_unknown_phase() -> None:
    with pytest.raises(protogen.ProtogenError, match="phase"):
        protogen.loads(PHASES, phase="TRIAN")


def test_at_another_phase_with_the_same_weights() -> None:
    net = protogen.loads(PHASES).fill()
    twin = net.at("TRAIN")
    assert (twin.phase, twin.inputs, net.phase) == ("TRAIN", ["data", "label"], "TEST")
    np.testing.assert_array_equal(twin.weights["fc"][0], net.weights["fc"][0])


def test_weights_by_layer() -> None:
    net = protogen.loads(SMALL)
    assert dict(net.weights) == {}
    net.weights["fc"] = [np.ones((5, 64)), np.zeros(5)]
    assert [blob.dtype for blob in net.weights["fc"]] == [np.float32, np.float32]
    net.weights["fc"] = [np.ones((1, 1, 5, 64)), np.zeros((1, 1, 1, 5))]  # as old files have them
    assert net.weights["fc"][0].shape == (5, 64)
    net.weights = {"fc": [np.zeros((5, 64)), np.zeros(5)]}
    assert list(net.weights) == ["fc"]
    assert not net.weights["fc"][0].any()


@pytest.mark.parametrize(
    ("layer", "blobs", "message"),
    [
        ("fcc", [], "no layer 'fcc' with weights; did you mean 'fc'"),
        ("relu", [], "no layer 'relu' with weights"),
        ("fc", [np.ones((5, 64))], "has 2 blobs .* not 1"),
        ("fc", [np.ones((64, 5)), np.zeros(5)], r"layer 'fc', blob 0: the net's shape is \(5, 64\), the weights' \(64, 5\)"),
    ],
)
def test_weights_that_do_not_fit(layer: str, blobs: list[np.ndarray], message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        protogen.loads(SMALL).weights[layer] = blobs


def test_saving_needs_all_weights(tmp_path) -> None:
    net = protogen.loads(SMALL)
    with pytest.raises(WeightsError, match="layers without weights: 'conv'"):
        net.save_caffemodel(tmp_path / "net.caffemodel")
    assert list(tmp_path.iterdir()) == []
    net.fill(seed=3).save_caffemodel(tmp_path / "net.caffemodel")
    again = protogen.loads(SMALL, weights=tmp_path / "net.caffemodel")
    for layer, blobs in net.weights.items():
        for ours, read in zip(blobs, again.weights[layer]):
            np.testing.assert_array_equal(ours, read)


def test_shared_weights_are_counted_once() -> None:
    fc = 'type: "InnerProduct" bottom: "data" inner_product_param { num_output: 5 } param { name: "w" } param { name: "b" }'
    net = protogen.loads(layers(f'name: "one" top: "one" {fc}', f'name: "two" top: "two" {fc}'))
    assert net.param_count == 5 * 192 + 5
    assert net.shared_blobs == {("two", 0): ("one", 0), ("two", 1): ("one", 1)}
    net.weights["two"] = [np.full((5, 192), 2.0), np.zeros(5)]
    assert net.weights["one"][0][0, 0] == 2


def test_a_loss_without_a_top_makes_one() -> None:
    net = protogen.loads(
        layers(
            'name: "label" type: "Input" top: "label" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } }',
            'name: "loss" type: "EuclideanLoss" bottom: "data" bottom: "label"',
        )
    )
    assert net.outputs == ["loss"]
    assert net.shapes["loss"] == ()


def test_written_and_read_back() -> None:
    net = protogen.loads(SMALL)
    again = protogen.loads(net.to_prototxt())
    assert again.definition == net.definition
    assert again.shapes == net.shapes


def test_converting_leaves_the_net_alone() -> None:
    net = protogen.loads(SMALL).fill()
    before, weights = net.to_prototxt(), {name: [blob.copy() for blob in blobs] for name, blobs in net.weights.items()}
    net.to_torch(fold=True)
    net.to_onnx()
    assert net.to_prototxt() == before
    assert [layer.name for layer in net.layers] == [layer.name for layer in protogen.loads(SMALL).layers]
    for name, blobs in weights.items():
        for kept, now in zip(blobs, net.weights[name]):
            np.testing.assert_array_equal(kept, now)


def test_a_layer_type_from_outside() -> None:
    """A registered definition gives shapes, PyTorch and ONNX alike."""
    from protogen.layers import registry

    @protogen.register("Halve")
    class Halve(protogen.LayerType):
        def setup(self) -> None:
            self.tops = [self.bottoms[0]]

        def forward(self, x, *, blobs, training):  # type: ignore[no-untyped-def]
            return x / 2

        def onnx(self, graph, bottoms, blobs):  # type: ignore[no-untyped-def]
            return graph.add("Mul", bottoms[0], graph.scalar(0.5))

    try:
        net = protogen.loads(layers('name: "half" type: "Halve" bottom: "data" top: "half"'))
        assert net.shapes["half"] == (2, 3, 8, 8)
        report = protogen.verify(net)
        assert report.ok
    finally:
        registry.unregister("Halve")


def test_summary_of_a_net_with_unknown_shapes() -> None:
    net = protogen.loads(layers('name: "a" type: "Odd" bottom: "data" top: "x"', 'name: "b" type: "ReLU" bottom: "x" top: "y"'))
    summary = net.summary()
    assert not summary.complete
    assert [row.shapes for row in summary.rows] == [[(2, 3, 8, 8)], [None], [None]]
    assert "?" in str(summary)


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
