"""MobileNet v3: inverted residuals with squeeze-and-excitation and hard swish, found by search; Large and Small.

Howard, Sandler, Chu, Chen, Chen, Tan, Wang, Zhu, Pang, Vasudevan, Le, Adam: Searching for MobileNetV3, ICCV 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

from ..activations import Activation, hard_sigmoid, hard_swish, relu
from ..blocks import conv_norm, inverted_residual, slashes, squeeze_excite
from ..builder import NetBuilder
from ..net import Net
from ..training import WEIGHT_AND_BIAS, imagenet_solver
from .common import check_positive, classified, classifier, images, scaled
from .registry import chosen, model, variant

mobilenet_v3_solver = imagenet_solver("mobilenet_v3", base_lr=0.1, epochs=300, lr_policy="poly", power=1.0, weight_decay=4e-5)


class Block(NamedTuple):
    """A row of tables 1 and 2 of the paper."""

    kernel_size: int
    hidden: int
    channels: int
    excite: bool
    swish: bool
    stride: int


class Size(NamedTuple):
    """Blocks, and channels of the layer before the classifier."""

    blocks: tuple[Block, ...]
    last: int


SIZES = {
    "large": Size((
        Block(3, 16, 16, False, False, 1),
        Block(3, 64, 24, False, False, 2),
        Block(3, 72, 24, False, False, 1),
        Block(5, 72, 40, True, False, 2),
        *[Block(5, 120, 40, True, False, 1)] * 2,
        Block(3, 240, 80, False, True, 2),
        Block(3, 200, 80, False, True, 1),
        *[Block(3, 184, 80, False, True, 1)] * 2,
        Block(3, 480, 112, True, True, 1),
        Block(3, 672, 112, True, True, 1),
        Block(5, 672, 160, True, True, 2),
        *[Block(5, 960, 160, True, True, 1)] * 2,
    ), last=1280),
    "small": Size((
        Block(3, 16, 16, True, False, 2),
        Block(3, 72, 24, False, False, 2),
        Block(3, 88, 24, False, False, 1),
        Block(5, 96, 40, True, True, 2),
        *[Block(5, 240, 40, True, True, 1)] * 2,
        Block(5, 120, 48, True, True, 1),
        Block(5, 144, 48, True, True, 1),
        Block(5, 288, 96, True, True, 2),
        *[Block(5, 576, 96, True, True, 1)] * 2,
    ), last=1024),
}  # fmt: skip


@model(
    paper="Howard, Sandler, Chu, Chen, Chen, Tan, Wang, Zhu, Pang, Vasudevan, Le, Adam: Searching for MobileNetV3, ICCV",
    year=2019,
    solver=mobilenet_v3_solver,
    choices={"version": SIZES, "preset": ("torchvision", "timm")},
)
def mobilenet_v3(
    size: int | Sequence[int] = 224,
    *,
    batch: int = 1,
    classes: int = 1000,
    version: str = "large",
    width: float = 1.0,
    preset: str = "torchvision",
    clip: bool = False,
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """MobileNet v3, Large or Small, with the layer sizes of torchvision and timm, whose weights fit.

    Caffe has neither hard swish nor hard sigmoid: they are composed of Power, ReLU6 and Eltwise. The weights expect red, green,
    blue, (x / 255 - mean) / deviation, with ImageNet's 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225.

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        classes: outputs of the classifier.
        version: "large" or "small".
        width: multiplier of all channels; the paper has 1 and 0.75, and others.
        preset: "torchvision" (epsilon 0.001) or "timm" (epsilon 0.00001). For other widths than 1, timm widens what a block reads
            as many times as the paper does at width 1, and keeps the layer before the classifier for a width below 1.
        clip: limit activations by Clip, a layer of BVLC's Caffe since 2018, in place of ReLU6, a layer of MobileNet's forks that
            most toolchains read.
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases,
            SoftmaxWithLoss and Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = mobilenet_v3()
    >>> len(net.layers), net.param_count, net.macs
    (321, 5483032, 216589760)
    """
    blocks, last = chosen(version, SIZES, "version")
    eps = chosen(preset, {"torchvision": 1e-3, "timm": 1e-5})
    check_positive(classes=classes)
    b = classifier(f"MobileNet-v3-{version}", phase, {"BatchNorm": {"eps": eps}})
    x = images(b, size, batch=batch, phase=phase)
    swish = partial(hard_swish, clip=clip)
    x = swish(b, _conv_norm(b, x, scaled(16, width), 3, stride=2, name="conv1"), "conv1/hswish")
    for i, block in enumerate(blocks, 1):
        hidden = _hidden(blocks[i - 2].channels if i > 1 else 16, b.channels(x), block, width, preset)
        x = inverted_residual(
            b, x, scaled(block.channels, width), block.stride, hidden=hidden, kernel_size=block.kernel_size,
            activation=swish if block.swish else relu, gate=partial(_gate, clip=clip) if block.excite else None,
            skip=block.stride == 1, name=f"block{i}", names=_swish_names if block.swish else slashes, weight_filler="msra",
        )  # fmt: skip
    x = swish(b, _conv_norm(b, x, 6 * b.channels(x), 1, name="conv_last"), "conv_last/hswish")
    x = b.global_pool(x, name="pool")
    last = last if preset == "timm" and width < 1 else scaled(last, width)
    x = swish(b, b.conv(x, last, 1, weight_filler="msra", name="fc1", param=WEIGHT_AND_BIAS), "fc1/hswish")
    x = b.conv(b.dropout(x, 0.2, name="drop"), classes, 1, weight_filler="msra", name="fc2", param=WEIGHT_AND_BIAS)
    return classified(b, x, phase)


def _hidden(unscaled: int, channels: int, block: Block, width: float, preset: str) -> int:
    """Channels of a block's depthwise convolution: the paper's times the width; timm's are as many times those that it reads."""
    return scaled(channels, block.hidden / unscaled) if preset == "timm" else scaled(block.hidden, width)


def _swish_names(name: str, part: str) -> str:
    return slashes(name, "hswish" if part == "relu" else part)


_conv_norm = partial(conv_norm, relu=False, weight_filler="msra")


def _gate(b: NetBuilder, x: str, name: str, *, clip: bool) -> str:
    """Squeeze-and-excitation with a quarter of the channels, and a hard sigmoid."""
    sigmoid: Activation = partial(hard_sigmoid, clip=clip)
    options: dict[str, Any] = {"weight_filler": "msra", "param": WEIGHT_AND_BIAS}
    return squeeze_excite(b, x, hidden=scaled(b.channels(x) // 4, 1), gate=sigmoid, name=f"{name}/se", **options)


mobilenet_v3_large = variant(mobilenet_v3, "mobilenet_v3_large", "MobileNet v3 Large.", version="large")
mobilenet_v3_small = variant(mobilenet_v3, "mobilenet_v3_small", "MobileNet v3 Small.", version="small")
