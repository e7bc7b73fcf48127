"""Inception v4: more Inception modules of a more uniform kind.

Szegedy, Ioffe, Vanhoucke, Alemi: Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning, AAAI 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..blocks import tower
from ..builder import NetBuilder
from ..net import Net
from ..training import imagenet_solver
from .common import check_positive, classifier, images, stages
from .inception_v3 import HALVE, VALID, halved, inception_classified
from .registry import chosen, model

inception_v4_solver = imagenet_solver("inception_v4", base_lr=0.045, epochs=160, lr_policy="poly", power=1.0)

PADDING = {"soeaver": None, "timm": False}  # avg_include_pad of average pooling


@model(
    paper="Szegedy, Ioffe, Vanhoucke, Alemi: Inception-v4, Inception-ResNet and the Impact of Residual Connections on "
    "Learning, AAAI",
    year=2017,
    solver=inception_v4_solver,
    choices={"preset": PADDING},
)
def inception_v4(
    size: int | Sequence[int] = 299,
    *,
    batch: int = 1,
    classes: int = 1000,
    modules: Sequence[int] = (4, 7, 3),
    preset: str = "soeaver",
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """Inception v4, with the layers of soeaver/caffe-model.

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        classes: outputs of the classifier.
        modules: Inception modules at 35x35, 17x17 and 8x8.
        preset: "soeaver" (the file of soeaver/caffe-model; its weights fit) or "timm" (average pooling leaves padding out, with a
            field that Intel's Caffe has and OpenCV 4 has not; the weights of timm and TensorFlow fit).
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases,
            SoftmaxWithLoss and Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = inception_v4()
    >>> len(net.layers), net.param_count, net.macs
    (638, 42679816, 12253974624)
    """
    check_positive(classes=classes)
    at_35, at_17, at_8 = stages(modules, 3)
    padding = chosen(preset, PADDING)
    b = classifier("Inception-v4", phase, {"BatchNorm": {"eps": 1e-3}})
    x = _stem(b, images(b, size, batch=batch, phase=phase))
    for i in range(1, at_35 + 1):
        x = _module_a(b, x, f"inception_a{i}", padding)
    x = reduction_a(b, x, "reduction_a", (192, 224, 256))
    for i in range(1, at_17 + 1):
        x = _module_b(b, x, f"inception_b{i}", padding)
    x = _reduction_b(b, x, "reduction_b")
    for i in range(1, at_8 + 1):
        x = _module_c(b, x, f"inception_c{i}", padding)
    return inception_classified(b, x, classes, phase)


def _stem(b: NetBuilder, x: str) -> str:
    """Figure 3 of the paper: convolutions beside poolings, three times."""
    with b.scope("stem", prefix=False):
        x = tower(b, x, "conv1", ("3x3_s2", 32, 3, HALVE))
        x = tower(b, x, "conv2", ("3x3_s1", 32, 3, VALID))
        x = tower(b, x, "conv3", ("3x3_s1", 64, 3))
        name = "inception_stem1"
        three = tower(b, x, name, ("3x3_s2", 96, 3, HALVE))
        x = b.concat(halved(b, x, name=f"{name}_pool"), three, name=name)
        name = "inception_stem2"
        three = tower(b, x, name, ("3x3_reduce", 64, 1), ("3x3", 96, 3, VALID))
        seven = tower(
            b, x, name, ("1x7_reduce", 64, 1), ("1x7", 64, (1, 7)), ("7x1", 64, (7, 1)), ("3x3_2", 96, 3, VALID)
        )  # fmt: skip
        x = b.concat(three, seven, name=name)
        name = "inception_stem3"
        three = tower(b, x, name, ("3x3_s2", 192, 3, HALVE))
        return b.concat(three, halved(b, x, name=f"{name}_pool"), name=name)


def _module_a(b: NetBuilder, x: str, name: str, padding: bool | None) -> str:
    """35x35 (figure 4 of the paper)."""
    with b.scope(name, prefix=False):
        left = tower(b, x, name, ("1x1_2", 96, 1))
        three = tower(b, x, name, ("3x3_reduce", 64, 1), ("3x3", 96, 3))
        double = tower(b, x, name, ("3x3_2_reduce", 64, 1), ("3x3_2", 96, 3), ("3x3_3", 96, 3))
        pooled = b.pool(x, "AVE", 3, stride=1, pad=1, avg_include_pad=padding, name=f"{name}_pool_ave")
        pooled = tower(b, pooled, name, ("1x1", 96, 1))
        return b.concat(left, three, double, pooled, name=f"{name}_concat")


def reduction_a(b: NetBuilder, x: str, name: str, channels: Sequence[int]) -> str:
    """35x35 to 17x17; Inception-ResNet v2 has it with other channels (figure 7 of the paper)."""
    reduced, wide, wider = channels
    with b.scope(name, prefix=False):
        three = tower(b, x, name, ("3x3", 384, 3, HALVE))
        double = tower(b, x, name, ("3x3_2_reduce", reduced, 1), ("3x3_2", wide, 3), ("3x3_3", wider, 3, HALVE))
        return b.concat(three, double, halved(b, x, name=f"{name}_pool"), name=f"{name}_concat")


def _module_b(b: NetBuilder, x: str, name: str, padding: bool | None) -> str:
    """17x17 (figure 5 of the paper)."""
    with b.scope(name, prefix=False):
        left = tower(b, x, name, ("1x1_2", 384, 1))
        seven = tower(b, x, name, ("1x7_reduce", 192, 1), ("1x7", 224, (1, 7)), ("7x1", 256, (7, 1)))
        double = tower(
            b, x, name, ("7x1_2_reduce", 192, 1), ("7x1_2", 192, (7, 1)), ("1x7_2", 224, (1, 7)), ("7x1_3", 224, (7, 1)),
            ("1x7_3", 256, (1, 7)),
        )  # fmt: skip
        pooled = b.pool(x, "AVE", 3, stride=1, pad=1, avg_include_pad=padding, name=f"{name}_pool_ave")
        pooled = tower(b, pooled, name, ("1x1", 128, 1))
        return b.concat(left, seven, double, pooled, name=f"{name}_concat")


def _reduction_b(b: NetBuilder, x: str, name: str) -> str:
    """17x17 to 8x8 (figure 8 of the paper)."""
    with b.scope(name, prefix=False):
        three = tower(b, x, name, ("3x3_reduce", 192, 1), ("3x3", 192, 3, HALVE))
        seven = tower(
            b, x, name, ("1x7_reduce", 256, 1), ("1x7", 256, (1, 7)), ("7x1", 320, (7, 1)), ("3x3_2", 320, 3, HALVE)
        )  # fmt: skip
        return b.concat(three, seven, halved(b, x, name=f"{name}_pool"), name=f"{name}_concat")


def _module_c(b: NetBuilder, x: str, name: str, padding: bool | None) -> str:
    """8x8 (figure 6 of the paper)."""
    with b.scope(name, prefix=False):
        left = tower(b, x, name, ("1x1_2", 256, 1))
        short = tower(b, x, name, ("1x1_3", 384, 1))
        ends = [tower(b, short, name, ("1x3", 256, (1, 3))), tower(b, short, name, ("3x1", 256, (3, 1)))]
        long = tower(b, x, name, ("1x1_4", 384, 1), ("3x1_2", 448, (3, 1)), ("1x3_2", 512, (1, 3)))
        ends += [tower(b, long, name, ("1x3_3", 256, (1, 3))), tower(b, long, name, ("3x1_3", 256, (3, 1)))]
        pooled = b.pool(x, "AVE", 3, stride=1, pad=1, avg_include_pad=padding, name=f"{name}_pool_ave")
        pooled = tower(b, pooled, name, ("1x1", 256, 1))
        return b.concat(left, *ends, pooled, name=f"{name}_concat")
