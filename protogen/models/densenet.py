"""DenseNet: each layer reads the outputs of all layers before it in its block.

Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks, CVPR 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from ..blocks import norm
from ..builder import NetBuilder
from ..errors import NetError
from ..net import Net
from ..training import WEIGHT_AND_BIAS, imagenet_solver
from .common import check_positive, classified, classifier, images, stages
from .registry import chosen, model, variant

densenet_solver = imagenet_solver("densenet", base_lr=0.1, epochs=90, batch=64, step_epochs=30, weight_decay=1e-4)
CEILING = {"shicai": None, "torchvision": False}  # ceil_mode of the poolings between blocks


def _names(name: str, part: str) -> str:
    """Names of shicai/DenseNet-Caffe: conv2_1/x1 has conv2_1/x1/bn, conv2_1/x1/scale and relu2_1/x1."""
    return name.replace("conv", "relu") if part == "relu" else f"{name}/{part}"


@model(
    paper="Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks, CVPR",
    year=2017,
    solver=densenet_solver,
    choices={"preset": CEILING},
)
def densenet(
    size: int | Sequence[int] = 224,
    *,
    batch: int = 1,
    classes: int = 1000,
    layers: Sequence[int] = (6, 12, 24, 16),
    growth_rate: int = 32,
    stem_channels: int = 64,
    bottleneck: int = 4,
    compression: int = 2,
    long_names: bool = False,
    preset: str = "shicai",
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """DenseNet with any numbers of layers per block; DenseNet-121 by default.

    Layers have the names of shicai/DenseNet-Caffe, whose weights fit.

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        classes: outputs of the classifier.
        layers: dense layers in each of the blocks.
        growth_rate: channels that each dense layer adds.
        stem_channels: output channels of the first convolution.
        bottleneck: output channels of the 1x1 convolution in a dense layer, in units of growth_rate.
        compression: channels before a transition over those after it.
        long_names: call transitions conv2_6/blk, after the last layer before them, in place of conv2_blk, as only the published
            file of DenseNet-201 does.
        preset: "shicai" (the files of shicai/DenseNet-Caffe) or "torchvision" (poolings between blocks leave out an odd row or
            column at the end; torchvision's and timm's weights fit). At multiples of 32 pixels they are the same.
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases,
            SoftmaxWithLoss and Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = densenet()
    >>> len(net.layers), net.param_count, net.macs
    (549, 7978856, 2834161664)
    """
    check_positive(
        classes=classes, growth_rate=growth_rate, stem_channels=stem_channels, bottleneck=bottleneck, compression=compression
    )  # fmt: skip
    stages(layers, what="layers")
    ceil_mode = chosen(preset, CEILING)
    b = classifier(f"DENSENET_{2 * sum(layers) + len(layers) + 1}", phase)
    x = images(b, size, batch=batch, phase=phase)
    x = b.conv(x, stem_channels, 7, stride=2, pad=3, bias_term=False, weight_filler="msra", name="conv1")
    x = norm(b, x, "conv1", names=_names, in_place=False)
    x = b.pool(x, "MAX", 3, stride=2, pad=1, ceil_mode=False, name="pool1")
    for block, count in enumerate(layers, 2):
        for i in range(1, count + 1):
            x = _dense_layer(b, x, f"{block}_{i}", growth_rate, bottleneck)
        number = f"{block}_{count}" if long_names else f"{block}"
        name = f"conv{number}/blk" if long_names else f"conv{number}_blk"
        x = norm(b, x, name, names=_names, in_place=False)
        if block <= len(layers):
            x = _transition(b, x, name, f"pool{number}", compression, ceil_mode)
    x = b.global_pool(x, name=f"pool{len(layers) + 1}")
    x = b.conv(x, classes, 1, bias_filler="constant", name=f"fc{len(layers) + 2}", param=WEIGHT_AND_BIAS)
    return classified(b, x, phase)


def _dense_layer(b: NetBuilder, x: str, number: str, growth_rate: int, bottleneck: int) -> str:
    """1x1 and 3x3, each after normalisation and ReLU; the result is joined to x."""
    name = f"conv{number}"
    with b.scope(name, prefix=False):
        y = norm(b, x, f"{name}/x1", names=_names, in_place=False)
        y = b.conv(y, bottleneck * growth_rate, 1, bias_term=False, weight_filler="msra", name=f"{name}/x1")
        y = norm(b, y, f"{name}/x2", names=_names, in_place=False)
        y = b.conv(y, growth_rate, 3, pad=1, bias_term=False, weight_filler="msra", name=f"{name}/x2")
        return b.concat(x, y, name=f"concat_{number}")


def _transition(b: NetBuilder, x: str, name: str, pool: str, compression: int, ceil_mode: bool | None) -> str:
    """A 1x1 convolution to fewer channels, and pooling."""
    num_output = b.channels(x) // compression
    if num_output < 1:
        raise NetError(f"compression {compression} leaves none of the {b.channels(x)} channels before {name}")
    x = b.conv(x, num_output, 1, bias_term=False, weight_filler="msra", name=name)
    return b.pool(x, "AVE", 2, stride=2, ceil_mode=ceil_mode, name=pool)


def _sizes(growth_rate: int, stem_channels: int, *, long_names: bool = False) -> dict[str, Any]:
    return {"growth_rate": growth_rate, "stem_channels": stem_channels, "long_names": long_names}


densenet121 = variant(densenet, "densenet121", "DenseNet-121.", layers=(6, 12, 24, 16), **_sizes(32, 64))
densenet161 = variant(densenet, "densenet161", "DenseNet-161.", layers=(6, 12, 36, 24), **_sizes(48, 96))
densenet169 = variant(densenet, "densenet169", "DenseNet-169.", layers=(6, 12, 32, 32), **_sizes(32, 64))
densenet201 = variant(densenet, "densenet201", "DenseNet-201.", layers=(6, 12, 48, 32), **_sizes(32, 64, long_names=True))
densenet264 = variant(densenet, "densenet264", "DenseNet-264.", layers=(6, 12, 64, 48), **_sizes(32, 64))
