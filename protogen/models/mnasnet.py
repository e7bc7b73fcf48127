"""MnasNet: inverted residuals with kernels and widths found by a search that measures time on a phone.

Tan, Chen, Pang, Vasudevan, Sandler, Howard, Le: MnasNet: Platform-Aware Neural Architecture Search for Mobile, CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

from ..activations import relu
from ..blocks import conv_norm, inverted_residual, squeeze_excite
from ..builder import NetBuilder
from ..net import Net
from ..training import WEIGHT_AND_BIAS, imagenet_solver
from .common import check_positive, classified, classifier, images, scaled
from .registry import chosen, model

mnasnet_solver = imagenet_solver("mnasnet", base_lr=0.1, epochs=350, lr_policy="poly", power=1.0, weight_decay=4e-5)
# Expansion, channels at width 1, blocks, stride of the first one, kernel, and whether there is squeeze-and-excitation.
STAGES = {
    "b1": (
        (3, 24, 3, 2, 3, False),
        (3, 40, 3, 2, 5, False),
        (6, 80, 3, 2, 5, False),
        (6, 96, 2, 1, 3, False),
        (6, 192, 4, 2, 5, False),
        (6, 320, 1, 1, 3, False),
    ),
    "a1": (
        (6, 24, 2, 2, 3, False),
        (3, 40, 3, 2, 5, True),
        (6, 80, 4, 2, 3, False),
        (6, 112, 2, 1, 3, True),
        (6, 160, 3, 2, 5, True),
        (6, 320, 1, 1, 3, False),
    ),
}


@model(
    paper="Tan, Chen, Pang, Vasudevan, Sandler, Howard, Le: MnasNet: Platform-Aware Neural Architecture Search for Mobile, CVPR",
    year=2019,
    solver=mnasnet_solver,
    choices={"version": STAGES},
)
def mnasnet(
    size: int | Sequence[int] = 224,
    *,
    batch: int = 1,
    classes: int = 1000,
    version: str = "b1",
    width: float = 1.0,
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """MnasNet, by default B1, which has no squeeze-and-excitation.

    Layers have the sizes of torchvision (mnasnet0_5 to mnasnet1_3 are B1 of width 0.5 to 1.3) and timm, whose weights fit. They
    expect red, green, blue, (x / 255 - mean) / deviation, with ImageNet's 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225.

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        classes: outputs of the classifier.
        version: "b1", or "a1" of the paper's figure 7, with squeeze-and-excitation.
        width: multiplier of all channels but the last convolution's.
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases,
            SoftmaxWithLoss and Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = mnasnet()
    >>> len(net.layers), net.param_count, net.macs
    (206, 4383312, 314415872)
    """
    stages = chosen(version, STAGES, "version")
    check_positive(classes=classes)
    b = classifier(f"MnasNet-{version.upper()}", phase)
    x = images(b, size, batch=batch, phase=phase)
    x = conv_norm(b, x, scaled(32, width), 3, stride=2, name="conv1", weight_filler="msra")
    x = inverted_residual(b, x, scaled(16, width), expansion=1, skip=False, name="stage1_1", weight_filler="msra")
    for stage, (expansion, channels, count, stride, kernel_size, excite) in enumerate(stages, 2):
        for i in range(count):
            hidden = b.channels(x) * expansion
            gate = partial(_gate, hidden=max(1, b.channels(x) // 4)) if excite else None
            x = inverted_residual(
                b, x, scaled(channels, width), stride if i == 0 else 1, hidden=hidden, kernel_size=kernel_size,
                activation=relu, gate=gate, skip=i > 0, name=f"stage{stage}_{i + 1}", weight_filler="msra",
            )  # fmt: skip
    x = conv_norm(b, x, 1280, 1, name="conv_last", weight_filler="msra")
    x = b.dropout(b.global_pool(x, name="pool"), 0.2, name="drop")
    x = b.conv(x, classes, 1, weight_filler="msra", bias_filler="constant", name="fc", param=WEIGHT_AND_BIAS)
    return classified(b, x, phase)


def _gate(b: NetBuilder, x: str, name: str, *, hidden: int) -> str:
    return squeeze_excite(b, x, hidden=hidden, name=f"{name}/se", weight_filler="msra", param=WEIGHT_AND_BIAS)
