"""ShuffleNet v1: grouped 1x1 convolutions, whose channels are shuffled so that groups exchange what they know.

Zhang, Zhou, Lin, Sun: ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices, CVPR 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from ..blocks import conv_norm, underscores
from ..builder import NetBuilder
from ..errors import NetError
from ..net import Net
from ..training import WEIGHT_AND_BIAS, imagenet_solver
from .common import check_positive, classified, classifier, images, scaled
from .registry import chosen, model

shufflenet_v1_solver = imagenet_solver("shufflenet_v1", base_lr=0.1, epochs=240, lr_policy="poly", power=1.0, weight_decay=4e-5)
CHANNELS = {
    1: 144,
    2: 200,
    3: 240,
    4: 272,
    8: 384,
}  # of the second stage by groups, table 1 of the paper; each stage doubles them
REPEATS = (4, 8, 4)


@dataclass(frozen=True)
class Style:
    """What the definitions differ in.

    Attributes:
        depthwise: layer type of depthwise convolutions.
        pad: of the poolings, which then round down.
        halves_added: where the image is halved, a block's inner channels are a quarter of those that it adds, not of its output.
        shuffles_first: the first block shuffles, too, although its first convolution has no groups.
    """

    depthwise: str
    pad: int | None
    halves_added: bool
    shuffles_first: bool


STYLES = {
    "farmingyard": Style("ConvolutionDepthwise", pad=None, halves_added=True, shuffles_first=False),
    "paper": Style("Convolution", pad=1, halves_added=False, shuffles_first=True),
}
_conv_norm = partial(conv_norm, names=underscores, weight_filler="msra")


@model(
    paper="Zhang, Zhou, Lin, Sun: ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile Devices, CVPR",
    year=2018,
    solver=shufflenet_v1_solver,
    choices={"preset": STYLES},
)
def shufflenet_v1(
    size: int | Sequence[int] = 224,
    *,
    batch: int = 1,
    classes: int = 1000,
    groups: int = 3,
    width: float = 1.0,
    preset: str = "farmingyard",
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """ShuffleNet v1, by default with the layers of farmingyard/ShuffleNet.

    Its ShuffleChannel is a layer of forks, which OpenCV, ncnn and most toolchains read.

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        classes: outputs of the classifier.
        groups: of the 1x1 convolutions: 1, 2, 3, 4 or 8; the paper has more channels for more groups.
        width: multiplier of all channels; the paper has 1, 0.5 and 0.25.
        preset: "farmingyard" (the file of farmingyard/ShuffleNet, whose weights fit; it has a layer type of its own for depthwise
            convolutions, and less inner channels where the image is halved; groups 1 to 3) or "paper" (the paper's channels, and
            the padding of its authors' code).
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases,
            SoftmaxWithLoss and Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = shufflenet_v1()
    >>> len(net.layers), net.param_count, net.macs
    (219, 1814734, 127061304)
    """
    style = chosen(preset, STYLES)
    check_positive(classes=classes)
    if groups not in CHANNELS:
        raise NetError(f"groups takes {', '.join(map(str, CHANNELS))} (table 1 of the paper), not {groups}")
    b = classifier("shufflenet", phase)
    x = images(b, size, batch=batch, phase=phase)
    x = _conv_norm(b, x, scaled(24, width, groups), 3, stride=2, name="conv1")
    x = b.pool(x, "MAX", 3, stride=2, name="pool1", **_padding(style))
    number = 0
    for stage, repeats in enumerate(REPEATS):
        num_output = scaled(CHANNELS[groups] * 2**stage, width, 4 * groups)
        for i in range(repeats):
            number += 1
            with b.scope(f"resx{number}", prefix=False):
                x = _block(b, x, num_output, groups, number, 2 if i == 0 else 1, style)
    x = b.global_pool(x, name="pool_ave")
    x = b.conv(x, classes, 1, weight_filler="msra", bias_filler="constant", name="fc1000", param=WEIGHT_AND_BIAS)
    return classified(b, x, phase)


def _padding(style: Style) -> dict[str, Any]:
    return {} if style.pad is None else {"pad": style.pad, "ceil_mode": False}


def _block(b: NetBuilder, x: str, num_output: int, groups: int, number: int, stride: int, style: Style) -> str:
    """Figure 2b and 2c of the paper: with stride 2 the input is pooled and joined, otherwise it is added."""
    name, channels = f"resx{number}", b.channels(x)
    added = num_output - channels if stride == 2 else num_output
    inner = (added if style.halves_added else num_output) // 4
    if inner % groups or added % groups:
        raise NetError(f"{groups} groups do not divide the channels of {name} ({inner} and {added}); --preset paper has others")
    shortcut = b.pool(x, "AVE", 3, stride=2, name=f"{name}_match_conv", **_padding(style)) if stride == 2 else x
    first = number == 1
    y = _conv_norm(b, x, inner, 1, group=None if first or groups == 1 else groups, name=f"{name}_conv1")
    if groups > 1 and (style.shuffles_first or not first):
        y = str(b.layer("ShuffleChannel", y, name=f"shuffle{number}", group=groups))
    own_type = style.depthwise != "Convolution"
    y = _conv_norm(
        b, y, inner, 3, stride=stride, group=None if own_type else inner, type=style.depthwise, relu=False, name=f"{name}_conv2"
    )
    y = _conv_norm(b, y, added, 1, group=groups if groups > 1 else None, relu=False, name=f"{name}_conv3")
    if stride == 2:
        return b.relu(b.concat(shortcut, y, name=f"{name}_concat"), name=f"{name}_concat_relu")
    return b.relu(b.eltwise(shortcut, y, name=f"{name}_elewise"), name=f"{name}_elewise_relu")
