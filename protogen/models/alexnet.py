"""AlexNet and CaffeNet, which has pooling before normalisation.

Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks, NeurIPS 2012.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..builder import NetBuilder
from ..net import Net
from ..prototxt.message import Message
from ..training import BIASED, BVLC_DATA, solver
from .common import check_positive, classified, classifier, constant, gaussian, images
from .registry import chosen, model, variant

TRAIN_BATCH, VAL_BATCH = 256, 50


@dataclass(frozen=True)
class Preset:
    """What two published definitions differ in: channels, the first convolution's padding, groups, normalisation, image size."""

    channels: tuple[int, int, int, int, int]
    pad: int | None
    group: int | None
    lrn: bool
    size: int


PRESETS = {
    "bvlc": Preset(channels=(96, 256, 384, 384, 256), pad=None, group=2, lrn=True, size=227),
    "torchvision": Preset(channels=(64, 192, 384, 256, 256), pad=2, group=None, lrn=False, size=224),
}


def alexnet_solver(net: str, *, snapshot_prefix: str = "alexnet", iterations: int = 450000) -> Message:
    """Return the SolverParameter of BVLC's models for a net of phase TRAIN: 90 epochs of ImageNet, the rate falling every 20.

    Args:
        net: path of the train/val prototxt.
        snapshot_prefix: path prefix of the snapshots.
        iterations: training iterations of 256 images each.
    """
    return solver(
        net, base_lr=0.01, lr_policy="step", gamma=0.1, stepsize=100000, weight_decay=5e-4, max_iter=iterations, test_iter=1000,
        test_interval=1000, display=20, snapshot=10000, snapshot_prefix=snapshot_prefix,
    )  # fmt: skip


@model(
    paper="Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks, NeurIPS",
    year=2012,
    solver=alexnet_solver,
    choices={"preset": PRESETS},
)
def alexnet(
    size: int | Sequence[int] | None = None,
    *,
    batch: int = 1,
    classes: int = 1000,
    pool_first: bool = False,
    preset: str = "bvlc",
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """AlexNet, with the layers of BVLC's bvlc_alexnet.

    Args:
        size: height and width of the image in pixels, one number for a square; by default the preset's, 227 or 224.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        classes: outputs of the classifier.
        pool_first: pool before normalisation instead of after it, as CaffeNet does.
        preset: "bvlc" (BVLC's file, after the paper; its weights fit) or "torchvision" (after Krizhevsky's later paper, arXiv
            1404.5997: no groups, no normalisation; torchvision's weights fit at 224 x 224).
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases,
            SoftmaxWithLoss and Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = alexnet()
    >>> len(net.layers), net.param_count, net.macs
    (24, 60965224, 724406816)
    """
    style = chosen(preset, PRESETS)
    check_positive(classes=classes)
    b = classifier("CaffeNet" if pool_first else "AlexNet", phase, train=BIASED)
    x = images(
        b, style.size if size is None else size, batch=batch, phase=phase, **BVLC_DATA, train_batch=TRAIN_BATCH,
        val_batch=VAL_BATCH,
    )  # fmt: skip
    bias = 1.0 if pool_first else 0.1
    for i, num_output in enumerate(style.channels, 1):
        kernel, stride, pad = {1: (11, 4, style.pad), 2: (5, None, 2)}.get(i, (3, None, 1))
        x = b.conv(
            x, num_output, kernel, stride=stride, pad=pad, group=style.group if i in (2, 4, 5) else None,
            weight_filler=gaussian(0.01), bias_filler=constant(0 if i in (1, 3) else bias), name=f"conv{i}",
        )  # fmt: skip
        x = b.relu(x, name=f"relu{i}")
        if i in (1, 2, 5):
            x = _reduced(b, x, i, lrn=style.lrn and i != 5, pool_first=pool_first)
    for i in (6, 7):
        x = b.fc(x, 4096, weight_filler=gaussian(0.005), bias_filler=constant(bias), name=f"fc{i}")
        x = b.dropout(b.relu(x, name=f"relu{i}"), name=f"drop{i}")
    x = b.fc(x, classes, weight_filler=gaussian(0.01), bias_filler=constant(0), name="fc8")
    return classified(b, x, phase, accuracies={"accuracy": None})


def _reduced(b: NetBuilder, x: str, i: int, *, lrn: bool, pool_first: bool) -> str:
    """Overlapping max pooling and normalisation, in either order."""
    if lrn and not pool_first:
        x = b.lrn(x, name=f"norm{i}")
    x = b.pool(x, "MAX", 3, stride=2, name=f"pool{i}")
    return b.lrn(x, name=f"norm{i}") if lrn and pool_first else x


caffenet = variant(
    alexnet,
    "caffenet",
    "CaffeNet, BVLC's reference model: AlexNet with pooling before normalisation.",
    pool_first=True,
    preset="bvlc",
)
