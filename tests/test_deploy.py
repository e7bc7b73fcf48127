"""`Net.to_deploy`: the same weights give the train/val net's predictions, through a file that anyone can load."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import protogen
from protogen import ConversionError, Net, NetError, ProtogenNote
from protogen.deploy import deployment, to_deploy
from tests.corpus import CORPUS, needs_corpus
from tests.running import run_model

DATA = """
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: %s }
        transform_param { crop_size: 8 scale: 0.5 } data_param { source: "x" batch_size: %d } }
"""
BODY = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
        convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
        inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
"""
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }\n'
ACCURACY = 'layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }\n'
TRAIN_VAL = 'name: "both"\n' + DATA % ("TRAIN", 6) + DATA % ("TEST", 5) + BODY + ACCURACY + LOSS

quiet = pytest.mark.filterwarnings("ignore::protogen.ProtogenNote")


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@quiet
@pytest.mark.filterwarnings("ignore:left out of the ONNX model")
@pytest.mark.parametrize("phase", ["TEST", "TRAIN"])
def test_the_weights_of_the_train_val_net_give_its_predictions(phase: str, tmp_path: Path) -> None:
    net = protogen.loads(TRAIN_VAL, phase=phase).fill(3)
    net.weights["bn"] = [np.full(4, 0.2), np.full(4, 0.7), np.ones(1)]
    net.save_caffemodel(tmp_path / "net.caffemodel")
    net.to_deploy().save_prototxt(tmp_path / "deploy.prototxt")
    deployed = protogen.load(tmp_path / "deploy.prototxt", tmp_path / "net.caffemodel")
    assert (deployed.inputs, deployed.outputs, deployed.name) == (["data"], ["prob"], "both")
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8), dtype=np.float32)
    expected = run_model(net.at("TEST", {"data": (1, 3, 8, 8)}).to_onnx(), x)
    assert list(expected) == ["fc"]
    np.testing.assert_allclose(run_model(deployed.to_onnx(), x)["prob"], softmax(expected["fc"]), rtol=1e-5, atol=1e-7)
    loaded = protogen.loads(TRAIN_VAL, tmp_path / "net.caffemodel", phase).to_deploy()
    assert [arrays[0].tolist() for arrays in loaded.weights.values()] == [
        net.weights[name][0].tolist() for name in loaded.weights
    ]
    assert set(loaded.weights) == {"conv", "bn", "fc"}, "weights come along"


@quiet
def test_what_stays_is_as_it_was_written() -> None:
    net = protogen.loads(TRAIN_VAL)
    deployed = net.to_deploy()
    assert [(layer.name, layer.type) for layer in deployed.layers] == [
        *[("data", "Input"), ("conv", "Convolution"), ("bn", "BatchNorm"), ("relu", "ReLU"), ("drop", "Dropout")],
        *[("fc", "InnerProduct"), ("prob", "Softmax")],
    ]
    for name in ("conv", "bn", "relu", "drop", "fc"):
        assert deployed.layer(name).message == net.layer(name).message
    assert "include" not in deployed.to_prototxt()
    assert not deployed.weights, "what has no weights gets none"
    assert net.outputs == ["accuracy", "loss"], "the net itself stays as it is"


@quiet
def test_images_per_pass() -> None:
    net = protogen.loads(TRAIN_VAL)
    assert net.to_deploy().shapes["data"] == (1, 3, 8, 8)
    assert net.to_deploy(batch=7).shapes["prob"] == (7, 3)
    assert protogen.loads(TRAIN_VAL, inputs={"data": (4, 3, 9, 9)}).to_deploy().shapes["data"] == (4, 3, 9, 9)
    with pytest.raises(ConversionError, match="at least one image"):
        net.to_deploy(batch=0)


@quiet
def test_a_batch_that_the_net_states_stays() -> None:
    fixed = 'layer { name: "flat" type: "Reshape" bottom: "data" top: "flat" reshape_param { shape { dim: 5 dim: -1 } } }'
    net = protogen.loads(DATA % ("TEST", 5) + fixed)
    with pytest.warns(ProtogenNote, match="the batch stays as the data layers state it"):
        assert net.to_deploy().shapes == {"data": (5, 3, 8, 8), "flat": (5, 192)}
    with pytest.raises(ConversionError, match="a batch of 15 does not reach output 'flat'"):
        net.to_deploy(batch=15)


@quiet
@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_a_loss_of_phase_train_alone_says_what_the_scores_are(phase: str) -> None:
    only = LOSS.replace('top: "loss"', 'top: "loss" include { phase: TRAIN }')
    deployed = protogen.loads(DATA % ("TRAIN", 6) + DATA % ("TEST", 5) + BODY + ACCURACY + only, phase=phase).to_deploy()
    assert deployed.outputs == ["prob"]


@quiet
def test_a_file_for_phase_train_alone_behaves_as_in_test() -> None:
    text = DATA % ("TRAIN", 6) + BODY + LOSS
    with pytest.raises(NetError):
        protogen.loads(text)
    deployed = protogen.loads(text, phase="TRAIN").fill().to_deploy()
    assert (deployed.phase, deployed.outputs) == ("TEST", ["prob"])
    assert deployed.layer("data").type == "Input"
    assert not deployed.to_torch().training


