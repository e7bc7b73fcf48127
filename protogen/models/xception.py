"""Xception: Inception's idea taken to its end, convolutions that see each channel alone before 1x1 ones mix them.

Chollet: Xception: Deep Learning with Depthwise Separable Convolutions, CVPR 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from ..blocks import conv_norm, norm, underscores
from ..builder import NetBuilder
from ..net import Net
from ..training import imagenet_solver
from .common import check_positive, classified, classifier, images
from .registry import chosen, model

xception_solver = imagenet_solver("xception", base_lr=0.045, epochs=120, step_epochs=2, gamma=0.94, weight_decay=1e-5)


@model(
    paper="Chollet: Xception: Deep Learning with Depthwise Separable Convolutions, CVPR",
    year=2017,
    solver=xception_solver,
    choices={"preset": ("soeaver", "timm")},
)
def xception(
    size: int | Sequence[int] = 299,
    *,
    batch: int = 1,
    classes: int = 1000,
    middle: int = 8,
    preset: str = "soeaver",
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """Xception, with the layers of soeaver/caffe-model.

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        classes: outputs of the classifier.
        middle: modules of the middle flow, which keep the size.
        preset: "soeaver" (the file of soeaver/caffe-model; its weights and those of Keras fit) or "timm" (poolings pad on both
            sides at every size, and BatchNorm adds less to the variance; the weights of timm's legacy_xception fit).
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases,
            SoftmaxWithLoss and Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = xception()
    >>> len(net.layers), net.param_count, net.macs
    (209, 22855952, 8357403496)
    """
    check_positive(classes=classes, middle=middle)
    timm = chosen(preset, {"soeaver": False, "timm": True})
    b = classifier("Xception", phase, {"BatchNorm": {"eps": 1e-5 if timm else 1e-3}})
    x = images(b, size, batch=batch, phase=phase)
    x = conv_norm(b, x, 32, 3, stride=2, pad=None, name="conv1", names=underscores)
    x = conv_norm(b, x, 64, 3, pad=None, name="conv2", names=underscores)
    for i, num_output in enumerate((128, 256, 728), 1):
        x = _down(b, x, (num_output, num_output), f"xception{i}", timm, relu=i > 1)
    for i in range(4, 4 + middle):
        x = _middle(b, x, f"xception{i}")
    x = _down(b, x, (728, 1024), f"xception{4 + middle}", timm)
    x = _separable(b, x, 1536, "conv3")
    x = _separable(b, x, 2048, "conv4")
    x = b.global_pool(x, name="pool_ave")
    x = b.fc(x, classes, bias_filler="constant", name="classifier")
    return classified(b, x, phase)


def _separable(b: NetBuilder, x: str, num_output: int, name: str, *, relu: bool = True) -> str:
    """A 3x3 convolution per channel, a 1x1 convolution, and one normalisation for both."""
    x = b.depthwise_conv(x, 3, pad=1, bias_term=False, name=f"{name}_1")
    x = b.conv(x, num_output, 1, bias_term=False, name=f"{name}_2")
    return norm(b, x, name, names=underscores, relu=relu)


def _down(b: NetBuilder, x: str, channels: Sequence[int], name: str, timm: bool, *, relu: bool = True) -> str:
    """A module that halves height and width, as all of the entry flow do (figure 5 of the paper)."""
    with b.scope(name, prefix=False):
        shortcut = conv_norm(b, x, channels[-1], 1, stride=2, name=f"{name}_match_conv", names=underscores, relu=False)
        y = b.relu(x, in_place=False, name=f"{name}_relu") if relu else x
        y = _separable(b, y, channels[0], f"{name}_conv1")
        y = _separable(b, y, channels[1], f"{name}_conv2", relu=False)
        # TensorFlow's padding SAME: an even size gets its one pixel at the far end, as Caffe's rounding up has it.
        height, width = b.shape(y)[2:]
        pad = height % 2 if height % 2 == width % 2 else (height % 2, width % 2)
        window: dict[str, Any] = {"pad": 1, "ceil_mode": False} if timm else {"pad": pad}
        y = b.pool(y, "MAX", 3, stride=2, name=f"{name}_pool", **window)
        return b.eltwise(shortcut, y, name=f"{name}_elewise")


def _middle(b: NetBuilder, x: str, name: str) -> str:
    with b.scope(name, prefix=False):
        y = b.relu(x, in_place=False, name=f"{name}_relu")
        y = _separable(b, y, 728, f"{name}_conv1")
        y = _separable(b, y, 728, f"{name}_conv2")
        y = _separable(b, y, 728, f"{name}_conv3", relu=False)
        return b.eltwise(x, y, name=f"{name}_elewise")
