"""ShuffleNet v2: half of the channels pass a block unchanged, the others are convolved, and both are shuffled.

Ma, Zhang, Zheng, Sun: ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design, ECCV 2018.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from ..blocks import Names, average, conv_norm, norm, slashes, underscores
from ..builder import NetBuilder
from ..errors import NetError
from ..net import Net
from ..training import WEIGHT_AND_BIAS, imagenet_solver
from .common import check_positive, classified, classifier, images
from .registry import chosen, model

shufflenet_v2_solver = imagenet_solver("shufflenet_v2", base_lr=0.1, epochs=240, lr_policy="poly", power=1.0, weight_decay=4e-5)
# Channels of the three stages and of the last convolution by width: table 5 of the paper; 0.25 and 0.33 are miaow1988's.
WIDTHS = {
    0.25: (24, 48, 96, 512),
    0.33: (32, 64, 128, 512),
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (244, 488, 976, 2048),
}
REPEATS = (4, 8, 4)


@dataclass(frozen=True)
class Style:
    """What the definitions differ in; names have {n} for the block's number, {stage} and {i} for the same by stage.

    Attributes:
        left, right: names of the convolutions of the two branches.
        concat, shuffle, slice, halves: names of the layers after them, and of the halves of the next block's input.
        ends: names of the first convolution, the poolings, and the classifier.
        names: what the layers after a convolution are called.
        depthwise: layer type of depthwise convolutions.
        pad: of the first pooling, which then rounds down.
        normalizes_data: whether BatchNorm takes the place of preprocessing.
    """

    left: tuple[str, str]
    right: tuple[str, str, str]
    concat: str
    shuffle: str
    slice: str
    halves: tuple[str, str]
    ends: tuple[str, str, str, str]
    names: Names
    depthwise: str = "Convolution"
    pad: int | None = None
    normalizes_data: bool = False


def _names(name: str, part: str) -> str:
    return f"{name}/bn/scale" if part == "scale" else slashes(name, part)


_BRANCHES: dict[str, Any] = {
    "left": ("branch{n}_1_conv1", "branch{n}_1_conv2"),
    "right": ("branch{n}_2_conv1", "branch{n}_2_conv2", "branch{n}_2_conv3"),
    "concat": "concat{n}",
    "shuffle": "shuffle{n}",
    "slice": "slice{n}",
    "halves": ("branch{n}_1", "branch{n}_2"),
    "ends": ("conv1", "pool1", "pool_ave", "fc1000"),
    "names": underscores,
}
STYLES = {
    "farmingyard": Style(**_BRANCHES, depthwise="ConvolutionDepthwise"),
    "torchvision": Style(**_BRANCHES, pad=1),
    "miaow1988": Style(
        left=("stage_{stage}_{i}/conv4", "stage_{stage}_{i}/conv5"),
        right=("stage_{stage}_{i}/conv1", "stage_{stage}_{i}/conv2", "stage_{stage}_{i}/conv3"),
        concat="stage_{stage}_{i}/concat",
        shuffle="stage_{stage}_{i}/shuffle",
        slice="stage_{stage}_{i}/slice1",
        halves=("stage_{stage}_{i}/slice1", "stage_{stage}_{i}/slice2"),
        ends=("stage1/conv", "stage1/pool", "pool", "fc"),
        names=_names,
        normalizes_data=True,
    ),
}


@model(
    paper="Ma, Zhang, Zheng, Sun: ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design, ECCV",
    year=2018,
    solver=shufflenet_v2_solver,
    choices={"preset": STYLES},
)
def shufflenet_v2(
    size: int | Sequence[int] = 224,
    *,
    batch: int = 1,
    classes: int = 1000,
    width: float = 1.0,
    preset: str = "farmingyard",
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """ShuffleNet v2, by default with the layers of farmingyard/ShuffleNet.

    Its ShuffleChannel is a layer of forks, which OpenCV, ncnn and most toolchains read.

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        classes: outputs of the classifier.
        width: 0.5, 1, 1.5 or 2, or miaow1988's 0.25 or 0.33; each has a list of channels.
        preset: "farmingyard" (the file of farmingyard/ShuffleNet; it has a layer type of its own for depthwise convolutions),
            "miaow1988" (the files of miaow1988/ShuffleNet_V2_pytorch_caffe, which normalise the image themselves; their weights
            fit) or "torchvision" (its weights fit: red, green, blue, (x / 255 - mean) / deviation, with ImageNet's 0.485, 0.456,
            0.406 and 0.229, 0.224, 0.225).
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases,
            SoftmaxWithLoss and Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = shufflenet_v2()
    >>> len(net.layers), net.param_count, net.macs
    (255, 2278604, 144907992)
    """
    style = chosen(preset, STYLES)
    check_positive(classes=classes)
    if width not in WIDTHS:
        raise NetError(f"width takes {', '.join(f'{each:g}' for each in WIDTHS)}, not {width:g}")
    *stages, last = WIDTHS[width]
    b = classifier("shufflenet_v2", phase)
    conv = partial(conv_norm, b, names=style.names, weight_filler="msra")
    stem, pool, global_pool, classifier_name = style.ends
    x = images(b, size, batch=batch, phase=phase)
    if style.normalizes_data:
        x = norm(b, x, "data", names=style.names, relu=False)
    x = conv(x, 24, 3, stride=2, name=stem)
    padding: dict[str, Any] = {} if style.pad is None else {"pad": style.pad, "ceil_mode": False}
    x = b.pool(x, "MAX", 3, stride=2, name=pool, **padding)
    number = 0
    for stage, (channels, repeats) in enumerate(zip(stages, REPEATS), 2):
        for i in range(1, repeats + 1):
            number += 1
            with b.scope(f"block{number}", prefix=False):
                x = _block(b, conv, x, channels // 2, 2 if i == 1 else 1, style, {"n": number, "stage": stage, "i": i})
    x = conv(x, last, 1, name="conv5")
    x = average(b, x, 7, global_pool) if style.normalizes_data else b.global_pool(x, name=global_pool)
    x = b.conv(x, classes, 1, weight_filler="msra", bias_filler="constant", name=classifier_name, param=WEIGHT_AND_BIAS)
    return classified(b, x, phase)


def _block(b: NetBuilder, conv: Callable[..., str], x: str, half: int, stride: int, style: Style, place: dict[str, int]) -> str:
    """Figure 3c and 3d of the paper: with stride 2, both branches see all channels."""

    def name(pattern: str) -> str:
        return pattern.format(**place)

    def depthwise(x: str, pattern: str) -> str:
        own_type = style.depthwise != "Convolution"
        channels = b.channels(x)
        group = None if own_type else channels
        return conv(x, channels, 3, stride=stride, group=group, type=style.depthwise, relu=False, name=name(pattern))

    if stride == 2:
        left = conv(depthwise(x, style.left[0]), half, 1, name=name(style.left[1]))
        right = x
    else:
        tops = [name(each) for each in style.halves]
        left, right = tuple(b.layer("Slice", x, name=name(style.slice), top=tops, slice_point=[half]))
    right = depthwise(conv(right, half, 1, name=name(style.right[0])), style.right[1])
    right = conv(right, half, 1, name=name(style.right[2]))
    x = b.concat(left, right, name=name(style.concat))
    return str(b.layer("ShuffleChannel", x, name=name(style.shuffle), group=2))
