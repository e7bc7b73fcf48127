"""LeNet: Caffe's MNIST example message for message, its sizes by hand, the train/val net, the solver, and wrong values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import protogen
from protogen import NetError
from protogen.models import lenet, lenet_solver
from protogen.prototxt.lexer import read_text
from protogen.prototxt.message import Message
from protogen.prototxt.parser import parse
from protogen.prototxt.reader import read_definition, read_solver
from protogen.prototxt.writer import write
from tests.corpus import CORPUS, needs_corpus

EXAMPLE = CORPUS / "BVLC+caffe/examples/mnist"


def published(name: str) -> Message:
    path = Path(EXAMPLE / name)
    return read_definition(read_text(path), str(path))


@needs_corpus
def test_the_deploy_net_is_the_example_message_for_message() -> None:
    mine, theirs = parse(lenet().to_prototxt()), published("lenet.prototxt")
    for a, b in zip(mine.layer, theirs.layer):
        assert a == b
    assert mine == theirs


@needs_corpus
def test_the_train_val_net_has_the_examples_layers() -> None:
    """All equal but for the crop to the images' own size, in grey, which lets the shape be known; the loss comes first."""
    mine, theirs = parse(lenet(phase="TRAIN").to_prototxt()), published("lenet_train_test.prototxt")
    assert mine.name == theirs.name
    ours, others = list(mine.layer), list(theirs.layer)
    assert [layer.name for layer in ours[-2:]] == ["loss", "accuracy"]
    assert ours[-2:] == others[:-3:-1]
    assert ours[2:-2] == others[2:-2]
    for own, other in zip(ours[:2], others[:2]):
        assert own != other
        other.transform_param.set("crop_size", 28)
        other.transform_param.set("force_gray", True)
        assert own == other


@needs_corpus
def test_the_solver_is_the_examples() -> None:
    theirs = read_solver((EXAMPLE / "lenet_solver.prototxt").read_text())
    assert lenet_solver(theirs.net, snapshot_prefix="examples/mnist/lenet") == theirs


def test_the_default_net() -> None:
    """What the example's file holds, for those who do not have it."""
    net = lenet()
    assert (net.name, net.inputs, net.outputs) == ("LeNet", ["data"], ["prob"])
    assert {layer.name: layer.type for layer in net.layers} == {
        "data": "Input", "conv1": "Convolution", "pool1": "Pooling", "conv2": "Convolution", "pool2": "Pooling",
        "ip1": "InnerProduct", "relu1": "ReLU", "ip2": "InnerProduct", "prob": "Softmax",
    }  # fmt: skip
    assert net.shapes == {
        "data": (64, 1, 28, 28), "conv1": (64, 20, 24, 24), "pool1": (64, 20, 12, 12), "conv2": (64, 50, 8, 8),
        "pool2": (64, 50, 4, 4), "ip1": (64, 500), "ip2": (64, 10), "prob": (64, 10),
    }  # fmt: skip
    for name in ("conv1", "conv2", "ip1", "ip2"):
        message = net.layer(name).message
        param = message.convolution_param if name.startswith("conv") else message.inner_product_param
        assert (param.weight_filler.type, param.bias_filler.type) == ("xavier", "constant")
        assert [spec.lr_mult for spec in message.param] == [1, 2]
    assert [net.layer(f"pool{i}").message.pooling_param.pool for i in (1, 2)] == ["MAX", "MAX"]


def test_parameters_and_multiply_accumulates_by_hand() -> None:
    net = lenet(batch=1)
    weights = 20 * 5 * 5 + 50 * 20 * 5 * 5 + 500 * 50 * 4 * 4 + 10 * 500
    assert net.param_count == weights + 20 + 50 + 500 + 10
    assert net.macs == 24 * 24 * 20 * 25 + 8 * 8 * 50 * 20 * 25 + 500 * 800 + 10 * 500


def test_options() -> None:
    net = lenet((32, 40), batch=2, channels=3, classes=7)
    assert net.shapes["data"] == (2, 3, 32, 40)
    assert net.shapes["pool2"] == (2, 50, 5, 7)
    assert net.shapes["prob"] == (2, 7)


def test_the_smallest_image() -> None:
    assert lenet(13).shapes["pool2"] == (64, 50, 1, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "height must be positive"),
        ({"size": (28, -1)}, "width must be positive"),
        ({"size": 12}, "layer 'conv2'.*covers 5 pixels"),
        ({"batch": 0}, "batch must be positive"),
        ({"channels": 0}, "channels must be positive"),
        ({"classes": 0}, "classes must be positive"),
        ({"classes": 2**32}, "ip2.*out of range"),
        ({"phase": "VAL"}, "TRAIN or TEST, not 'VAL'"),
        ({"phase": "TRAIN", "size": (28, 32)}, "crop squares"),
        ({"phase": "TRAIN", "channels": 2}, "1 or 3 channels"),
    ],
)
def test_values_no_such_net_can_have(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NetError, match=message):
        lenet(**options)


def test_train_val_net_reads_back_in_both_phases() -> None:
    text = lenet(phase="TRAIN").to_prototxt()
    for phase, batch, outputs in (("TRAIN", 64, {"loss"}), ("TEST", 100, {"loss", "accuracy"})):
        net = protogen.loads(text, phase=phase)
        assert net.shapes["data"] == (batch, 1, 28, 28)
        assert set(net.outputs) == outputs


def test_a_train_val_net_of_colour_images() -> None:
    assert lenet(32, channels=3, phase="TRAIN").shapes["data"] == (64, 3, 32, 32)


def test_weights_of_the_deploy_net_fit_the_train_val_net() -> None:
    assert lenet().param_shapes == lenet(phase="TRAIN").param_shapes


def test_solver() -> None:
    solver = lenet_solver("net.prototxt", iterations=20)
    assert (solver.net, solver.max_iter, solver.lr_policy) == ("net.prototxt", 20, "inv")
    assert solver.test_iter[0] * 100 == 10000, "a validation sees all of MNIST's test images"
    assert read_solver(write(solver)) == solver


def test_it_learns() -> None:
    """Bars at four heights are told apart after a few steps."""
    import torch

    module = lenet(phase="TRAIN").to_torch(seed=1)
    x, label = torch.zeros(4, 1, 28, 28), torch.tensor([0.0, 1, 2, 3])
    for i in range(4):
        x[i, :, 7 * i : 7 * i + 5] = 1
    assert module.blobs(x, label)["ip2"].argmax(1).tolist() != [0, 1, 2, 3]
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    for _ in range(20):
        optimizer.zero_grad()
        module.loss(x, label).backward()
        optimizer.step()
    assert module.blobs(x, label)["ip2"].argmax(1).tolist() == [0, 1, 2, 3]


def test_pytorch_and_onnx_agree() -> None:
    report = protogen.verify(lenet(batch=2))
    assert report.ok, report.verdict
