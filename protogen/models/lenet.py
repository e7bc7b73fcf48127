"""LeNet, the digit classifier, as in Caffe's MNIST example.

LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, Proceedings of the IEEE 1998.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..net import Net
from ..prototxt.message import Message
from ..training import solver
from .common import check_positive, classified, classifier, images
from .registry import model

# Weights, then biases; the example sets no decay_mult, so all blobs decay alike.
_PARAM = {"param": [{"lr_mult": 1}, {"lr_mult": 2}]}
_FOLDER = "examples/mnist"  # where Caffe's scripts put the data, relative to Caffe's root
TRAIN_BATCH, VAL_BATCH = 64, 100


def lenet_solver(net: str, *, snapshot_prefix: str = "lenet", iterations: int = 10000) -> Message:
    """Return the example's SolverParameter for a net of `lenet(phase="TRAIN")`: about 11 epochs of MNIST.

    Args:
        net: path of the train/val prototxt.
        snapshot_prefix: path prefix of the snapshots.
        iterations: training iterations of 64 images each.
    """
    return solver(
        net, base_lr=0.01, lr_policy="inv", gamma=1e-4, power=0.75, weight_decay=5e-4, max_iter=iterations,
        test_iter=100, test_interval=500, snapshot=5000, snapshot_prefix=snapshot_prefix,
    )  # fmt: skip


@model(
    paper="LeCun, Bottou, Bengio, Haffner: Gradient-based learning applied to document recognition, Proc. IEEE",
    year=1998,
    solver=lenet_solver,
)
def lenet(
    size: int | Sequence[int] = 28,
    *,
    batch: int = 64,
    channels: int = 1,
    classes: int = 10,
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """LeNet of Caffe's MNIST example, with 431 thousand parameters and 2.3 M multiply-adds at 28 x 28.

    It has max pooling and one ReLU, where the published LeNet-5 has trained subsampling and squashing functions.

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        channels: channels of the image; a train/val net reads 1 (grey) or 3.
        classes: outputs of the classifier.
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases, which
            read the output of Caffe's examples/mnist/create_mnist.sh, SoftmaxWithLoss, and Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = lenet(batch=1)
    >>> len(net.layers), net.param_count, net.macs
    (9, 431080, 2293000)
    """
    check_positive(classes=classes)
    b = classifier("LeNet", phase, {"Convolution": _PARAM, "InnerProduct": _PARAM}, train={})
    x = images(
        b, size, batch=batch, phase=phase, channels=channels, mean=(), scale=1 / 256, mirror=False, data_name="mnist",
        train=f"{_FOLDER}/mnist_train_lmdb", val=f"{_FOLDER}/mnist_test_lmdb", train_batch=TRAIN_BATCH, val_batch=VAL_BATCH,
    )  # fmt: skip
    for i, num_output in enumerate((20, 50), 1):
        x = b.conv(x, num_output, 5, stride=1, bias_filler="constant", name=f"conv{i}")
        x = b.pool(x, "MAX", 2, stride=2, name=f"pool{i}")
    x = b.relu(b.fc(x, 500, bias_filler="constant", name="ip1"), name="relu1")
    x = b.fc(x, classes, bias_filler="constant", name="ip2")
    return classified(b, x, phase, accuracies={"accuracy": None})
