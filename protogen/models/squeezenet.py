"""SqueezeNet: AlexNet's accuracy with a fiftieth of its weights, in fire modules.

Iandola, Han, Moskewicz, Ashraf, Dally, Keutzer: SqueezeNet, arXiv 1602.07360, 2016.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..blocks import fire
from ..net import Net
from ..training import BVLC_DATA, imagenet_solver
from .common import check_positive, classified, classifier, gaussian, images
from .registry import chosen, model, variant

TRAIN_BATCH, VAL_BATCH = 32, 25
# The authors collect the gradients of 16 passes for each step.
squeezenet_solver = imagenet_solver(
    "squeezenet", base_lr=0.04, epochs=68, batch=TRAIN_BATCH * 16, val_batch=VAL_BATCH, lr_policy="poly", power=1.0,
    weight_decay=2e-4, iter_size=16, average_loss=40, display=40,
)  # fmt: skip


@dataclass(frozen=True)
class Version:
    """Channels and kernel of the first convolution, the modules with a pooling after them, and the last convolution's padding."""

    num_output: int
    kernel_size: int
    pools: tuple[int, ...]
    pad: int | None


VERSIONS = {
    "1.0": Version(96, 7, pools=(4, 8), pad=1),
    "1.1": Version(64, 3, pools=(3, 5), pad=None),
}
FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))  # squeeze, expand


@model(
    paper="Iandola, Han, Moskewicz, Ashraf, Dally, Keutzer: SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and "
    "<0.5MB model size, arXiv 1602.07360,",
    year=2016,
    solver=squeezenet_solver,
    choices={"version": VERSIONS, "preset": ("deepscale", "torchvision")},
)
def squeezenet(
    size: int | Sequence[int] = 227,
    *,
    batch: int = 1,
    classes: int = 1000,
    version: str = "1.1",
    preset: str = "deepscale",
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """SqueezeNet, either version; layers have the names of the authors' files, whose weights fit.

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        classes: outputs of the classifier.
        version: "1.0", the paper's, or "1.1", with 2.4 times less computation.
        preset: "deepscale" (the authors' files) or "torchvision" (without the padding of the last convolution that the authors'
            version 1.0 has; torchvision's weights fit).
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases,
            SoftmaxWithLoss and Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = squeezenet()
    >>> len(net.layers), net.param_count, net.macs
    (67, 1235496, 387747520)
    """
    style = chosen(version, VERSIONS, "version")
    pad = chosen(preset, {"deepscale": style.pad, "torchvision": None})
    check_positive(classes=classes)
    b = classifier(f"SqueezeNet {version}", phase, train={})
    x = images(b, size, batch=batch, phase=phase, **BVLC_DATA, mirror=None, train_batch=TRAIN_BATCH, val_batch=VAL_BATCH)
    x = b.relu(b.conv(x, style.num_output, style.kernel_size, stride=2, name="conv1"), name="relu_conv1")
    x = b.pool(x, "MAX", 3, stride=2, name="pool1")
    for i, (squeeze, expand) in enumerate(FIRES, 2):
        x = fire(b, x, squeeze, expand, name=f"fire{i}")
        if i in style.pools:
            x = b.pool(x, "MAX", 3, stride=2, name=f"pool{i}")
    x = b.dropout(x, name="drop9")
    x = b.relu(b.conv(x, classes, 1, pad=pad, weight_filler=gaussian(0.01), name="conv10"), name="relu_conv10")
    x = b.global_pool(x, name="pool10")
    return classified(b, x, phase, accuracies={"accuracy": None, "accuracy_top5": 5})


squeezenet1_0 = variant(squeezenet, "squeezenet1_0", "SqueezeNet 1.0, the paper's.", version="1.0")
squeezenet1_1 = variant(squeezenet, "squeezenet1_1", "SqueezeNet 1.1, with 2.4 times less computation.", version="1.1")
