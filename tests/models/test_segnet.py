"""SegNet: the authors' file layer for layer, its unpooling at odd sizes, and training."""

from __future__ import annotations

import pytest

from protogen import NetError
from protogen.models import segnet
from tests.models.digests import digest_of


def test_it_is_the_authors() -> None:
    """alexgkendall/SegNet-Tutorial, Models/segnet_inference.prototxt and segnet_train.prototxt at bb68b64e, which are not in the
    collection."""
    assert digest_of(segnet()) == "fe2e6037707d5b14"
    assert digest_of(segnet(phase="TRAIN")) == "11089d28073dd36b"


@pytest.mark.parametrize("size", [(33, 47), (64, 64), (360, 480)])
def test_unpooling_restores_every_size(size: tuple[int, int]) -> None:
    net = segnet(size, classes=3)
    assert net.shapes["prob"] == (1, 3, *size)
    for stage in range(1, 6):
        assert net.shapes[f"pool{stage}_D"][2:] == net.shapes[f"conv{stage}_1"][2:]


def test_phases() -> None:
    train = segnet((32, 48), phase="TRAIN")
    assert train.layer("conv1_1_bn").message.bn_param.bn_mode == "LEARN"
    assert segnet(32).layer("conv1_1_bn").message.bn_param.bn_mode == "INFERENCE"
    assert train.shapes["label"] == (1, 1, 32, 48)
    assert train.layer("loss").message.loss_param.ignore_label == 11, "CamVid's void, as in the authors' file"
    assert train.at("TEST").outputs == ["loss", "accuracy"]
    assert train.param_shapes == segnet((32, 48)).param_shapes


def test_wrong_values() -> None:
    with pytest.raises(NetError, match="classes must be positive"):
        segnet(classes=0)
    with pytest.raises(NetError, match="height must be positive"):
        segnet(0)
