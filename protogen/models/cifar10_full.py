"""Caffe's CIFAR-10 example, "full": three convolutions with normalisation within channels.

Krizhevsky: Learning Multiple Layers of Features from Tiny Images, 2009, has the data; the net is his cuda-convnet's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..net import Net
from ..prototxt.message import Message
from ..training import solver
from .common import check_positive, classified, classifier, gaussian, images
from .registry import model

_PARAM = [{"lr_mult": 1}, {"lr_mult": 2}]
_FOLDER = "examples/cifar10"
TRAIN_BATCH = VAL_BATCH = 100
# Channels, standard deviation of the initial weights, and pooling of each convolution.
_LAYERS = ((32, 1e-4, "MAX"), (32, 0.01, "AVE"), (64, 0.01, "AVE"))


def cifar10_full_solver(net: str, *, snapshot_prefix: str = "cifar10_full", iterations: int = 60000) -> Message:
    """Return the example's SolverParameter for a net of phase TRAIN: 120 epochs of 50000 images, at one learning rate.

    Args:
        net: path of the train/val prototxt.
        snapshot_prefix: path prefix of the snapshots.
        iterations: training iterations of 100 images each.
    """
    return solver(
        net, base_lr=0.001, lr_policy="fixed", weight_decay=0.004, max_iter=iterations, test_iter=100, test_interval=1000,
        display=200, snapshot=10000, snapshot_format="HDF5", snapshot_prefix=snapshot_prefix,
    )  # fmt: skip


@model(
    paper="Krizhevsky: Learning Multiple Layers of Features from Tiny Images, technical report",
    year=2009,
    solver=cifar10_full_solver,
)
def cifar10_full(
    size: int | Sequence[int] = 32,
    *,
    batch: int = 1,
    classes: int = 10,
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """The larger net of Caffe's CIFAR-10 example.

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        classes: outputs of the classifier.
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases,
            SoftmaxWithLoss and Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = cifar10_full()
    >>> len(net.layers), net.param_count, net.macs
    (14, 89578, 12298240)
    """
    check_positive(classes=classes)
    b = classifier("CIFAR10_full" if phase == "TRAIN" else "CIFAR10_full_deploy", phase, train={})
    x = images(
        b, size, batch=batch, phase=phase, mean=(113.9, 123.0, 125.3), scale=1, mirror=False, data_name="cifar",
        train=f"{_FOLDER}/cifar10_train_lmdb", val=f"{_FOLDER}/cifar10_test_lmdb", train_batch=TRAIN_BATCH, val_batch=VAL_BATCH,
    )  # fmt: skip
    for i, (num_output, std, pool) in enumerate(_LAYERS, 1):
        param = _PARAM if i < 3 else None
        x = b.conv(
            x, num_output, 5, stride=1, pad=2, weight_filler=gaussian(std), bias_filler="constant", name=f"conv{i}", param=param
        )
        if i == 1:
            x = b.relu(b.pool(x, pool, 3, stride=2, name="pool1"), name="relu1")
        else:
            x = b.pool(b.relu(x, name=f"relu{i}"), pool, 3, stride=2, name=f"pool{i}")
        if i < 3:
            x = b.lrn(x, 3, 5e-5, norm_region="WITHIN_CHANNEL", name=f"norm{i}")
    decay = [{"lr_mult": 1, "decay_mult": 250}, {"lr_mult": 2, "decay_mult": 0}]
    x = b.fc(x, classes, weight_filler=gaussian(0.01), bias_filler="constant", name="ip1", param=decay)
    return classified(b, x, phase, accuracies={"accuracy": None})
