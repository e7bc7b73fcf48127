"""GoogLeNet: Inception modules, which convolve at several scales side by side.

Szegedy et al.: Going Deeper with Convolutions, CVPR 2015.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from ..blocks import average, conv_norm
from ..builder import NetBuilder
from ..net import Net
from ..prototxt.message import Message
from ..training import BIASED, BVLC_DATA, TRAIN_DEFAULTS, solver
from .common import check_positive, classified, classifier, constant, images
from .registry import chosen, model

TRAIN_BATCH, VAL_BATCH = 32, 50
Conv = Callable[..., str]
# 1x1; 3x3 and the 1x1 before it; 5x5 and the 1x1 before it; the 1x1 after pooling: table 1 of the paper.
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def googlenet_solver(net: str, *, snapshot_prefix: str = "googlenet", iterations: int = 2400000) -> Message:
    """Return the SolverParameter of BVLC's "quick" recipe for a net of phase TRAIN: 60 epochs of ImageNet.

    Args:
        net: path of the train/val prototxt.
        snapshot_prefix: path prefix of the snapshots.
        iterations: training iterations of 32 images each.
    """
    return solver(
        net, base_lr=0.01, lr_policy="poly", power=0.5, weight_decay=2e-4, max_iter=iterations, test_iter=1000,
        test_interval=4000, test_initialization=False, display=40, average_loss=40, snapshot=40000,
        snapshot_prefix=snapshot_prefix,
    )  # fmt: skip


@model(
    paper="Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich: Going Deeper with Convolutions, CVPR",
    year=2015,
    solver=googlenet_solver,
    choices={"preset": ("bvlc", "torchvision")},
)
def googlenet(
    size: int | Sequence[int] = 224,
    *,
    batch: int = 1,
    classes: int = 1000,
    preset: str = "bvlc",
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """GoogLeNet, the first Inception net, with the layers of BVLC's bvlc_googlenet.

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        classes: outputs of the classifier.
        preset: "bvlc" (BVLC's file, after the paper; its weights fit) or "torchvision" (BatchNorm, no LRN, 3x3 in place of the
            5x5 convolutions; torchvision's weights fit).
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases,
            SoftmaxWithLoss and Accuracy, with two more classifiers halfway ("bvlc" only).

    Raises:
        NetError: a value is out of range.

    >>> net = googlenet()
    >>> len(net.layers), net.param_count, net.macs
    (143, 6998552, 1582671872)
    """
    bvlc = chosen(preset, {"bvlc": True, "torchvision": False})
    check_positive(classes=classes)
    b = classifier("GoogleNet", phase, {"BatchNorm": {"eps": 1e-3}}, train=BIASED if bvlc else TRAIN_DEFAULTS)
    x = images(b, size, batch=batch, phase=phase, **BVLC_DATA, train_batch=TRAIN_BATCH, val_batch=VAL_BATCH)
    conv: Conv = partial(_conv if bvlc else _conv_norm, b)
    x = conv(x, 64, 7, "conv1/7x7_s2", stride=2)
    x = b.pool(x, "MAX", 3, stride=2, name="pool1/3x3_s2")
    x = b.lrn(x, name="pool1/norm1") if bvlc else x
    x = conv(conv(x, 64, 1, "conv2/3x3_reduce"), 192, 3, "conv2/3x3")
    x = b.lrn(x, name="conv2/norm2") if bvlc else x
    x = b.pool(x, "MAX", 3, stride=2, name="pool2/3x3_s2")
    for module, channels in MODULES.items():
        name = f"inception_{module}"
        with b.scope(name, prefix=False):
            x = _inception(b, conv, x, name, channels, 5 if bvlc else 3)
        if module in ("4a", "4d") and bvlc and phase == "TRAIN":
            _side_classifier(b, x, classes, "loss1" if module == "4a" else "loss2")
        if module in ("3b", "4e"):
            window = 3 if bvlc or module == "3b" else 2
            x = b.pool(x, "MAX", window, stride=2, name=f"pool{module[0]}/{window}x{window}_s2")
    return _classified(b, x, classes, phase)


def _inception(b: NetBuilder, conv: Conv, x: str, name: str, channels: Sequence[int], large: int) -> str:
    """The four branches of a module (figure 2b of the paper)."""
    one, three_reduce, three, five_reduce, five, proj = channels
    branches = [
        conv(x, one, 1, f"{name}/1x1"),
        conv(conv(x, three_reduce, 1, f"{name}/3x3_reduce"), three, 3, f"{name}/3x3"),
        conv(conv(x, five_reduce, 1, f"{name}/5x5_reduce"), five, large, f"{name}/5x5"),
        conv(b.pool(x, "MAX", 3, stride=1, pad=1, name=f"{name}/pool"), proj, 1, f"{name}/pool_proj"),
    ]
    return b.concat(*branches, name=f"{name}/output")


def _conv(b: NetBuilder, x: str, num_output: int, kernel_size: int, name: str, *, stride: int | None = None) -> str:
    """A convolution with bias, and its ReLU under the name that it has in BVLC's file."""
    pad = kernel_size // 2 or None
    x = b.conv(x, num_output, kernel_size, stride=stride, pad=pad, bias_filler=constant(0.2), name=name)
    stage, _, layer = name.rpartition("/")
    return b.relu(x, name=f"{stage}/relu_{layer.removesuffix('_s2')}")


def _conv_norm(b: NetBuilder, x: str, num_output: int, kernel_size: int, name: str, *, stride: int | None = None) -> str:
    return conv_norm(b, x, num_output, kernel_size, name=name, stride=stride)


def _side_classifier(b: NetBuilder, x: str, classes: int, name: str) -> None:
    """A classifier halfway, whose loss counts 0.3 (section 5 of the paper)."""
    x = b.pool(x, "AVE", 5, stride=3, name=f"{name}/ave_pool")
    x = _conv(b, x, 128, 1, f"{name}/conv")
    x = b.relu(b.fc(x, 1024, bias_filler=constant(0.2), name=f"{name}/fc"), name=f"{name}/relu_fc")
    x = b.dropout(x, 0.7, name=f"{name}/drop_fc")
    x = b.fc(x, classes, bias_filler=constant(0), name=f"{name}/classifier")
    b.softmax_loss(x, name=f"{name}/loss", top=f"{name}/{name}", loss_weight=0.3)


def _classified(b: NetBuilder, x: str, classes: int, phase: str) -> Net:
    x = average(b, x, 7, "pool5/7x7_s1")
    x = b.dropout(x, 0.4, name="pool5/drop_7x7_s1")
    x = b.fc(x, classes, bias_filler=constant(0), name="loss3/classifier")
    return classified(b, x, phase)
