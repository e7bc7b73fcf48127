"""RepVGG in its plain form: 3x3 convolutions and ReLU, nothing else, in which the branches of training are merged.

Ding, Zhang, Ma, Han, Ding, Sun: RepVGG: Making VGG-style ConvNets Great Again, CVPR 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from ..net import Net
from ..training import BIASED, imagenet_solver
from .common import check_positive, classified, classifier, images
from .registry import chosen, model, variant

repvgg_solver = imagenet_solver("repvgg", base_lr=0.1, epochs=120, batch=64, lr_policy="poly", power=1.0, weight_decay=1e-4)
CHANNELS = (64, 128, 256, 512)
DEPTHS = {"a": (2, 4, 14, 1), "b": (4, 6, 16, 1)}
# Multipliers of the channels of the first three stages and of the last one: table 3 of the paper.
VERSIONS = {
    "a0": (0.75, 2.5),
    "a1": (1.0, 2.5),
    "a2": (1.5, 2.75),
    "b0": (1.0, 2.5),
    "b1": (2.0, 4.0),
    "b2": (2.5, 5.0),
    "b3": (3.0, 5.0),
}


@model(
    paper="Ding, Zhang, Ma, Han, Ding, Sun: RepVGG: Making VGG-style ConvNets Great Again, CVPR",
    year=2021,
    solver=repvgg_solver,
    choices={"version": VERSIONS},
)
def repvgg(
    size: int | Sequence[int] = 224,
    *,
    batch: int = 1,
    classes: int = 1000,
    version: str = "a0",
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """RepVGG in its plain form, which is what a chip computes; A0 by default.

    Weights are trained with branches of 1x1 and identity beside each convolution, which are merged afterwards: those of timm fit
    after `timm.utils.reparameterize_model(model)`. They expect red, green, blue, (x / 255 - mean) / deviation, with ImageNet's
    0.485, 0.456, 0.406 and 0.229, 0.224, 0.225. Trained without the branches, it is less accurate (table 6 of the paper).

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        classes: outputs of the classifier.
        version: "a0" to "a2", or the deeper "b0" to "b3".
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases,
            SoftmaxWithLoss and Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = repvgg()
    >>> len(net.layers), net.param_count, net.macs
    (48, 8309384, 1361451008)
    """
    width, last = chosen(version, VERSIONS, "version")
    check_positive(classes=classes)
    b = classifier(f"RepVGG-{version.upper()}", phase, train=BIASED)
    x = images(b, size, batch=batch, phase=phase)
    depths = DEPTHS[version[0]]
    stages = [(min(64, int(64 * width)), 1)]
    stages += [(int(c * (last if c == CHANNELS[-1] else width)), n) for c, n in zip(CHANNELS, depths)]
    for stage, (num_output, count) in enumerate(stages):
        with b.scope(f"stage{stage}", prefix=False):
            for i in range(1, count + 1):
                x = b.conv(x, num_output, 3, stride=2 if i == 1 else None, pad=1, weight_filler="msra", name=f"stage{stage}_{i}")
                x = b.relu(x)
    x = b.fc(b.global_pool(x, name="pool"), classes, weight_filler="msra", bias_filler="constant", name="fc")
    return classified(b, x, phase)


repvgg_a0 = variant(repvgg, "repvgg_a0", "RepVGG-A0 in its plain form.", version="a0")
