"""SENet: ResNet and ResNeXt whose blocks weigh their channels by what the whole image shows.

Hu, Shen, Sun: Squeeze-and-Excitation Networks, CVPR 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

from ..blocks import average, conv_norm
from ..builder import NetBuilder
from ..net import Net
from ..training import WEIGHT_AND_BIAS, imagenet_solver
from .common import check_positive, classified, classifier, images, stages
from .registry import chosen, model, variant

senet_solver = imagenet_solver("senet", base_lr=0.6, epochs=100, batch=256, step_epochs=30, weight_decay=1e-4)


def _names(name: str, part: str) -> str:
    """Names of the authors' files."""
    return name + {"bn": "/bn", "scale": "/bn/scale", "relu": "/relu"}[part]


def _stem_names(name: str, part: str) -> str:
    return "conv1/relu_7x7_s2" if part == "relu" else _names(name, part)


_conv_norm = partial(conv_norm, names=_names, weight_filler="msra")


@model(
    paper="Hu, Shen, Sun: Squeeze-and-Excitation Networks, CVPR",
    year=2018,
    solver=senet_solver,
    choices={"gate": ("axpy", "scale")},
)
def senet(
    size: int | Sequence[int] = 224,
    *,
    batch: int = 1,
    classes: int = 1000,
    layers: Sequence[int] = (3, 4, 6, 3),
    width: int = 64,
    groups: int = 1,
    reduction: int = 16,
    gate: str = "axpy",
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """ResNet or ResNeXt with squeeze-and-excitation; SE-ResNet-50 by default.

    Layers have the names of the authors' files, whose weights fit.

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        classes: outputs of the classifier.
        layers: blocks in each of the four stages.
        width: channels of the 3x3 convolutions in the first stage; those of the other stages have 2, 4 and 8 times as many.
        groups: of the 3x3 convolutions; with several, they have the stride, otherwise the 1x1 before them.
        reduction: channels of a block over those of its gate's hidden layer.
        gate: "axpy" (one layer of the authors' fork multiplies and adds) or "scale" (Scale and Eltwise, for any Caffe, and for
            OpenCV 4, which gets Axpy wrong).
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases,
            SoftmaxWithLoss and Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = senet()
    >>> len(net.layers), net.param_count, net.macs
    (309, 28088024, 3860488192)
    """
    chosen(gate, {"axpy": "", "scale": ""}, "gate")
    check_positive(classes=classes, width=width, groups=groups, reduction=reduction)
    stages(layers, 4, "layers")
    b = classifier(f"SE-{'ResNet' if groups == 1 else 'ResNeXt'}-{3 * sum(layers) + 2}", phase)
    x = images(b, size, batch=batch, phase=phase, train_batch=256)
    x = conv_norm(b, x, 64, 7, stride=2, name="conv1/7x7_s2", names=_stem_names, weight_filler="msra")
    x = b.pool(x, "MAX", 3, stride=2, name="pool1/3x3_s2")
    for stage, count in enumerate(layers):
        inner, num_output = width * 2**stage, 256 * 2**stage
        for i in range(count):
            name = f"conv{stage + 2}_{i + 1}"
            with b.scope(name, prefix=False):
                y = _bottleneck(b, x, name, inner, num_output, groups, 2 if i == 0 and stage > 0 else 1)
                factors = _gate(b, y, name, num_output, reduction)
                if b.shape(x) != b.shape(y):
                    stride = 2 if stage > 0 else 1
                    x = _conv_norm(b, x, num_output, 1, stride=stride, relu=False, name=f"{name}_1x1_proj")
                x = b.relu(_gated(b, factors, y, x, name, gate), name=f"{name}/relu")
    x = average(b, x, 7, "pool5/7x7_s1")
    x = b.fc(x, classes, weight_filler="msra", bias_filler="constant", name="classifier")
    return classified(b, x, phase)


def _bottleneck(b: NetBuilder, x: str, name: str, width: int, num_output: int, groups: int, stride: int) -> str:
    first, second = (stride, 1) if groups == 1 else (1, stride)
    x = _conv_norm(b, x, width, 1, stride=first, name=f"{name}_1x1_reduce")
    x = _conv_norm(b, x, width, 3, stride=second, group=groups if groups > 1 else None, name=f"{name}_3x3")
    return _conv_norm(b, x, num_output, 1, relu=False, name=f"{name}_1x1_increase")


def _gate(b: NetBuilder, x: str, name: str, channels: int, reduction: int) -> str:
    """A factor between 0 and 1 for each channel, (N, C, 1, 1)."""
    x = b.global_pool(x, name=f"{name}_global_pool")
    hidden = max(1, channels // reduction)
    x = b.conv(x, hidden, 1, weight_filler="msra", name=f"{name}_1x1_down", param=WEIGHT_AND_BIAS)
    x = b.relu(x, name=f"{name}_1x1_down/relu")
    x = b.conv(x, channels, 1, weight_filler="msra", name=f"{name}_1x1_up", param=WEIGHT_AND_BIAS)
    return b.sigmoid(x, name=f"{name}_prob")


def _gated(b: NetBuilder, factors: str, x: str, shortcut: str, name: str, gate: str) -> str:
    """factors * x + shortcut."""
    if gate == "axpy":
        return b.layer("Axpy", factors, x, shortcut, name=name)
    scaled = b.scale(x, b.flatten(factors, axis=None, name=f"{name}_gate"), axis=0, name=f"{name}_scale")
    return b.eltwise(scaled, shortcut, name=name)


se_resnet50 = variant(senet, "se_resnet50", "SE-ResNet-50.", layers=(3, 4, 6, 3), width=64, groups=1)
se_resnet101 = variant(senet, "se_resnet101", "SE-ResNet-101.", layers=(3, 4, 23, 3), width=64, groups=1)
se_resnet152 = variant(senet, "se_resnet152", "SE-ResNet-152.", layers=(3, 8, 36, 3), width=64, groups=1)
se_resnext50 = variant(senet, "se_resnext50", "SE-ResNeXt-50 (32x4d).", layers=(3, 4, 6, 3), width=128, groups=32)
se_resnext101 = variant(senet, "se_resnext101", "SE-ResNeXt-101 (32x4d).", layers=(3, 4, 23, 3), width=128, groups=32)
