"""GhostNet: half of a layer's channels are computed, the others made of them by a cheap depthwise convolution.

Han, Wang, Tian, Guo, Xu, Xu: GhostNet: More Features from Cheap Operations, CVPR 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple

from ..activations import hard_sigmoid
from ..blocks import conv_norm, squeeze_excite
from ..builder import NetBuilder
from ..net import Net
from ..training import WEIGHT_AND_BIAS, imagenet_solver
from .common import check_positive, classified, classifier, images, scaled
from .registry import model

ghostnet_solver = imagenet_solver("ghostnet", base_lr=0.4, epochs=400, lr_policy="poly", power=1.0, weight_decay=4e-5)


class Block(NamedTuple):
    """A row of table 7 of the paper."""

    kernel_size: int
    hidden: int
    channels: int
    excite: bool
    stride: int


BLOCKS = (
    Block(3, 16, 16, False, 1),
    Block(3, 48, 24, False, 2),
    Block(3, 72, 24, False, 1),
    Block(5, 72, 40, True, 2),
    Block(5, 120, 40, True, 1),
    Block(3, 240, 80, False, 2),
    Block(3, 200, 80, False, 1),
    *[Block(3, 184, 80, False, 1)] * 2,
    Block(3, 480, 112, True, 1),
    Block(3, 672, 112, True, 1),
    Block(5, 672, 160, True, 2),
    *[Block(5, 960, 160, False, 1), Block(5, 960, 160, True, 1)] * 2,
)
_conv_norm = partial(conv_norm, weight_filler="msra")


@model(
    paper="Han, Wang, Tian, Guo, Xu, Xu: GhostNet: More Features from Cheap Operations, CVPR",
    year=2020,
    solver=ghostnet_solver,
)
def ghostnet(
    size: int | Sequence[int] = 224,
    *,
    batch: int = 1,
    classes: int = 1000,
    width: float = 1.0,
    clip: bool = False,
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """GhostNet, with the layer sizes of its authors' code and of timm, whose weights ghostnet_100 fit.

    They expect red, green, blue, (x / 255 - mean) / deviation, with ImageNet's 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225. Hard
    sigmoids, which Caffe lacks, are composed of Power and ReLU6.

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        classes: outputs of the classifier.
        width: multiplier of all channels but those before the classifier; the paper has 0.5, 1 and 1.3.
        clip: limit by Clip, a layer of BVLC's Caffe since 2018, in place of ReLU6, a layer of the MobileNet forks.
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases,
            SoftmaxWithLoss and Accuracy.

    Raises:
        NetError: a value is out of range.

    >>> net = ghostnet()
    >>> len(net.layers), net.param_count, net.macs
    (392, 5182508, 141150512)
    """
    check_positive(classes=classes)
    b = classifier("GhostNet", phase)
    x = images(b, size, batch=batch, phase=phase)
    x = _conv_norm(b, x, scaled(16, width, 4), 3, stride=2, name="conv1")
    for i, block in enumerate(BLOCKS, 1):
        with b.scope(f"block{i}", prefix=False):
            x = _bottleneck(b, x, f"block{i}", block, width, clip)
    x = _conv_norm(b, x, scaled(BLOCKS[-1].hidden, width, 4), 1, name="conv_last")
    x = b.global_pool(x, name="pool")
    x = b.relu(b.conv(x, 1280, 1, weight_filler="msra", name="fc1", param=WEIGHT_AND_BIAS), name="fc1/relu")
    x = b.conv(b.dropout(x, 0.2, name="drop"), classes, 1, weight_filler="msra", name="fc2", param=WEIGHT_AND_BIAS)
    return classified(b, x, phase)


def _bottleneck(b: NetBuilder, x: str, name: str, block: Block, width: float, clip: bool) -> str:
    """Figure 3 of the paper: a ghost module that widens, a depthwise convolution if the image is halved, and one that narrows."""
    hidden, num_output = scaled(block.hidden, width, 4), scaled(block.channels, width, 4)
    y = ghost(b, x, hidden, f"{name}/ghost1")
    if block.stride > 1:
        y = _depthwise(b, y, block, f"{name}/dwise")
    if block.excite:
        gate = partial(hard_sigmoid, clip=clip)
        y = squeeze_excite(
            b, y, hidden=scaled(hidden, 0.25, 4), gate=gate, name=f"{name}/se", weight_filler="msra", param=WEIGHT_AND_BIAS
        )
    y = ghost(b, y, num_output, f"{name}/ghost2", relu=False)
    if b.shape(x) != b.shape(y):
        x = _depthwise(b, x, block, f"{name}/shortcut/dwise")
        x = _conv_norm(b, x, num_output, 1, relu=False, name=f"{name}/shortcut")
    return b.eltwise(y, x, name=name)


def ghost(b: NetBuilder, x: str, num_output: int, name: str, *, relu: bool = True) -> str:
    """Figure 1b of the paper, with as many ghosts as computed channels."""
    own = _conv_norm(b, x, num_output // 2, 1, relu=relu, name=f"{name}/primary")
    cheap = _conv_norm(b, own, num_output // 2, 3, group=num_output // 2, relu=relu, name=f"{name}/cheap")
    return b.concat(own, cheap, name=name)


def _depthwise(b: NetBuilder, x: str, block: Block, name: str) -> str:
    channels = b.channels(x)
    return _conv_norm(b, x, channels, block.kernel_size, stride=block.stride, group=channels, relu=False, name=name)
