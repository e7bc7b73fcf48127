"""ShuffleNet v1: farmingyard's file layer for layer, the paper's table of groups, and wrong values."""

from __future__ import annotations

from typing import Any

import pytest

from protogen import NetError
from protogen.models import shufflenet_v1
from tests.corpus import needs_corpus
from tests.models.published import assert_published


@needs_corpus
def test_it_is_farmingyards() -> None:
    assert_published(shufflenet_v1(), "farmingyard+ShuffleNet/shufflenet_1x_g3_deploy.prototxt", scores=True)


@pytest.mark.parametrize(
    ("groups", "channels", "macs"), [(1, 144, 143), (2, 200, 140), (3, 240, 137), (4, 272, 133), (8, 384, 137)]
)
def test_the_papers_groups(groups: int, channels: int, macs: int) -> None:
    """Table 1: output channels of the stages, and millions of multiply-adds without the classifier."""
    net = shufflenet_v1(groups=groups, preset="paper")
    ends = [net.shapes[f"resx{i}_elewise"][1:] for i in (4, 12, 16)]
    assert ends == [(channels, 28, 28), (2 * channels, 14, 14), (4 * channels, 7, 7)]
    assert round((net.macs - 4 * channels * 1000) / 1e6) == macs


def test_half_the_width() -> None:
    """Table 2: 38 million multiply-adds without the classifier. (The 13 million of a quarter are not to be had of 11.)"""
    net = shufflenet_v1(width=0.5, preset="paper")
    assert (net.macs - 480 * 1000) / 1e6 == pytest.approx(38, abs=1)
    assert net.shapes["conv1"][1] == 12


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 5}, "groups takes 1, 2, 3, 4, 8"),
        ({"groups": 8}, "8 groups do not divide the channels of resx1 .*--preset paper"),
        ({"width": -1.0}, "width must be positive"),
        ({"preset": "farming"}, "unknown preset"),
    ],
)
def test_wrong_values(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NetError, match=message):
        shufflenet_v1(**options)
