"""Net: inputs and outputs, learnable blobs, phases, weights, and layers by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from protogen import NetError, WeightsError
from tests.nets import SMALL, layers


def test_what_a_net_is() -> None:
    net = protogen.loads(SMALL)
    assert (net.name, net.phase, net.inputs, net.outputs) == ("small", "TEST", ["data"], ["fc", "side"])
    assert [layer.name for layer in net.layers] == ["data", "conv", "bn", "scale", "relu", "pool", "fc", "side"]
    conv = net.layer("conv")
    assert (conv.type, conv.bottoms, conv.tops) == ("Convolution", ["data"], ["conv"])


def test_learnable_blobs_in_caffes_order() -> None:
    assert protogen.loads(SMALL).param_shapes == {
        "conv": [(4, 3, 3, 3), (4,)],
        "bn": [(4,), (4,), (1,)],
        "scale": [(4,), (4,)],
        "fc": [(5, 64), (5,)],
    }


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


# ---- cut between blobs


def test_a_part_of_a_net_gives_what_the_whole_gives() -> None:
    net = protogen.models.lenet(batch=2).fill(3)
    x = torch.tensor(np.random.default_rng(0).standard_normal((2, 1, 28, 28)), dtype=torch.float32)
    blobs = net.to_torch().blobs(x)
    part = net.cut({"pool1": (2, 20, 12, 12)}, ["ip1"])
    assert (part.inputs, part.outputs) == (["pool1"], ["ip1"])
    assert list(part.weights) == ["conv2", "ip1"]
    np.testing.assert_array_equal(part.to_torch()(blobs["pool1"]).detach(), blobs["ip1"].detach())


def test_a_part_without_the_labels_has_no_input_for_them() -> None:
    net = protogen.models.lenet(phase="TRAIN").at("TEST", inputs={"data": (2, 1, 28, 28), "label": (2,)}).fill()
    part = net.cut(outputs=["ip2"])
    assert (net.inputs, part.inputs) == (["data", "label"], ["data"])
    assert part.to_torch()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_outputs_of_an_onnx_model() -> None:
    net = protogen.models.lenet(batch=1).fill(3)
    model = net.to_onnx(outputs=["conv1", "ip1"])
    assert [value.name for value in model.graph.output] == ["conv1", "ip1"]
    with pytest.raises(NetError, match="no blob 'ip22' in this net; did you mean 'ip2'"):
        net.to_onnx(outputs=["ip22"])


def test_loading_up_to_a_blob_needs_no_definition_of_what_comes_after() -> None:
    text = protogen.models.lenet(batch=1).to_prototxt() + 'layer { name: "odd" type: "Odd" bottom: "prob" top: "odd" }'
    with pytest.raises(NetError, match="unknown layer type 'Odd'"):
        protogen.loads(text).to_torch()
    assert protogen.loads(text, outputs=["prob"]).outputs == ["prob"]


def test_loading_from_a_blob_needs_no_definition_of_what_comes_before() -> None:
    text = """
        layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
        layer { name: "odd" type: "Odd" bottom: "x" top: "odd" }
        layer { name: "relu" type: "ReLU" bottom: "odd" top: "relu" }
    """
    net = protogen.loads(text, inputs={"odd": (1, 4, 5, 5)})
    assert (net.inputs, net.shapes["relu"]) == (["odd"], (1, 4, 5, 5))
    assert [layer.type for layer in protogen.loads(net.to_prototxt()).layers] == ["Input", "ReLU"]