def test_notes_say_what_is_left_to_others() -> None:
    multibox = """layer { name: "d" type: "AnnotatedData" top: "x" top: "label" data_param { batch_size: 2 }
        transform_param { resize_param { height: 4 width: 4 } } }
    layer { name: "loc" type: "Convolution" bottom: "x" top: "loc" convolution_param { num_output: 4 kernel_size: 1 } }
    layer { name: "loc_flat" type: "Flatten" bottom: "loc" top: "loc_flat" }
    layer { name: "conf" type: "Convolution" bottom: "x" top: "conf" convolution_param { num_output: 2 kernel_size: 1 } }
    layer { name: "conf_flat" type: "Flatten" bottom: "conf" top: "conf_flat" }
    layer { name: "prior" type: "PriorBox" bottom: "loc" bottom: "x" top: "prior" prior_box_param { min_size: 2 } }
    layer { name: "loss" type: "MultiBoxLoss" bottom: "loc_flat" bottom: "conf_flat" bottom: "prior" bottom: "label" top: "loss"
            multibox_loss_param { num_classes: 2 } }"""
    with pytest.warns(
        ProtogenNote, match=r"'loss' \(MultiBoxLoss\): its predictions 'loc_flat', 'conf_flat', 'prior' .* DetectionOutput"
    ):
        assert protogen.loads(multibox).to_deploy().outputs == ["loc_flat", "conf_flat", "prior"]
    side = LOSS.replace('"loss"', '"side"').replace('"fc"', '"conv"').replace("}", "loss_weight: 0.3 }")
    maps = """layer { name: "side_fc" type: "InnerProduct" bottom: "conv" top: "side_fc" inner_product_param { num_output: 3 } }
    """ + side.replace('bottom: "conv"', 'bottom: "side_fc"')
    result: list[Net] = []
    with pytest.warns(ProtogenNote, match=r"losses that weigh less than others are outputs, too: 'side'; .*--outputs"):
        result.append(protogen.loads(DATA.replace("scale: 0.5", "") % ("TEST", 5) + BODY + maps + LOSS).to_deploy())
    assert result[0].outputs == ["side_fc/prob", "fc/prob"]


def test_the_data_layers_preprocessing_is_said() -> None:
    with pytest.warns(
        ProtogenNote, match="data layer 'data' crops the images to 8x8, then multiplies by 0.5: not part of the net"
    ):
        result = deployment(protogen.loads(TRAIN_VAL))
    assert result.comments == "# data layer 'data' crops the images to 8x8, then multiplies by 0.5: not part of this net\n"
    assert result.left_out == ["accuracy", "loss"]
    again = protogen.loads(result.comments + result.net.to_prototxt())
    assert again.outputs == ["prob"]


def test_a_net_to_deploy_stays_one() -> None:
    net = protogen.models.lenet()
    assert to_deploy(net).to_prototxt() == net.to_prototxt()


@quiet
def test_unknown_losses_at_the_end_go_too() -> None:
    text = DATA % ("TEST", 5) + BODY + LOSS.replace("SoftmaxWithLoss", "FancyLoss")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        deployed = protogen.loads(text).to_deploy()
    assert deployed.outputs == ["fc"]
    assert any("FancyLoss" in str(warning.message) for warning in caught)


PUBLIC = {  # a kind of net each: file, shape of its first input, outputs
    "pairs": ("BVLC+caffe/examples/siamese/mnist_siamese_train_test.prototxt", (4, 2, 28, 28), ["feat", "feat_p"]),
    "what it learns is its input": ("BVLC+caffe/examples/mnist/mnist_autoencoder.prototxt", (2, 1, 28, 28), ["decode1neuron"]),
    "data in HDF5": ("BVLC+caffe/examples/hdf5_classification/nonlinear_train_val.prototxt", (2, 4), ["prob"]),
    "boxes": ("chuanqi305+MobileNet-SSD/voc/MobileNetSSD_train.prototxt", None, ["mbox_loc", "mbox_conf", "mbox_priorbox"]),
    "a loss for TRAIN only": ("dgschwend+netscope/presets/nin.prototxt", None, ["prob"]),
}


def public(kind: str) -> Net:
    path, shape, _ = PUBLIC[kind]
    first = "pair_data" if kind == "pairs" else "data"
    inputs = {} if shape is None else {first: shape, **({"label": shape[:1]} if len(shape) == 2 else {})}
    phase = "TRAIN" if kind in ("boxes", "what it learns is its input") else "TEST"
    return protogen.load(CORPUS / path, phase=phase, inputs=inputs)


@needs_corpus
@pytest.mark.filterwarnings("ignore::protogen.ProtogenWarning")
@pytest.mark.parametrize("kind", PUBLIC)
def test_kinds_of_public_nets(kind: str) -> None:
    net = public(kind)
    again = protogen.loads(net.to_deploy().to_prototxt())
    assert again.outputs == PUBLIC[kind][2]
    assert len(again.inputs) == 1
    shape = again.shapes[again.inputs[0]]
    assert shape == (PUBLIC[kind][1] or (1, *shape[1:])), "one image per pass where the file states another number"
    net = net.at(inputs={again.inputs[0]: shape}).fill(1)
    again.weights.update({name: net.weights[name] for name in again.weights.shapes})
    x = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    scores, results = run_model(net.to_onnx(fold=False), x), run_model(again.to_onnx(fold=False), x)
    for layer in again.layers:
        for name in set(layer.tops) & set(results):
            expected = scores[name] if name in scores else softmax(scores[layer.bottoms[0]])
            np.testing.assert_allclose(results[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)
