"""FCN: VGG-16 as convolutions, whose coarse scores are enlarged and joined with those of earlier stages.

Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation, CVPR 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from ..builder import NetBuilder
from ..errors import NetError
from ..net import Net
from ..prototxt.message import Message
from ..training import BIASED, solver
from .common import check_positive, classifier
from .dense import BLUE_GREEN_RED, pixels, segmented
from .registry import model, variant

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels and convolutions of VGG-16
STRIDES = (32, 16, 8)
FIXED = [{"lr_mult": 0}]  # enlarging is not learned


def fcn_solver(net: str, *, snapshot_prefix: str = "fcn", iterations: int = 100000) -> Message:
    """Return the authors' SolverParameter for a net of phase TRAIN, whose loss is a sum over pixels: hence the small rate.

    Args:
        net: path of the train/val prototxt.
        snapshot_prefix: path prefix of the snapshots.
        iterations: training iterations of one image each.
    """
    return solver(
        net, base_lr=1e-10, max_iter=iterations, test_iter=736, test_interval=4000, test_initialization=False, momentum=0.99,
        weight_decay=5e-4, display=20, average_loss=20, snapshot=4000, snapshot_prefix=snapshot_prefix,
    )  # fmt: skip


@model(
    paper="Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation, CVPR",
    year=2015,
    solver=fcn_solver,
)
def fcn(
    size: int | Sequence[int] = 500,
    *,
    batch: int = 1,
    classes: int = 21,
    stride: int = 8,
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """FCN on VGG-16, with the layers of the authors' voc-fcn8s, voc-fcn16s and voc-fcn32s, whose weights fit; 8s by default.

    The layers that enlarge scores keep the weights they begin with: bilinear interpolation, channel by channel, in the authors'
    weights and in what their surgery.py sets; fillers of Caffe do not make such weights.

    Args:
        size: height and width of the image in pixels; one number for a square. Any will do: scores are cropped to it.
        batch: images per pass.
        classes: of pixels, background included.
        stride: of the scores that are enlarged last: 32, 16 or 8 pixels; finer ones draw on earlier stages.
        phase: "TEST" for a deploy net with an Input layer, without Dropout, that ends with scores; "TRAIN" for a train/val net
            with ImageSegData layers (of DeepLab's Caffe, in place of the authors' Python layers), SoftmaxWithLoss and Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = fcn()
    >>> len(net.layers), net.param_count, net.macs
    (47, 134489759, 181529034048)
    """
    if stride not in STRIDES:
        raise NetError(f"stride takes {', '.join(map(str, STRIDES))}, not {stride}")
    check_positive(classes=classes)
    b = classifier("", phase, train=BIASED)
    x = pixels(b, size, batch=batch, phase=phase, reader="ImageSegData", mean=BLUE_GREEN_RED)
    # So much padding lets the 7x7 window of fc6 pass the corners.
    ends = vgg16(b, x, pad=100)
    x = b.pool(ends[-1], "MAX", 2, stride=2, name="pool5")
    for name, kernel_size in (("fc6", 7), ("fc7", 1)):
        x = b.relu(b.conv(x, 4096, kernel_size, name=name), name=f"relu{name[2:]}")
        x = b.dropout(x, name=f"drop{name[2:]}") if phase == "TRAIN" else x
    x = b.conv(x, classes, 1, name="score_fr")
    reached, last = 32, ""  # stride of the scores, and the stage that they were last joined with
    for stage, offset in ((4, 5), (3, 9)):
        if reached == stride:
            break
        x = _enlarged(b, x, classes, 2, f"upscore_{last}" if last else "upscore2")
        last = f"pool{stage}"
        score = b.conv(last, classes, 1, name=f"score_{last}")
        x = b.eltwise(x, b.crop(score, x, offset=[offset], name=f"score_{last}c"), operation="SUM", name=f"fuse_{last}")
        reached //= 2
    x = _enlarged(b, x, classes, stride, "upscore" if stride == 32 else f"upscore{stride}")
    score = b.crop(x, "data", offset=[{32: 19, 16: 27, 8: 31}[stride]], name="score")
    return segmented(b, score, phase, prob=None, loss={"normalize": False})


def _enlarged(b: NetBuilder, x: str, classes: int, factor: int, name: str) -> str:
    return b.deconv(x, classes, 2 * factor, stride=factor, bias_term=False, param=FIXED, name=name)


def vgg16(b: NetBuilder, x: str, *, pad: int, last: dict[str, Any] | None = None) -> list[str]:
    """Add VGG-16's convolutions, with poolings between its stages; return the last blob of each stage.

    Args:
        b: the builder.
        x: (N, 3, H, W).
        pad: of the first convolution.
        last: further arguments of the convolutions in the last stage.
    """
    ends: list[str] = []
    for stage, (num_output, count) in enumerate(STAGES, 1):
        with b.scope(f"stage{stage}", prefix=False):
            x = b.pool(x, "MAX", 2, stride=2, name=f"pool{stage - 1}") if ends else x
            for i in range(1, count + 1):
                options = (last or {}) if stage == len(STAGES) else {}
                x = b.conv(x, num_output, 3, pad=pad if stage == i == 1 else 1, name=f"conv{stage}_{i}", **options)
                x = b.relu(x, name=f"relu{stage}_{i}")
            ends.append(x)
    return ends


fcn32s = variant(fcn, "fcn32s", "FCN-32s: one enlargement, by 32.", stride=32)
fcn16s = variant(fcn, "fcn16s", "FCN-16s: FCN-32s joined with the fourth stage.", stride=16)
fcn8s = variant(fcn, "fcn8s", "FCN-8s: FCN-16s joined with the third stage.", stride=8)
