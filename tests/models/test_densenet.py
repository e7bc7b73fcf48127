"""DenseNet: the published Caffe files layer for layer, torchvision's weights, and wrong values."""

from __future__ import annotations

import pytest

from protogen import NetError
from protogen.models import densenet, find
from tests.corpus import needs_corpus
from tests.models.published import assert_published
from tests.models.torchvision_nets import assert_computes_torchvision, assert_torchvision_weights_fit

DEPTHS = pytest.mark.parametrize("depth", [121, 161, 169, 201])


@needs_corpus
@DEPTHS
def test_they_are_shicais_but_for_the_softmax(depth: int) -> None:
    assert_published(find(f"densenet{depth}").build(), f"shicai+DenseNet-Caffe/DenseNet_{depth}.prototxt", scores=True)


@DEPTHS
def test_torchvisions_weights_fit(depth: int) -> None:
    assert_torchvision_weights_fit(find(f"densenet{depth}").build(), f"densenet{depth}")


def test_it_computes_what_torchvision_does() -> None:
    assert_computes_torchvision(densenet(64, batch=2), "densenet121", size=64)
    assert_computes_torchvision(densenet(97, batch=2, preset="torchvision"), "densenet121", size=97)


def test_channels_by_the_papers_formula() -> None:
    """Each layer adds growth_rate channels, each transition halves them."""
    net = densenet(64, layers=(2, 3, 1), growth_rate=6, stem_channels=10, bottleneck=2, classes=3)
    assert net.name == "DENSENET_16"
    channels = [net.shapes[f"conv{block}_blk/bn"][1] for block in (2, 3, 4)]
    assert channels == [10 + 2 * 6, 22 // 2 + 3 * 6, 29 // 2 + 6]
    assert net.shapes["fc5"] == (1, 3, 1, 1)


def test_compression_leaves_something() -> None:
    assert densenet(64, layers=(1, 1), compression=1).shapes["conv2_blk"][1] == 96
    with pytest.raises(NetError, match="compression 97 leaves none of the 96 channels before conv2_blk"):
        densenet(64, layers=(1, 1), compression=97)
    with pytest.raises(NetError, match="growth_rate must be positive"):
        densenet(growth_rate=0)
    with pytest.raises(NetError, match="layers takes"):
        densenet(layers=())
