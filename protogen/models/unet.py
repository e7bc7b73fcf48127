"""U-Net: an encoder, and a decoder that sees each of the encoder's stages again, for images of cells.

Ronneberger, Fischer, Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from ..blocks import norm, underscores
from ..builder import NetBuilder
from ..errors import NetError
from ..net import Net
from ..prototxt.message import Message
from ..training import BIASED, TRAIN_DEFAULTS, solver
from .common import check_positive, classifier, image_size
from .dense import pixels, segmented
from .registry import model


def unet_solver(net: str, *, snapshot_prefix: str = "unet", iterations: int = 40000) -> Message:
    """Return a SolverParameter for a net of phase TRAIN, with the paper's high momentum.

    Args:
        net: path of the train/val prototxt.
        snapshot_prefix: path prefix of the snapshots.
        iterations: training iterations of one image each.
    """
    return solver(
        net, base_lr=1e-3, lr_policy="poly", power=0.9, max_iter=iterations, test_iter=100, test_interval=2000, momentum=0.99,
        weight_decay=5e-4, test_initialization=False, snapshot_prefix=snapshot_prefix,
    )  # fmt: skip


@dataclass(frozen=True)
class _Convs:
    """The two convolutions of a stage.

    Attributes:
        b: the builder.
        pad: of each; None for none, as in the paper.
        batch_norm: normalise after each.
    """

    b: NetBuilder
    pad: int | None
    batch_norm: bool

    def __call__(self, x: str, channels: int, stage: str, letters: str) -> str:
        for start, end in pairwise(letters):
            name = f"conv_{stage}{start}-{end}"
            bias_term = False if self.batch_norm else None
            x = self.b.conv(x, channels, 3, pad=self.pad, bias_term=bias_term, weight_filler="msra", name=name)
            x = norm(self.b, x, name, names=underscores, relu=False) if self.batch_norm else x
            x = self.b.relu(x, name=f"relu_{stage}{end}")
        return x


@model(
    paper="Ronneberger, Fischer, Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation, MICCAI",
    year=2015,
    solver=unet_solver,
)
def unet(
    size: int | Sequence[int] = 572,
    *,
    batch: int = 1,
    channels: int = 1,
    classes: int = 2,
    width: int = 64,
    depth: int = 4,
    pad: bool = False,
    batch_norm: bool = False,
    phase: Literal["TEST", "TRAIN"] = "TEST",
) -> Net:
    """U-Net, as in figure 1 of the paper; layers have the names of its authors' release.

    Args:
        size: height and width of the image in pixels; one number for a square. Without padding, 16 * n + 60 of at least 188 for
            depth 4, so that all poolings see even sizes; with it, multiples of 16.
        batch: images per pass.
        channels: of the image: 1 for grey, 3 for colour.
        classes: of pixels.
        width: channels of the first stage; each further one has twice as many.
        depth: how many times the image is halved, and doubled again.
        pad: pad convolutions, so that the scores have the image's size; the paper's are smaller, 388 of 572 pixels.
        batch_norm: normalise after each convolution, which the paper does not.
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with ImageSegData layers (of DeepLab's
            Caffe), SoftmaxWithLoss and Accuracy, for the middle of the labels if the scores are smaller.

    Raises:
        NetError: a value is out of range.

    >>> net = unet()
    >>> len(net.layers), net.param_count, net.macs
    (61, 31030658, 150428424448)
    """
    check_positive(classes=classes, width=width, depth=depth)
    _check_size(image_size(size), depth, pad)
    b = classifier("U-Net", phase, train=TRAIN_DEFAULTS if batch_norm else BIASED)
    data = x = pixels(b, size, batch=batch, phase=phase, channels=channels, reader="ImageSegData")
    convs = _Convs(b, 1 if pad else None, batch_norm)
    stages: list[str] = []
    for i in range(depth + 1):
        with b.scope(f"down{i}", prefix=False):
            x = b.pool(x, "MAX", 2, stride=2, name=f"pool_d{i - 1}c-{i}a") if stages else x
            x = convs(x, width * 2**i, f"d{i}", "abc")
            x = b.dropout(x, name=f"dropout_d{i}c") if i >= depth - 1 else x
            stages.append(x)
    for i in range(depth - 1, -1, -1):
        below = f"d{depth}c" if i == depth - 1 else f"u{i + 1}d"
        with b.scope(f"up{i}", prefix=False):
            x = b.deconv(x, width * 2**i, 2, stride=2, weight_filler="msra", name=f"upconv_{below}_u{i}a")
            x = b.relu(x, name=f"relu_u{i}a")
            seen = stages[i] if pad else b.crop(stages[i], x, name=f"crop_d{i}c-d{i}cc")
            x = convs(b.concat(x, seen, name=f"concat_d{i}cc_u{i}a-b"), width * 2**i, f"u{i}", "bcd")
    x = b.conv(x, classes, 1, weight_filler="msra", name="conv_u0d-score")
    if phase == "TRAIN" and not pad:
        return segmented(b, x, phase, label=b.crop("label", x, offset=_margins(b, data, x), name="label_crop"))
    return segmented(b, x, phase)


def _margins(b: NetBuilder, image: str, scores: str) -> list[int]:
    """Pixels of the image above and to the left of the scores."""
    return [(whole - part) // 2 for whole, part in zip(b.shape(image)[2:], b.shape(scores)[2:])]


def _check_size(size: Sequence[int], depth: int, pad: bool) -> None:
    """Check that all poolings see even sizes, and that something is left at the end."""
    if depth > 8:
        raise NetError(f"depth must be at most 8, not {depth}")
    step, margin = 2**depth, 0 if pad else 4 * (2**depth - 1)  # what the convolutions before the last pooling take off
    least = step if pad else 8 * step + margin
    for side in size:
        if side < least or (side - margin) % step:
            nearest = max(least, margin + max(0, round((side - margin) / step)) * step)
            form = f"{step} * n" if pad else f"{step} * n + {margin}"
            raise NetError(
                f"size must be {form} and at least {least}, so that all poolings see even sizes, not {side}; "
                f"{nearest} is the nearest"
            )
