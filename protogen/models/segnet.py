"""SegNet: VGG-16's convolutions, and back, with unpooling to where each maximum was.

Badrinarayanan, Kendall, Cipolla: SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation, TPAMI 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from ..builder import NetBuilder
from ..net import Net
from ..prototxt.message import Message
from ..training import BIASED, solver
from .common import check_positive, classifier, constant
from .dense import pixels, segmented
from .fcn import STAGES
from .registry import model

# Scale and shift of BN, a layer of the authors' Caffe.
_BN_RATES = [{"lr_mult": 1, "decay_mult": 1}, {"lr_mult": 1, "decay_mult": 0}]


def segnet_solver(net: str, *, snapshot_prefix: str = "segnet", iterations: int = 40000) -> Message:
    """Return the authors' SolverParameter for a net of phase TRAIN.

    Args:
        net: path of the train/val prototxt.
        snapshot_prefix: path prefix of the snapshots.
        iterations: training iterations of 4 images each.
    """
    return solver(
        net, base_lr=0.001, lr_policy="step", gamma=1.0, stepsize=10000000, max_iter=iterations, test_iter=1,
        test_interval=10000000, test_initialization=False, weight_decay=5e-4, display=20, snapshot=1000,
        snapshot_prefix=snapshot_prefix,
    )  # fmt: skip


@model(
    paper="Badrinarayanan, Kendall, Cipolla: SegNet: A Deep Convolutional Encoder-Decoder Architecture for Image Segmentation, "
    "TPAMI",
    year=2017,
    solver=segnet_solver,
)
def segnet(
    size: int | Sequence[int] = (360, 480),
    *,
    batch: int = 1,
    classes: int = 11,
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """SegNet, with the layers of the authors' SegNet-Tutorial, whose weights fit; it needs their Caffe (BN, Upsample).

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass.
        classes: of pixels.
        phase: "TEST" for a deploy net with an Input layer, whose BN only scales and shifts, with the values that the authors'
            compute_bn_statistics.py makes; "TRAIN" for a train/val net with their DenseImageData layers, SoftmaxWithLoss and
            Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = segnet()
    >>> len(net.layers), net.param_count, net.macs
    (88, 29449355, 106712432640)
    """
    check_positive(classes=classes)
    b = classifier("VGG_ILSVRC_16_layer", phase, train=BIASED)
    x = pixels(b, size, batch=batch, phase=phase)
    sizes = []
    for stage, (num_output, count) in enumerate(STAGES, 1):
        with b.scope(f"encoder{stage}", prefix=False):
            for i in range(1, count + 1):
                x = _normalized(b, _conv(b, x, num_output, f"conv{stage}_{i}"), phase)
            sizes.append(b.shape(x)[2:])
            name = f"pool{stage}"
            b.layer("Pooling", x, name=name, top=[name, f"{name}_mask"], pool="MAX", kernel_size=2, stride=2)
            x = name
    for stage in range(len(STAGES), 0, -1):
        num_output, count = STAGES[stage - 1]
        with b.scope(f"decoder{stage}", prefix=False):
            x = _unpooled(b, x, stage, sizes[stage - 1])
            for i in range(count, 1, -1):
                x = _normalized(b, _conv(b, x, num_output, f"conv{stage}_{i}_D"), phase)
            if stage > 1:
                x = _normalized(b, _conv(b, x, STAGES[stage - 2][0], f"conv{stage}_1_D"), phase)
    return segmented(b, _conv(b, x, classes, "conv1_1_D"), phase, ignore_label=classes)


def _conv(b: NetBuilder, x: str, num_output: int, name: str) -> str:
    return b.conv(x, num_output, 3, pad=1, weight_filler="msra", bias_filler="constant", name=name)


def _normalized(b: NetBuilder, x: str, phase: str) -> str:
    """BN and ReLU in place."""
    options: dict[str, Any] = {"param": _BN_RATES} if phase == "TRAIN" else {"bn_mode": "INFERENCE"}
    b.layer("BN", x, name=f"{x}_bn", in_place=True, scale_filler=constant(1), shift_filler=constant(0.001), **options)
    return b.relu(x, name=f"relu{x.removeprefix('conv')}")


def _unpooled(b: NetBuilder, x: str, stage: int, size: Sequence[int]) -> str:
    """Values back to where the maxima were; the size is stated where pooling rounded it."""
    height, width = size
    stated: dict[str, Any] = {} if b.shape(x)[2:] == (height / 2, width / 2) else {"upsample_h": height, "upsample_w": width}
    return str(b.layer("Upsample", x, f"pool{stage}_mask", name=f"upsample{stage}", top=f"pool{stage}_D", scale=2, **stated))
