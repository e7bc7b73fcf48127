"""Inception-ResNet v2: Inception modules whose outputs are added to their inputs.

Szegedy, Ioffe, Vanhoucke, Alemi: Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning, AAAI 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..blocks import tower
from ..builder import NetBuilder
from ..net import Net
from ..training import WEIGHT_AND_BIAS, imagenet_solver
from .common import check_positive, classifier, constant, images, stages
from .inception_v3 import HALVE, halved, inception_classified, stem
from .inception_v4 import PADDING, reduction_a
from .registry import chosen, model

inception_resnet_v2_solver = imagenet_solver("inception_resnet_v2", base_lr=0.045, epochs=160, lr_policy="poly", power=1.0)
PREFIX = "inception_resnet_v2_"


@model(
    paper="Szegedy, Ioffe, Vanhoucke, Alemi: Inception-v4, Inception-ResNet and the Impact of Residual Connections on "
    "Learning, AAAI",
    year=2017,
    solver=inception_resnet_v2_solver,
    choices={"preset": PADDING},
)
def inception_resnet_v2(
    size: int | Sequence[int] = 299,
    *,
    batch: int = 1,
    classes: int = 1000,
    modules: Sequence[int] = (10, 20, 10),
    preset: str = "soeaver",
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """Inception-ResNet v2, with the layers of soeaver/caffe-model.

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        classes: outputs of the classifier.
        modules: Inception-ResNet modules at 35x35, 17x17 and 8x8.
        preset: "soeaver" (the file of soeaver/caffe-model; its weights fit) or "timm" (average pooling leaves padding out, with a
            field that Intel's Caffe has and OpenCV 4 has not; the weights of timm and TensorFlow fit).
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases,
            SoftmaxWithLoss and Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = inception_resnet_v2()
    >>> len(net.layers), net.param_count, net.macs
    (988, 55843464, 13155794016)
    """
    check_positive(classes=classes)
    at_35, at_17, at_8 = stages(modules, 3)
    b = classifier("Inception-Resnet-v2", phase, {"BatchNorm": {"eps": 1e-3}})
    x = stem(b, images(b, size, batch=batch, phase=phase), rounds_down=preset == "timm")
    x = _mixed(b, x, chosen(preset, PADDING))
    for i in range(1, at_35 + 1):
        x = _module_a(b, x, f"{PREFIX}a{i}")
    x = reduction_a(b, x, "reduction_a", (256, 256, 384))
    for i in range(1, at_17 + 1):
        x = _module_b(b, x, f"{PREFIX}b{i}")
    x = _reduction_b(b, x, "reduction_b")
    for i in range(1, at_8 + 1):
        x = _module_c(b, x, f"{PREFIX}c{i}", last=i == at_8)
    x = tower(b, x, "conv6", ("1x1", 1536, 1))
    return inception_classified(b, x, classes, phase)


def _mixed(b: NetBuilder, x: str, padding: bool | None) -> str:
    """The one plain Inception module, at 35x35."""
    with b.scope("mixed", prefix=False):
        left = tower(b, x, "conv5", ("1x1", 96, 1))
        five = tower(b, x, "conv5", ("5x5_reduce", 48, 1), ("5x5", 64, 5))
        three = tower(b, x, "conv5", ("3x3_reduce", 64, 1), ("3x3", 96, 3), ("3x3_2", 96, 3))
        pooled = b.pool(x, "AVE", 3, stride=1, pad=1, avg_include_pad=padding, name="ave_pool")
        pooled = tower(b, pooled, "conv5", ("1x1_ave", 64, 1))
        return b.concat(left, five, three, pooled, name="stem_concat")


def _module_a(b: NetBuilder, x: str, name: str) -> str:
    """35x35 (figure 16 of the paper)."""
    with b.scope(name, prefix=False):
        left = tower(b, x, name, ("1x1", 32, 1))
        three = tower(b, x, name, ("3x3_reduce", 32, 1), ("3x3", 32, 3))
        double = tower(b, x, name, ("3x3_2_reduce", 32, 1), ("3x3_2", 48, 3), ("3x3_3", 64, 3))
        return _added(b, x, [left, three, double], name, 0.17)


def _module_b(b: NetBuilder, x: str, name: str) -> str:
    """17x17 (figure 17 of the paper)."""
    with b.scope(name, prefix=False):
        left = tower(b, x, name, ("1x1", 192, 1))
        seven = tower(b, x, name, ("1x7_reduce", 128, 1), ("1x7", 160, (1, 7)), ("7x1", 192, (7, 1)))
        return _added(b, x, [left, seven], name, 0.1)


def _reduction_b(b: NetBuilder, x: str, name: str) -> str:
    """17x17 to 8x8 (figure 18 of the paper)."""
    with b.scope(name, prefix=False):
        branches = [
            tower(b, x, name, ("3x3_reduce", 256, 1), ("3x3", 384, 3, HALVE)),
            tower(b, x, name, ("3x3_2_reduce", 256, 1), ("3x3_2", 288, 3, HALVE)),
            tower(b, x, name, ("3x3_3_reduce", 256, 1), ("3x3_3", 288, 3), ("3x3_4", 320, 3, HALVE)),
            halved(b, x, name=f"{name}_pool"),
        ]
        return b.concat(*branches, name=f"{name}_concat")


def _module_c(b: NetBuilder, x: str, name: str, last: bool) -> str:
    """8x8 (figure 19 of the paper); the last one is added in full, and without ReLU."""
    with b.scope(name, prefix=False):
        left = tower(b, x, name, ("1x1", 192, 1))
        three = tower(b, x, name, ("1x3_reduce", 192, 1), ("1x3", 224, (1, 3)), ("3x1", 256, (3, 1)))
        return _added(b, x, [left, three], name, 1.0 if last else 0.2, relu=not last)


def _added(b: NetBuilder, x: str, branches: Sequence[str], name: str, factor: float, relu: bool = True) -> str:
    """Add the branches, brought to the channels of x and scaled down, to x."""
    y = b.concat(*branches, name=f"{name}_concat")
    y = b.conv(y, b.channels(x), 1, bias_filler=constant(0.2), name=f"{name}_up", param=WEIGHT_AND_BIAS)
    y = b.eltwise(x, y, coeff=None if factor == 1 else (1.0, factor), name=f"{name}_residual_eltwise")
    return b.relu(y, name=f"{name}_residual_eltwise_relu") if relu else y
