"""ResNet v2: normalisation and ReLU come before each convolution, so that shortcuts carry values on unchanged.

He, Zhang, Ren, Sun: Identity Mappings in Deep Residual Networks, ECCV 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

from ..blocks import conv_norm, norm, underscores
from ..builder import NetBuilder
from ..net import Net
from ..training import imagenet_solver
from .common import check_positive, classified, classifier, images, stages
from .registry import model, variant

resnet_v2_solver = imagenet_solver("resnet_v2", base_lr=0.1, epochs=90, batch=256, step_epochs=30, weight_decay=1e-4)
_conv_norm = partial(conv_norm, names=underscores, weight_filler="msra")


@model(
    paper="He, Zhang, Ren, Sun: Identity Mappings in Deep Residual Networks, ECCV",
    year=2016,
    solver=resnet_v2_solver,
)
def resnet_v2(
    size: int | Sequence[int] = 224,
    *,
    batch: int = 1,
    classes: int = 1000,
    layers: Sequence[int] = (3, 4, 6, 3),
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """ResNet v2 with any numbers of bottlenecks per stage; ResNet-50 v2 by default.

    Layers have the names of soeaver/caffe-model, whose weights of ResNet-101 v2 and 152 v2 fit.

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        classes: outputs of the classifier.
        layers: blocks in each of the four stages.
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases,
            SoftmaxWithLoss and Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = resnet_v2()
    >>> len(net.layers), net.param_count, net.macs
    (221, 25549352, 4089184256)
    """
    check_positive(classes=classes)
    stages(layers, 4, "layers")
    b = classifier(f"ResNet-{3 * sum(layers) + 2}-v2", phase)
    x = images(b, size, batch=batch, phase=phase, train_batch=256)
    x = _conv_norm(b, x, 64, 7, stride=2, name="conv1")
    x = b.pool(x, "MAX", 3, stride=2, name="pool1")
    number = 0
    for stage, count in enumerate(layers):
        for i in range(count):
            number += 1
            stride = 2 if i == 0 and stage > 0 else 1
            x = _block(b, x, 64 * 2**stage, stride, f"res{number}", first=number == 1)
    x = norm(b, x, f"res{number}_eletwise", names=underscores, in_place=False)
    x = b.global_pool(x, name="pool5")
    x = b.fc(x, classes, weight_filler="msra", bias_filler="constant", name="classifier")
    return classified(b, x, phase)


def _block(b: NetBuilder, x: str, width: int, stride: int, name: str, *, first: bool) -> str:
    """A bottleneck after normalisation, which the first block does not need; projections see the normalised values, too."""
    with b.scope(name, prefix=False):
        active = x if first else norm(b, x, name, names=underscores, in_place=False)
        y = _conv_norm(b, active, width, 1, name=f"{name}_conv1")
        y = _conv_norm(b, y, width, 3, stride=stride, name=f"{name}_conv2")
        y = b.conv(y, 4 * width, 1, bias_term=False, weight_filler="msra", name=f"{name}_conv3")
        if stride > 1 or b.channels(x) != 4 * width:
            x = b.conv(
                active, 4 * width, 1, stride=stride, bias_term=False, weight_filler="msra", name=f"{name}_match_conv"
            )  # fmt: skip
        return b.eltwise(x, y, name=f"{name}_eletwise")


resnet50_v2 = variant(resnet_v2, "resnet50_v2", "ResNet-50 v2.", layers=(3, 4, 6, 3))
resnet101_v2 = variant(resnet_v2, "resnet101_v2", "ResNet-101 v2.", layers=(3, 4, 23, 3))
resnet152_v2 = variant(resnet_v2, "resnet152_v2", "ResNet-152 v2.", layers=(3, 8, 36, 3))
