"""MobileNet v1: depthwise and 1x1 convolutions in place of full ones.

Howard et al.: MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications, arXiv 1704.04861, 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from ..activations import Activation, relu, relu6
from ..blocks import conv_norm, slashes
from ..builder import NetBuilder
from ..errors import NetError
from ..net import Net
from ..training import WEIGHT_AND_BIAS, imagenet_solver
from .common import check_positive, classified, classifier, images, scaled
from .registry import chosen, model

mobilenet_v1_solver = imagenet_solver("mobilenet_v1", base_lr=0.045, epochs=120, lr_policy="poly", power=1.0, weight_decay=4e-5)
# Channels of each block at width 1, and its stride: table 1 of the paper.
STAGES = {
    "conv2": ((64, 1), (128, 2)),
    "conv3": ((128, 1), (256, 2)),
    "conv4": ((256, 1), (512, 2)),
    "conv5": (*[(512, 1)] * 5, (1024, 2)),
    "conv6": ((1024, 1),),
}


def names(name: str, part: str) -> str:
    """Names of shicai/MobileNet-Caffe: conv2_1/dw, conv2_1/dw/bn, conv2_1/dw/scale, relu2_1/dw."""
    return f"relu{name.removeprefix('conv')}" if part == "relu" else slashes(name, part)


@model(
    paper="Howard, Zhu, Chen, Kalenichenko, Wang, Weyand, Andreetto, Adam: MobileNets: Efficient Convolutional Neural Networks "
    "for Mobile Vision Applications, arXiv 1704.04861,",
    year=2017,
    solver=mobilenet_v1_solver,
    choices={"preset": ("shicai", "timm")},
)
def mobilenet_v1(
    size: int | Sequence[int] = 224,
    *,
    batch: int = 1,
    classes: int = 1000,
    width: float = 1.0,
    preset: str = "shicai",
    clip: bool = False,
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """MobileNet v1, with the layers of shicai/MobileNet-Caffe, of 4.2 M parameters and 569 M multiply-adds at 224 x 224.

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        classes: outputs of the classifier.
        width: multiplier of all channels; the paper has 1, 0.75, 0.5 and 0.25.
        preset: "shicai" (ReLU; the weights of shicai/MobileNet-Caffe fit: blue, green, red, (x - mean) * 0.017) or "timm" (ReLU6,
            as in the paper's code; timm's weights mobilenetv1_100 fit: red, green, blue, (x / 255 - 0.5) / 0.5).
        clip: limit activations by Clip, a layer of BVLC's Caffe since 2018, in place of ReLU6, a layer of MobileNet's forks that
            most toolchains read ("timm" only).
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases,
            SoftmaxWithLoss and Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = mobilenet_v1()
    >>> len(net.layers), net.param_count, net.macs
    (112, 4231976, 568740352)
    """
    activations: dict[str, Activation] = {"shicai": relu, "timm": partial(relu6, clip=clip)}
    activation = chosen(preset, activations)
    if clip and preset == "shicai":
        raise NetError("clip takes the place of ReLU6, which preset 'shicai' has none of; preset 'timm' has it")
    check_positive(classes=classes)
    b = classifier("MOBILENET", phase)
    x = images(b, size, batch=batch, phase=phase)
    x = _conv(b, x, scaled(32, width), 3, "conv1", activation, stride=2)
    for stage, blocks in STAGES.items():
        for i, (channels, stride) in enumerate(blocks, 1):
            name = f"{stage}_{i}" if len(blocks) > 1 else stage
            with b.scope(name, prefix=False):
                x = _conv(b, x, b.channels(x), 3, f"{name}/dw", activation, stride=stride, group=b.channels(x))
                x = _conv(b, x, scaled(channels, width), 1, f"{name}/sep", activation)
    x = b.global_pool(x, name="pool6")
    x = b.conv(x, classes, 1, weight_filler="msra", bias_filler="constant", name="fc7", param=WEIGHT_AND_BIAS)
    return classified(b, x, phase)


def _conv(b: NetBuilder, x: str, num_output: int, kernel_size: int, name: str, activation: Activation, **options: Any) -> str:
    x = conv_norm(b, x, num_output, kernel_size, name=name, names=names, relu=False, weight_filler="msra", **options)
    return activation(b, x, names(name, "relu"))
