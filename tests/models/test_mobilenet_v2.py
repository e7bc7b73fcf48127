"""MobileNet v2: shicai's file layer for layer, the paper's table, and what a width multiplier changes."""

from __future__ import annotations

import pytest

from protogen import NetError
from protogen.models import mobilenet_v2
from tests.corpus import needs_corpus
from tests.models.published import assert_published


@needs_corpus
def test_it_is_shicais() -> None:
    assert_published(mobilenet_v2(), "shicai+MobileNet-Caffe/mobilenet_v2_deploy.prototxt")


def test_the_papers_figures() -> None:
    """Table 4: 3.4 M parameters and 300 M multiply-adds at width 1, 6.9 M and 585 M at 1.4."""
    one, wide = (mobilenet_v2(width=width, preset="torchvision") for width in (1.0, 1.4))
    assert (one.param_count / 1e6, one.macs / 1e6) == pytest.approx((3.4, 300), rel=0.04)
    assert (wide.param_count / 1e6, wide.macs / 1e6) == pytest.approx((6.9, 585), rel=0.12)


def test_a_width_below_one_leaves_the_last_convolution() -> None:
    for width, last in ((0.35, 1280), (1.0, 1280), (1.4, 1792)):
        net = mobilenet_v2(64, width=width)
        assert net.shapes["conv6_4"][1] == last
        assert net.shapes["conv1"][1] == {0.35: 16, 1.0: 32, 1.4: 48}[width], "multiples of 8, never less than 0.9 times"


def test_one_stage_less_halves_early_in_the_paper() -> None:
    """64 channels stand at 14 x 14 in the paper's code, at 28 x 28 in shicai's file."""
    assert [mobilenet_v2(preset=preset).shapes["conv4_3/linear"][1:] for preset in ("torchvision", "shicai")] == [
        (64, 14, 14), (64, 28, 28),
    ]  # fmt: skip


def test_wrong_values() -> None:
    with pytest.raises(NetError, match="width must be positive and at most 64, not -1"):
        mobilenet_v2(width=-1.0)
    with pytest.raises(NetError, match="preset 'torchvision' has it"):
        mobilenet_v2(clip=True)
    with pytest.raises(NetError, match="unknown preset 'timm'"):
        mobilenet_v2(preset="timm")
