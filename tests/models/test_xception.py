"""Xception: soeaver's file layer for layer, the paper's number of parameters, and TensorFlow's rounding at any size."""

from __future__ import annotations

import pytest

from protogen.models import xception
from tests.corpus import needs_corpus
from tests.models.published import assert_published
from tests.models.torchvision_nets import assert_computes, timm_net


@needs_corpus
def test_it_is_soeavers() -> None:
    assert_published(xception(), "soeaver+caffe-model/cls/inception/deploy_xception.prototxt")


def test_the_papers_number_of_parameters() -> None:
    """Table 3 of the paper."""
    assert xception().param_count == 22_855_952


@pytest.mark.parametrize("size", [71, 96, 150, 299])
def test_poolings_round_up_from_the_stem_on(size: int) -> None:
    net = xception(size, middle=1)
    side = ((size - 3) // 2 + 1) - 2
    for module in (1, 2, 3, 5):
        side = (side + 1) // 2
        assert net.shapes[f"xception{module}_elewise"][2:] == (side, side)


def test_it_computes_what_timm_does() -> None:
    assert_computes(xception(96, preset="timm", batch=2), timm_net("legacy_xception", device="cpu").eval(), 96)
