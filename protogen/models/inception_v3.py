"""Inception v3: convolutions of 7x7 and 5x5 taken apart into smaller ones.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: Rethinking the Inception Architecture for Computer Vision, CVPR 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

from ..blocks import tower
from ..builder import NetBuilder
from ..net import Net
from ..training import imagenet_solver
from .common import check_positive, classified, classifier, images
from .registry import chosen, model

inception_v3_solver = imagenet_solver("inception_v3", base_lr=0.045, epochs=100, lr_policy="poly", power=1.0)
VALID = {"pad": None}
HALVE = {"pad": None, "stride": 2}


@model(
    paper="Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: Rethinking the Inception Architecture for Computer Vision, CVPR",
    year=2016,
    solver=inception_v3_solver,
    choices={"preset": ("torchvision", "soeaver")},
)
def inception_v3(
    size: int | Sequence[int] = 299,
    *,
    batch: int = 1,
    classes: int = 1000,
    preset: str = "torchvision",
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """Inception v3, without the classifier halfway; layers have the names of soeaver/caffe-model.

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        classes: outputs of the classifier.
        preset: "torchvision" (whose weights fit, as do TensorFlow's) or "soeaver" (max pooling in the last module, as in the file
            of soeaver/caffe-model; its weights fit).
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases,
            SoftmaxWithLoss and Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = inception_v3()
    >>> len(net.layers), net.param_count, net.macs
    (405, 23834568, 5713216096)
    """
    last_pool = chosen(preset, {"torchvision": "AVE", "soeaver": "MAX"})
    check_positive(classes=classes)
    b = classifier("Inception-v3", phase, {"BatchNorm": {"eps": 1e-3}})
    x = images(b, size, batch=batch, phase=phase)
    x = stem(b, x, rounds_down=preset == "torchvision")
    for i, features in enumerate((32, 64, 64), 1):
        x = _module_a(b, x, f"inception_a{i}", features)
    x = _reduction_a(b, x, "reduction_a")
    for i, width in enumerate((128, 160, 160, 192), 1):
        x = _module_b(b, x, f"inception_b{i}", width)
    x = _reduction_b(b, x, "reduction_b")
    for i, pool in enumerate(("AVE", last_pool), 1):
        x = _module_c(b, x, f"inception_c{i}", pool)
    return inception_classified(b, x, classes, phase)


def stem(b: NetBuilder, x: str, *, rounds_down: bool) -> str:
    """Five convolutions and two poolings, which make 35x35 of 299x299; Inception-ResNet v2 begins with them, too.

    At sizes at which it matters, the poolings round down, as in PyTorch and TensorFlow, or up, as a published file does.
    """
    pool = halved if rounds_down else partial(NetBuilder.pool, pool="MAX", kernel_size=3, stride=2)
    with b.scope("stem", prefix=False):
        x = tower(b, x, "conv1", ("3x3_s2", 32, 3, HALVE))
        x = tower(b, x, "conv2", ("3x3_s1", 32, 3, VALID))
        x = tower(b, x, "conv3", ("3x3_s1", 64, 3))
        x = pool(b, x, name="pool1_3x3_s2")
        x = tower(b, x, "conv4", ("3x3_reduce", 80, 1), ("3x3", 192, 3, VALID))
        return pool(b, x, name="pool2_3x3_s2")


def halved(b: NetBuilder, x: str, *, name: str) -> str:
    """A 3x3 max pooling of stride 2 that rounds down, as the convolutions beside it; a field says so where it matters."""
    exact = all(side % 2 for side in b.shape(x)[2:])
    return b.pool(x, "MAX", 3, stride=2, ceil_mode=None if exact else False, name=name)


def inception_classified(b: NetBuilder, x: str, classes: int, phase: str, dropout: float = 0.2) -> Net:
    """Pooling over the whole image, dropout, and the classifier, as all later Inception nets have them."""
    x = b.global_pool(x, name="pool_8x8_s1")
    x = b.dropout(x, dropout, in_place=False, name="pool_8x8_s1_drop")
    x = b.fc(x, classes, bias_filler="constant", name="classifier")
    return classified(b, x, phase)


def _module_a(b: NetBuilder, x: str, name: str, features: int) -> str:
    """35x35: a 5x5 branch and one of two 3x3 (figure 5 of the paper)."""
    with b.scope(name, prefix=False):
        left = tower(b, x, name, ("1x1", 64, 1))
        five = tower(b, x, name, ("5x5_reduce", 48, 1), ("5x5", 64, 5))
        three = tower(b, x, name, ("3x3_reduce", 64, 1), ("3x3_1", 96, 3), ("3x3_2", 96, 3))
        pooled = b.pool(x, "AVE", 3, stride=1, pad=1, name=f"{name}_pool")
        pooled = tower(b, pooled, name, ("pool_proj", features, 1))
        return b.concat(left, five, three, pooled, name=f"{name}_output")


def _reduction_a(b: NetBuilder, x: str, name: str) -> str:
    with b.scope(name, prefix=False):
        three = tower(b, x, name, ("3x3", 384, 3, HALVE))
        double = tower(b, x, name, ("3x3_2_reduce", 64, 1), ("3x3_2", 96, 3), ("3x3_3", 96, 3, HALVE))
        return b.concat(three, double, halved(b, x, name=f"{name}_pool"), name=f"{name}_concat")


def _module_b(b: NetBuilder, x: str, name: str, width: int) -> str:
    """17x17: 7x7 as 1x7 and 7x1, once and twice (figure 6 of the paper)."""
    with b.scope(name, prefix=False):
        left = tower(b, x, name, ("1x1_2", 192, 1))
        seven = tower(b, x, name, ("1x7_reduce", width, 1), ("1x7", width, (1, 7)), ("7x1", 192, (7, 1)))
        double = tower(
            b, x, name, ("7x1_reduce", width, 1), ("7x1_2", width, (7, 1)), ("1x7_2", width, (1, 7)), ("7x1_3", width, (7, 1)),
            ("1x7_3", 192, (1, 7)),
        )  # fmt: skip
        pooled = b.pool(x, "AVE", 3, stride=1, pad=1, name=f"{name}_pool_ave")
        pooled = tower(b, pooled, name, ("1x1", 192, 1))
        return b.concat(left, seven, double, pooled, name=f"{name}_concat")


def _reduction_b(b: NetBuilder, x: str, name: str) -> str:
    with b.scope(name, prefix=False):
        three = tower(b, x, name, ("3x3_reduce", 192, 1), ("3x3", 320, 3, HALVE))
        seven = tower(
            b, x, name, ("1x7_reduce", 192, 1), ("1x7", 192, (1, 7)), ("7x1", 192, (7, 1)), ("3x3_2", 192, 3, HALVE)
        )  # fmt: skip
        return b.concat(three, seven, halved(b, x, name=f"{name}_pool"), name=f"{name}_concat")


def _module_c(b: NetBuilder, x: str, name: str, pool: str) -> str:
    """8x8: branches that end in 1x3 beside 3x1 (figure 7 of the paper)."""
    with b.scope(name, prefix=False):
        left = tower(b, x, name, ("1x1_2", 320, 1))
        three = tower(b, x, name, ("1x3_reduce", 384, 1))
        ends = [tower(b, three, name, ("1x3", 384, (1, 3))), tower(b, three, name, ("3x1", 384, (3, 1)))]
        double = tower(b, x, name, ("3x3_reduce", 448, 1), ("3x3", 384, 3))
        ends += [tower(b, double, name, ("1x3_2", 384, (1, 3))), tower(b, double, name, ("3x1_2", 384, (3, 1)))]
        pooled = b.pool(x, pool, 3, stride=1, pad=1, name=f"{name}_pool")
        pooled = tower(b, pooled, name, ("1x1", 192, 1))
        return b.concat(left, *ends, pooled, name=f"{name}_concat")
