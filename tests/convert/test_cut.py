"""What ONNX models leave out of a train/val net: losses, accuracies, labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import protogen
from protogen import ConversionError, ProtogenWarning
from protogen.convert.cut import inference_part, measures, without_measures

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


def run(model: onnx.ModelProto, x: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return dict(zip([value.name for value in session.get_outputs()], session.run(None, {given.name: x})))


def test_a_train_val_net_becomes_a_model_of_its_predictions() -> None:
    net = protogen.loads(TRAIN_VAL).fill(3)
    with pytest.warns(ProtogenWarning, match=r"left out of the ONNX model.*'side/loss', 'accuracy', 'loss'$"):
        model = net.to_onnx()
    x = np.random.default_rng(0).standard_normal((5, 3, 8, 8), dtype=np.float32)
    made = run(model, x)
    assert set(made) == {"side", "fc"}, "no labels, no losses, and no blob that only labels went into"
    import torch

    with torch.no_grad():
        blobs = net.to_torch().blobs(torch.tensor(x), torch.zeros(5))
    for name, value in made.items():
        np.testing.assert_allclose(value, blobs[name].numpy(), rtol=1e-5, atol=1e-6)
    assert measures(net)[0] == LEFT_OUT
    assert net.outputs == ["side/loss", "accuracy", "loss"], "the net given stays as it is"


def test_the_rest_is_a_net_to_deploy() -> None:
    net = protogen.loads(TRAIN_VAL).fill(3)
    rest = without_measures(net)
    assert rest.inputs == ["data"]
    assert rest.shapes["data"] == (5, 3, 8, 8)
    again = protogen.loads(rest.to_prototxt())
    assert [layer.name for layer in again.layers] == ["data", "conv", "relu", "side", "drop", "fc"]
    assert again.param_shapes == net.param_shapes


def test_a_prediction_that_others_read_is_an_output_too() -> None:
    more = 'layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }'
    assert set(inference_part(protogen.loads(TRAIN_VAL + more)).outputs) == {"side", "fc", "prob"}


def test_a_measure_that_is_read_stays() -> None:
    net = protogen.loads(TRAIN_VAL + 'layer { name: "twice" type: "Power" bottom: "loss" top: "twice" power_param { scale: 2 } }')
    assert measures(net)[0] == ["side/loss", "accuracy"]
    with pytest.raises(ConversionError, match=r"'loss'.*not convertible to ONNX: a loss is for training only"):
        net.to_onnx()


def test_without_weights_all_that_is_read_counts() -> None:
    net = protogen.loads("""
        layer { name: "in" type: "Input" top: "x" top: "y" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "softmax" type: "Softmax" bottom: "x" top: "p" }
        layer { name: "loss" type: "EuclideanLoss" bottom: "p" bottom: "y" top: "loss" }""")
    rest = without_measures(net)
    assert (rest.inputs, "p" in rest.outputs) == (["x", "y"], True)


def test_nothing_but_a_loss_is_refused_by_name() -> None:
    net = protogen.loads("""
        layer { name: "in" type: "Input" top: "x" top: "y" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "cost" type: "EuclideanLoss" bottom: "x" bottom: "y" top: "loss" }""")
    with pytest.raises(ConversionError, match="'cost'"):
        net.to_onnx()


def test_a_deploy_net_is_not_touched() -> None:
    net = protogen.models.peleenet(size=32, classes=10)
    assert without_measures(net) is net
    assert inference_part(net, postprocess=False) is net


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One shape is enough: there are as many labels as images."""
    from protogen.cli import main

    source, made = tmp_path / "train_val.prototxt", tmp_path / "net.onnx"
    source.write_text(TRAIN_VAL.replace("crop_size: 8", ""))
    with pytest.raises(SystemExit) as end:
        main(["convert", str(source), "-o", str(made), "--input", "data=2,3,8,8"])
    assert end.value.code == 0
    assert "Warning: left out of the ONNX model" in capsys.readouterr().err
    model = onnx.load(made)
    assert [value.name for value in model.graph.input] == ["data"]
    assert [value.name for value in model.graph.output] == ["side", "fc"]
