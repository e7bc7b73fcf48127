"""HED: edges from all stages of VGG-16 at once, each with a loss of its own, and their weighted sum.

Xie, Tu: Holistically-Nested Edge Detection, ICCV 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from ..builder import NetBuilder
from ..net import Net
from ..prototxt.message import Message
from ..training import BIASED, solver
from .common import classifier, constant
from .dense import BLUE_GREEN_RED, pixels
from .fcn import vgg16
from .registry import model


def hed_solver(net: str, *, snapshot_prefix: str = "hed", iterations: int = 30001) -> Message:
    """Return the authors' SolverParameter for a net of phase TRAIN, which begins with VGG-16's weights.

    Args:
        net: path of the train/val prototxt.
        snapshot_prefix: path prefix of the snapshots.
        iterations: training iterations of 10 images each.
    """
    return solver(
        net, base_lr=1e-6, lr_policy="step", gamma=0.1, stepsize=10000, max_iter=iterations, test_iter=100, test_interval=1000000,
        test_initialization=False, iter_size=10, weight_decay=2e-4, display=20, snapshot=1000, snapshot_prefix=snapshot_prefix,
    )  # fmt: skip


def _rate(factor: float) -> list[dict[str, float]]:
    """Learning rates of weights and biases."""
    return [{"lr_mult": factor, "decay_mult": 1}, {"lr_mult": 2 * factor, "decay_mult": 0}]


@model(
    paper="Xie, Tu: Holistically-Nested Edge Detection, ICCV",
    year=2015,
    solver=hed_solver,
)
def hed(
    size: int | Sequence[int] = 500,
    *,
    batch: int = 1,
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """HED, with the layers of its authors' file, whose weights fit.

    Their Crop finds out by itself where to cut; here the offsets are stated, so that every Caffe cuts there. Images are blue,
    green, red, x - mean, with the mean 104.00699, 116.66877, 122.67892.

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass.
        phase: "TEST" for a deploy net with an Input layer, which gives edges by stage and fused; "TRAIN" for a train/val net with
            the authors' ImageLabelmapData layers and a SigmoidCrossEntropyLoss for each of them. In the authors' Caffe this loss
            balances the few pixels of edges with the many others; BVLC's does not.

    Raises:
        NetError: a value is out of range.

    >>> net = hed()
    >>> len(net.layers), net.param_count, net.macs
    (53, 14717535, 98975347664)
    """
    train = phase == "TRAIN"
    b = classifier("HED" if train else "FCN", phase, train=BIASED)
    data = pixels(b, size, batch=batch, phase=phase, reader="ImageLabelmapData", mean=BLUE_GREEN_RED)
    last: dict[str, Any] = {"param": _rate(100)} if train else {}
    edges = [_edges(b, x, data, stage, train) for stage, x in enumerate(vgg16(b, data, pad=35, last=last), 1)]
    weighting: dict[str, Any] = {"param": _rate(0.001)} if train else {}
    joined = b.layer("Concat", *edges, name="concat", top="concat-upscore", axis=1)
    b.layer(
        "Convolution", str(joined), name="new-score-weighting", top="upscore-fuse", num_output=1, kernel_size=1,
        weight_filler=constant(0.2), **weighting,
    )  # fmt: skip
    _end(b, "upscore-fuse", "fuse", train)
    return b.build()


def _edges(b: NetBuilder, x: str, data: str, stage: int, train: bool) -> str:
    """The edges that a stage shows, of the image's size."""
    up, factor = f"score-dsn{stage}-up", 2 ** (stage - 1)
    rate: dict[str, Any] = {"param": _rate(0.01)} if train else {}
    name = f"score-dsn{stage}"
    top = up if stage == 1 else name
    x = str(b.layer("Convolution", x, name=name, top=top, num_output=1, kernel_size=1, **rate))
    if stage > 1:
        fixed: dict[str, Any] = {"param": [{"lr_mult": 0, "decay_mult": 1}, {"lr_mult": 0, "decay_mult": 0}]} if train else {}
        b.layer(
            "Deconvolution", x, name=f"upsample_{factor}", top=up, num_output=1, kernel_size=2 * factor, stride=factor,
            weight_filler={"type": "bilinear"}, **fixed,
        )  # fmt: skip
    x = b.crop(up, data, name=f"upscore-dsn{stage}")
    _end(b, x, f"dsn{stage}", train)
    return x


def _end(b: NetBuilder, x: str, name: str, train: bool) -> None:
    if train:
        b.layer("SigmoidCrossEntropyLoss", x, "label", name=f"{name}_loss", loss_weight=1)
    else:
        b.layer("Sigmoid", x, name=f"sigmoid-{name}")
