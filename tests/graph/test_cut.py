"""What ONNX models leave out of a train/val net: losses, accuracies, labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

import protogen
from protogen import ConversionError, ProtogenWarning
from protogen.graph.cut import inference_part, measures, without_measures
from protogen.layers.registry import unregister
from tests.commands import run_command
from tests.running import run_model

TRAIN_VAL = """
name: "train val"
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
        transform_param { crop_size: 8 scale: 0.5 } data_param { source: "x" batch_size: 5 } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "side" type: "InnerProduct" bottom: "conv" top: "side"
        inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "side/loss" type: "SoftmaxWithLoss" bottom: "side" bottom: "label" top: "side/loss" loss_weight: 0.3 }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "drop" }
layer { name: "fc" type: "InnerProduct" bottom: "drop" top: "fc"
        inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "flipped" type: "Power" bottom: "label" top: "flipped" power_param { scale: -1 shift: 2 } }
layer { name: "quiet" type: "Silence" bottom: "flipped" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
LEFT_OUT = ["side/loss", "accuracy", "loss"]


@pytest.mark.filterwarnings("ignore:data layer 'data'")
def test_a_train_val_net_becomes_a_model_of_its_predictions() -> None:
    net = protogen.loads(TRAIN_VAL).fill(3)
    with pytest.warns(ProtogenWarning, match=r"left out of the ONNX model.*'side/loss', 'accuracy', 'loss'$"):
        model = net.to_onnx()
    x = np.random.default_rng(0).standard_normal((5, 3, 8, 8), dtype=np.float32)
    made = run_model(model, x)
    assert set(made) == {"side", "fc"}, "no labels, no losses, and no blob that only labels went into"
    import torch

    with torch.no_grad():
        blobs = net.to_torch().blobs(torch.tensor(x), torch.zeros(5))
    for name, value in made.items():
        np.testing.assert_allclose(value, blobs[name].numpy(), rtol=1e-5, atol=1e-6)
    assert measures(net.graph())[0] == LEFT_OUT
    assert net.outputs == ["side/loss", "accuracy", "loss"], "the net given stays as it is"


def test_the_rest_is_a_net_to_deploy() -> None:
    net = protogen.loads(TRAIN_VAL).fill(3)
    rest = net.with_graph(without_measures(net.graph()))
    assert rest.inputs == ["data"]
    assert rest.shapes["data"] == (5, 3, 8, 8)
    again = protogen.loads(rest.to_prototxt())
    assert [layer.name for layer in again.layers] == ["data", "conv", "relu", "side", "drop", "fc"]
    assert again.param_shapes == net.param_shapes


def test_a_prediction_that_others_read_is_an_output_too() -> None:
    more = 'layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }'
    assert {value.name for value in inference_part(protogen.loads(TRAIN_VAL + more).graph()).outputs} == {"side", "fc", "prob"}


def test_a_measure_that_is_read_stays() -> None:
    net = protogen.loads(TRAIN_VAL + 'layer { name: "twice" type: "Power" bottom: "loss" top: "twice" power_param { scale: 2 } }')
    assert measures(net.graph())[0] == ["side/loss", "accuracy"]
    with pytest.raises(ConversionError, match=r"'loss'.*not convertible to ONNX: a loss is for training only"):
        net.to_onnx()


SAMPLER = """
layer { name: "in" type: "Input" top: "x" top: "y" input_param { shape { dim: 6 dim: 3 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc"
        inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "draw" type: "Drawn" bottom: "fc" bottom: "y" top: "some" top: "targets" }
layer { name: "draw again" type: "Drawn" bottom: "some" bottom: "targets" top: "fewer" top: "fewer targets" }
layer { name: "out" type: "InnerProduct" bottom: "fewer" top: "out"
        inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "unused" type: "Silence" bottom: "fewer targets" }
"""
COST = 'layer { name: "cost" type: "EuclideanLoss" bottom: "out" bottom: "fewer targets" top: "cost" }'


@pytest.fixture
def drawn() -> Iterator[None]:
    """A layer type that draws every second row, and targets for them."""

    @protogen.register("Drawn")
    class Drawn(protogen.LayerType):
        n_bottoms = n_tops = (2, 2)
        only_trains = True
        onnx_note = "drawing is for training"
        passes_first = True

        def setup(self) -> None:
            self.tops = [(shape[0] // 2, *shape[1:]) for shape in self.bottoms]

    yield
    unregister("Drawn")


@pytest.mark.usefixtures("drawn")
def test_a_layer_that_draws_some_rows_to_train_with_lets_all_pass() -> None:
    net = protogen.loads(SAMPLER + COST).fill(3)
    assert net.shapes["out"] == (1, 3)
    with pytest.warns(ProtogenWarning, match="left out of the ONNX model.*'draw', 'draw again', 'cost'$"):
        model = net.to_onnx()
    x = np.random.default_rng(0).standard_normal((6, 3), dtype=np.float32)
    made = run_model(model, x)
    assert set(made) == {"fc", "out"}, "what it draws from is an output too"
    first, second = (net.weights[name][0] for name in ("fc", "out"))
    np.testing.assert_allclose(made["out"], x @ first.T @ second.T, rtol=1e-4, atol=1e-5)
    rest = net.with_graph(without_measures(net.graph()))
    assert (rest.inputs, rest.shapes["out"]) == (["x"], (6, 3))


@pytest.mark.usefixtures("drawn")
def test_it_stays_where_more_than_its_first_top_is_needed() -> None:
    more = 'layer { name: "double" type: "Power" bottom: "targets" top: "double" power_param { scale: 2 } }'
    net = protogen.loads(SAMPLER + COST + more)
    assert measures(net.graph())[0] == ["draw again", "cost"]
    with pytest.raises(ConversionError, match=r"'draw'.*not convertible to ONNX: drawing is for training"):
        net.to_onnx()


ENDS_IN_OWN_TYPE = """
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
layer { name: "tanh" type: "TanH" bottom: "x" top: "y" }
layer { name: "tell" type: "Tell" bottom: "y" top: "told" }
"""


@pytest.fixture
def tell() -> Iterator[type[protogen.LayerType]]:
    """A layer type of the user's own, without an ONNX form."""

    @protogen.register("Tell")
    class Tell(protogen.LayerType):
        def setup(self) -> None:
            self.tops = [()]

    yield Tell
    unregister("Tell")


@pytest.mark.parametrize("note", ["", "it asks a server"])
def test_a_type_of_ones_own_without_an_onnx_form_is_refused_by_name(tell: type[protogen.LayerType], note: str) -> None:
    """A note says why, in words; it does not make a type one that a model can go without."""
    tell.onnx_note = note
    with pytest.raises(ConversionError, match=f"'tell' .*{note or 'no standard ONNX form'}"):
        protogen.loads(ENDS_IN_OWN_TYPE).to_onnx()


def test_a_type_of_ones_own_that_only_trains_is_left_out(tell: type[protogen.LayerType]) -> None:
    tell.only_trains = True
    with pytest.warns(ProtogenWarning, match="used only in training: 'tell'"):
        model = protogen.loads(ENDS_IN_OWN_TYPE).to_onnx()
    assert [value.name for value in model.graph.output] == ["y"]


def test_what_only_stands_between_measures_goes_with_them() -> None:
    """Losses of each item choose which count, as in online hard example mining."""
    net = protogen.loads("""
        layer { name: "in" type: "Input" top: "x" top: "label" top: "weight"
                input_param { shape { dim: 4 dim: 3 } shape { dim: 4 dim: 1 } shape { dim: 4 dim: 1 } } }
        layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc"
                inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
        layer { name: "box" type: "InnerProduct" bottom: "x" top: "box" inner_product_param { num_output: 5 } }
        layer { name: "each" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "sum" top: "prob" top: "each"
                loss_weight: 0 loss_weight: 0 loss_weight: 0 }
        layer { name: "double" type: "Power" bottom: "each" top: "double" power_param { scale: 2 } }
        layer { name: "mine" type: "BoxAnnotatorOHEM" bottom: "box" bottom: "double" bottom: "label" bottom: "weight"
                top: "kept" top: "weights" box_annotator_ohem_param { roi_per_img: 2 } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "kept" top: "loss" loss_param { ignore_label: -1 } }
        layer { name: "unused" type: "Silence" bottom: "sum" bottom: "prob" bottom: "weights" }""")
    assert measures(net.graph())[0] == ["each", "double", "mine", "loss"]
    rest = without_measures(net.graph())
    assert ([value.name for value in rest.inputs], {value.name for value in rest.outputs}) == (["x"], {"fc", "box"})


def test_a_loss_that_another_layer_weighs_goes_with_that_layer() -> None:
    """As in JunhyeongBak/Caffe_Light_Field: a Power with a loss_weight takes a part of a loss, in place."""
    weighed = """
layer { name: "error" type: "EuclideanLoss" bottom: "fc" bottom: "side" top: "error" }
layer { name: "part" type: "Power" bottom: "error" top: "error" loss_weight: 1 power_param { scale: 0.25 } }
"""
    graph = protogen.loads(TRAIN_VAL + weighed).graph()
    assert {"error", "part"} < set(measures(graph)[0])
    assert [value.name for value in without_measures(graph).outputs] == ["side", "fc"]


def test_without_weights_all_that_is_read_counts() -> None:
    net = protogen.loads("""
        layer { name: "in" type: "Input" top: "x" top: "y" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "softmax" type: "Softmax" bottom: "x" top: "p" }
        layer { name: "loss" type: "EuclideanLoss" bottom: "p" bottom: "y" top: "loss" }""")
    rest = without_measures(net.graph())
    assert [value.name for value in rest.inputs] == ["x", "y"]
    assert "p" in [value.name for value in rest.outputs]


def test_nothing_but_a_loss_is_refused_by_name() -> None:
    net = protogen.loads("""
        layer { name: "in" type: "Input" top: "x" top: "y" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "cost" type: "EuclideanLoss" bottom: "x" bottom: "y" top: "loss" }""")
    with pytest.raises(ConversionError, match="'cost'"):
        net.to_onnx()


def test_constants_are_nothing_to_deploy_either() -> None:
    net = protogen.loads("""
        layer { name: "dummy" type: "DummyData" top: "one" top: "noise" dummy_data_param {
          shape { dim: 2 dim: 3 } data_filler { value: 1 } data_filler { type: "gaussian" } } }
        layer { name: "cost" type: "EuclideanLoss" bottom: "one" bottom: "noise" top: "loss" }""")
    with pytest.raises(ConversionError, match="'cost'"):
        net.to_onnx()


def test_a_deploy_net_is_not_touched() -> None:
    net = protogen.models.peleenet(size=32, classes=10)
    graph = net.graph()
    assert without_measures(graph) is graph
    assert inference_part(graph, postprocess=False) is graph


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One shape is enough: there are as many labels as images."""
    source, made = tmp_path / "train_val.prototxt", tmp_path / "net.onnx"
    source.write_text(TRAIN_VAL.replace("crop_size: 8", ""))
    result = run_command(capsys, "convert", source, "-o", made, "--input", "data=2,3,8,8")
    assert result.code == 0
    assert "Warning: left out of the ONNX model" in result.err
    model = onnx.load(made)
    assert [value.name for value in model.graph.input] == ["data"]
    assert [value.name for value in model.graph.output] == ["side", "fc"]
