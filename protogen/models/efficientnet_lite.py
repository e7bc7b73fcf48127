"""EfficientNet-Lite: EfficientNet for phones and chips, without squeeze-and-excitation and with ReLU6.

Tan, Le: EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML 2019; Lite is their variant of 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import ceil
from typing import Literal

from ..activations import relu6
from ..blocks import conv_norm, inverted_residual
from ..net import Net
from ..training import WEIGHT_AND_BIAS, imagenet_solver
from .common import check_positive, classified, classifier, images, scaled
from .registry import chosen, model, variant

efficientnet_lite_solver = imagenet_solver(
    "efficientnet_lite", base_lr=0.1, epochs=350, lr_policy="poly", power=1.0, weight_decay=1e-5
)
# Expansion, channels at width 1, blocks at depth 1, stride of the first one, and kernel.
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
SCALES = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2), "lite3": (1.2, 1.4), "lite4": (1.4, 1.8)}  # width, depth


@model(
    paper="Tan, Le: EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, ICML",
    year=2019,
    solver=efficientnet_lite_solver,
    choices={"version": SCALES},
)
def efficientnet_lite(
    size: int | Sequence[int] = 224,
    *,
    batch: int = 1,
    classes: int = 1000,
    version: str = "lite0",
    clip: bool = False,
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """EfficientNet-Lite, with the layer sizes of timm, whose weights efficientnet_lite0 fit.

    They expect red, green, blue, (x / 255 - mean) / deviation, with ImageNet's 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225. The
    weights that timm took from TensorFlow (tf_efficientnet_lite0) do not fit: they pad on the right and at the bottom only.

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        classes: outputs of the classifier.
        version: "lite0" to "lite4", each wider and deeper; published for 224, 240, 260, 280 and 300 pixels.
        clip: limit activations by Clip, a layer of BVLC's Caffe since 2018, in place of ReLU6, a layer of MobileNet's forks that
            most toolchains read.
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases,
            SoftmaxWithLoss and Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = efficientnet_lite()
    >>> len(net.layers), net.param_count, net.macs
    (194, 4652008, 385187552)
    """
    width, depth = chosen(version, SCALES, "version")
    activation = partial(relu6, clip=clip)
    check_positive(classes=classes)
    b = classifier(f"EfficientNet-{version}", phase)
    x = images(b, size, batch=batch, phase=phase)
    x = activation(b, conv_norm(b, x, 32, 3, stride=2, name="conv1", relu=False, weight_filler="msra"), "conv1/relu")
    for stage, (expansion, channels, count, stride, kernel_size) in enumerate(STAGES, 1):
        # The first and the last stage have the same number of blocks in all versions.
        for i in range(count if stage in (1, len(STAGES)) else ceil(count * depth)):
            x = inverted_residual(
                b, x, scaled(channels, width), stride if i == 0 else 1, expansion=expansion, kernel_size=kernel_size,
                activation=activation, name=f"stage{stage}_{i + 1}", weight_filler="msra",
            )  # fmt: skip
    x = activation(b, conv_norm(b, x, 1280, 1, name="conv_last", relu=False, weight_filler="msra"), "conv_last/relu")
    x = b.dropout(b.global_pool(x, name="pool"), 0.2, name="drop")
    x = b.conv(x, classes, 1, weight_filler="msra", bias_filler="constant", name="fc", param=WEIGHT_AND_BIAS)
    return classified(b, x, phase)


efficientnet_lite0 = variant(efficientnet_lite, "efficientnet_lite0", "EfficientNet-Lite0.", version="lite0")
