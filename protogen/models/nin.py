"""Network in Network: each convolution is followed by two of 1x1, and the classifier is an average of maps.

Lin, Chen, Yan: Network In Network, ICLR 2014.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..blocks import average
from ..builder import NetBuilder
from ..net import Net
from ..training import BIASED, BVLC_DATA, imagenet_solver
from .common import check_positive, classified, classifier, constant, gaussian, images
from .registry import model

TRAIN_BATCH, VAL_BATCH = 64, 89
nin_solver = imagenet_solver(
    "nin", base_lr=0.01, epochs=22, batch=TRAIN_BATCH, val_batch=VAL_BATCH, step_epochs=10, weight_decay=5e-4
)


@model(paper="Lin, Chen, Yan: Network In Network, ICLR", year=2014, solver=nin_solver)
def nin(
    size: int | Sequence[int] = 224,
    *,
    batch: int = 1,
    classes: int = 1000,
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """Network in Network, the authors' net for ImageNet.

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        classes: outputs of the classifier.
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases,
            SoftmaxWithLoss and Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = nin()
    >>> len(net.layers), net.param_count, net.macs
    (31, 7595176, 1100188800)
    """
    check_positive(classes=classes)
    b = classifier("nin_imagenet", phase, train=BIASED)
    x = images(b, size, batch=batch, phase=phase, **BVLC_DATA, train_batch=TRAIN_BATCH, val_batch=VAL_BATCH)
    x = _conv(b, x, 96, 11, "conv1", "relu0", stride=4, std=0.01)
    x = _mlp(b, x, (96, 96), ("cccp1", "cccp2"), ("relu1", "relu2"))
    x = b.pool(x, "MAX", 3, stride=2, name="pool0")
    x = _conv(b, x, 256, 5, "conv2", "relu3", pad=2)
    x = _mlp(b, x, (256, 256), ("cccp3", "cccp4"), ("relu5", "relu6"))
    x = b.pool(x, "MAX", 3, stride=2, name="pool2")
    x = _conv(b, x, 384, 3, "conv3", "relu7", pad=1, std=0.01)
    x = _mlp(b, x, (384, 384), ("cccp5", "cccp6"), ("relu8", "relu9"))
    x = b.dropout(b.pool(x, "MAX", 3, stride=2, name="pool3"), name="drop")
    x = _conv(b, x, 1024, 3, "conv4-1024", "relu10", pad=1, top="conv4")
    x = _conv(b, x, 1024, 1, "cccp7-1024", "relu11", top="cccp7")
    x = _conv(b, x, classes, 1, "cccp8-1024", "relu12", top="cccp8", std=0.01)
    x = average(b, x, 6, "pool4")
    return classified(b, x, phase, accuracies={"accuracy": None})


def _mlp(b: NetBuilder, x: str, channels: Sequence[int], names: Sequence[str], relus: Sequence[str]) -> str:
    """The two 1x1 convolutions after each of the first three."""
    for num_output, name, relu in zip(channels, names, relus):
        x = _conv(b, x, num_output, 1, name, relu)
    return x


def _conv(
    b: NetBuilder, x: str, num_output: int, kernel_size: int, name: str, relu: str, *, stride: int | None = None,
    pad: int | None = None, std: float = 0.05, top: str | None = None,
) -> str:  # fmt: skip
    x = b.conv(
        x,
        num_output,
        kernel_size,
        stride=stride,
        pad=pad,
        weight_filler=gaussian(std),
        bias_filler=constant(0),
        name=name,
        top=top,
    )
    return b.relu(x, name=relu)
