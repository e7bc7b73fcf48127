"""MobileNet v2: inverted residuals, which widen between narrow, linear ends.

Sandler, Howard, Zhu, Zhmoginov, Chen: MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from ..activations import relu, relu6
from ..blocks import conv_norm, inverted_residual
from ..errors import NetError
from ..net import Net
from ..training import WEIGHT_AND_BIAS, imagenet_solver
from .common import check_positive, classified, classifier, images, scaled
from .mobilenet_v1 import names
from .registry import chosen, model

mobilenet_v2_solver = imagenet_solver("mobilenet_v2", base_lr=0.045, epochs=120, lr_policy="poly", power=1.0, weight_decay=4e-5)
# Expansion, channels at width 1, and number of the blocks of each stage: table 2 of the paper.
STAGES = ((1, 16, 1), (6, 24, 2), (6, 32, 3), (6, 64, 4), (6, 96, 3), (6, 160, 3), (6, 320, 1))
# The stages whose first block halves the image: shicai/MobileNet-Caffe has 64 channels at 28 x 28, others at 14 x 14.
HALVING = {"shicai": (24, 32, 96, 160), "torchvision": (24, 32, 64, 160)}
# Names in shicai/MobileNet-Caffe, which count the blocks by what they read.
NAMES = [f"conv{group}_{i}" for group, count in ((2, 2), (3, 2), (4, 7), (5, 3), (6, 3)) for i in range(1, count + 1)]


@model(
    paper="Sandler, Howard, Zhu, Zhmoginov, Chen: MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR",
    year=2018,
    solver=mobilenet_v2_solver,
    choices={"preset": HALVING},
)
def mobilenet_v2(
    size: int | Sequence[int] = 224,
    *,
    batch: int = 1,
    classes: int = 1000,
    width: float = 1.0,
    preset: str = "shicai",
    clip: bool = False,
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """MobileNet v2, with the layers of shicai/MobileNet-Caffe, of 3.5 M parameters and 429 M multiply-adds at 224 x 224.

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        classes: outputs of the classifier.
        width: multiplier of all channels but the last convolution's, which only a multiplier above 1 changes; the paper has 1,
            0.75, 0.5, 0.35 and 1.4.
        preset: "shicai" (ReLU; the weights of shicai/MobileNet-Caffe fit: blue, green, red, (x - mean) * 0.017) or "torchvision"
            (ReLU6 and 301 M multiply-adds, as in the paper; torchvision's and timm's weights fit: red, green, blue,
            (x / 255 - mean) / deviation, with ImageNet's 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225).
        clip: limit activations by Clip, a layer of BVLC's Caffe since 2018, in place of ReLU6, a layer of MobileNet's forks that
            most toolchains read ("torchvision" only).
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases,
            SoftmaxWithLoss and Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = mobilenet_v2()
    >>> len(net.layers), net.param_count, net.macs
    (209, 3505960, 429111936)
    """
    halving = chosen(preset, HALVING)
    published = preset == "shicai"
    if clip and published:
        raise NetError("clip takes the place of ReLU6, which preset 'shicai' has none of; preset 'torchvision' has it")
    activation = relu if published else partial(relu6, clip=clip)
    style: dict[str, Any] = {"names": names, "weight_filler": "msra", "in_place": not published}
    check_positive(classes=classes)
    b = classifier("MOBILENET_V2", phase)
    x = images(b, size, batch=batch, phase=phase)
    x = activation(b, conv_norm(b, x, scaled(32, width), 3, stride=2, name="conv1", relu=False, **style), "relu1")
    numbered = iter(NAMES)
    for expansion, channels, count in STAGES:
        for i in range(count):
            name = next(numbered)
            x = inverted_residual(
                b, x, scaled(channels, width), 2 if i == 0 and channels in halving else 1, expansion=expansion,
                expand=published or expansion > 1, activation=activation, skip=i > 0, name=name,
                sum_name=f"block_{name.removeprefix('conv')}", **style,
            )  # fmt: skip
    x = conv_norm(b, x, scaled(1280, max(width, 1.0)), 1, name="conv6_4", relu=False, **style)
    x = b.global_pool(activation(b, x, "relu6_4"), name="pool6")
    x = x if published else b.dropout(x, 0.2, name="drop6")
    x = b.conv(x, classes, 1, weight_filler="msra", bias_filler="constant", name="fc7", param=WEIGHT_AND_BIAS)
    return classified(b, x, phase)
