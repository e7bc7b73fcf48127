"""PeleeNet, the classifier of Pelee.

Wang, Li, Ling: Pelee: A Real-Time Object Detection System on Mobile Devices, NeurIPS 2018.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..blocks import stem, transition, two_way_dense_block
from ..errors import NetError
from ..net import Net
from ..training import PHASES, imagenet_solver
from .common import check_positive, classified, classifier, images
from .registry import chosen, model


@dataclass(frozen=True)
class Preset:
    """Differences between two published definitions of the same network: names, pooling and layer settings."""

    name: str
    transition_pool: str
    stem: Mapping[str, Any]
    dense: Mapping[str, Any]
    transition_suffix: str
    defaults: Mapping[str, Mapping[str, Any]]


_BATCH_NORM = {"moving_average_fraction": 0.999, "eps": 1e-3}
PRESETS = {
    # The generator script: short branch names, MAX pooling in transitions.
    "genpelee": Preset(
        name="PeleeNet", transition_pool="MAX", stem={}, dense={}, transition_suffix="", defaults={"BatchNorm": _BATCH_NORM}
    ),
    # The authors' Caffe definition, which their weights fit.
    "official": Preset(
        name="",
        transition_pool="AVE",
        stem={"pool_name": "stem/pool", "pool_first": True, "top_name": "stem3"},
        dense={"branches": ("branch1a", "branch1b", "branch2a", "branch2b", "branch2c"), "concat": "concat"},
        transition_suffix="_tb",
        defaults={
            "BatchNorm": {"moving_average_fraction": 0.1, "eps": 1e-5},
            "Convolution": {"pad": 0, "bias_filler": {"type": "constant"}},
        },
    ),
}
POOLS = ("MAX", "AVE")


peleenet_solver = imagenet_solver("peleenet", base_lr=0.045, epochs=120, lr_policy="poly", power=1.0)


@model(
    paper="Wang, Li, Ling: Pelee, NeurIPS",
    year=2018,
    solver=peleenet_solver,
    choices={"transition_pool": POOLS, "preset": PRESETS, "phase": PHASES},
    options={"stem_channels": "stem"},
)
def peleenet(
    size: int | Sequence[int] = 224,
    *,
    batch: int = 1,
    classes: int = 1000,
    growth_rate: int = 32,
    blocks: Sequence[int] = (3, 4, 8, 6),
    bottleneck: Sequence[int] = (1, 2, 4, 4),
    stem_channels: int = 32,
    transition_pool: str | None = None,
    name: str | None = None,
    preset: str = "genpelee",
    phase: str = "TEST",
) -> Net:
    """PeleeNet, a mobile classifier of 2.8 M parameters and 508 M multiply-adds at 224 x 224.

    Args:
        size: height and width of the image in pixels; one number for a square.
        batch: images per pass of a deploy net; the data layers of a train/val net have their own batch sizes.
        classes: outputs of the classifier.
        growth_rate: channels that each dense layer adds, half of them from each of its two branches.
        blocks: dense layers in each stage.
        bottleneck: width of the 1x1 convolutions of each stage, in units of growth_rate / 2.
        stem_channels: output channels of the stem.
        transition_pool: "MAX" or "AVE"; by default the preset's.
        name: name of the net; by default the preset's.
        preset: "genpelee" (names a1, b1, ...; MAX transition pooling) or "official" (the authors' file: names branch1a, ...;
            AVE transition pooling; their weights fit).
        phase: "TEST" for a deploy net with an Input layer; "TRAIN" for a train/val net with data layers for both phases,
            SoftmaxWithLoss, Accuracy (top 1, top 5), lr_mult and decay_mult.

    Raises:
        NetError: a value is out of range.

    >>> net = peleenet(size=224)
    >>> len(net.layers), net.param_count, net.macs
    (482, 2802248, 507757568)
    """
    style = chosen(preset, PRESETS)
    _check(classes, growth_rate, blocks, bottleneck, stem_channels)
    pool = (transition_pool or style.transition_pool).upper()
    if pool not in POOLS:
        raise NetError(f"transition_pool must be MAX or AVE, not {transition_pool!r}")
    b = classifier(style.name if name is None else name, phase, style.defaults)
    x = images(b, size, batch=batch, phase=phase)
    x = stem(b, x, stem_channels, name="stem", **style.stem)
    for i, (layers, wide) in enumerate(zip(blocks, bottleneck)):
        stage = f"stage{i + 1}"
        with b.scope(stage, prefix=False):
            x = two_way_dense_block(b, x, layers, growth_rate, wide, name=stage, stage=stage, **style.dense)
            last = i == len(blocks) - 1
            x = transition(b, x, pool=None if last else pool, conv_name=stage + style.transition_suffix, name=stage)
    x = b.global_pool(x, name="global_pool")
    x = b.fc(x, classes, bias_term=True, bias_filler="constant", name="classifier")
    return classified(b, x, phase)


def _check(classes: int, growth_rate: int, blocks: Sequence[int], bottleneck: Sequence[int], stem: int) -> None:
    check_positive(classes=classes)
    for what, value in (("growth_rate", growth_rate), ("stem", stem)):
        if value < 2 or value % 2:
            raise NetError(f"{what} must be positive and even (two branches share it), not {value}")
    if not blocks or len(blocks) != len(bottleneck):
        raise NetError(f"blocks and bottleneck need one number per stage: {len(blocks)} and {len(bottleneck)} do not match")
    if min(*blocks, *bottleneck) < 1:
        raise NetError("the numbers in blocks and bottleneck must be positive")
