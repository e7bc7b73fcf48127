"""ResNet v2: soeaver's files layer for layer."""

from __future__ import annotations

import pytest

from protogen.models import find, resnet50_v2
from tests.corpus import needs_corpus
from tests.models.published import assert_published


@needs_corpus
@pytest.mark.parametrize("depth", [101, 152])
def test_they_are_soeavers(depth: int) -> None:
    path = f"soeaver+caffe-model/cls/resnet-v2/deploy_resnet{depth}-v2.prototxt"
    assert_published(find(f"resnet{depth}_v2").build(), path)


def test_no_value_passes_a_relu_on_the_way_through() -> None:
    """The shortcut of each block but the first of a stage is the sum before it, unchanged."""
    net = resnet50_v2()
    sums = [layer for layer in net.layers if layer.type == "Eltwise"]
    plain = [layer for layer in sums if not layer.bottoms[0].endswith("match_conv")]
    assert len(sums) == 16
    assert len(plain) == 12
    assert all(layer.bottoms[0].endswith("_eletwise") for layer in plain)
