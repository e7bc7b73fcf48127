"""ShuffleNet v2: farmingyard's file layer for layer, miaow1988's names, the paper's table, and wrong values."""

from __future__ import annotations

import pytest

from protogen import NetError
from protogen.models import shufflenet_v2
from tests.corpus import needs_corpus
from tests.models.digests import digest_of
from tests.models.published import assert_published


@needs_corpus
def test_it_is_farmingyards() -> None:
    assert_published(shufflenet_v2(), "farmingyard+ShuffleNet/shufflenet_v2_1x_deploy.prototxt", scores=True)


@pytest.mark.parametrize(("width", "macs"), [(0.5, 41), (1.0, 146), (1.5, 299), (2.0, 591)])
def test_the_papers_widths(width: float, macs: int) -> None:
    """Table 5 (appendix): millions of multiply-adds, of which the paper seems to count some more."""
    assert shufflenet_v2(width=width).macs / 1e6 == pytest.approx(macs, rel=0.015)


@pytest.mark.parametrize(
    ("width", "digest"),
    [(0.5, "6d866e00858971d1"), (1.0, "241fab0cab231232"), (1.5, "a56e348b1628c963"), (2.0, "41bd7c1a81afcdff")],
)
def test_it_is_miaow1988s(width: float, digest: str) -> None:
    """miaow1988/ShuffleNet_V2_pytorch_caffe, shufflenet_v2_x0.5.prototxt and others at 426e1874, not in the collection."""
    assert digest_of(shufflenet_v2(width=width, preset="miaow1988")) == digest


def test_miaow1988s_names() -> None:
    net = shufflenet_v2(preset="miaow1988")
    names = [layer.name for layer in net.layers]
    assert names[1:4] == ["data/bn", "data/bn/scale", "stage1/conv"]
    assert [name for name in names if name.startswith("stage_2_2/") and "/bn" not in name] == [
        "stage_2_2/slice1", "stage_2_2/conv1", "stage_2_2/conv1/relu", "stage_2_2/conv2", "stage_2_2/conv3",
        "stage_2_2/conv3/relu", "stage_2_2/concat", "stage_2_2/shuffle",
    ]  # fmt: skip
    assert net.layer("stage_2_2/slice1").tops == ["stage_2_2/slice1", "stage_2_2/slice2"]
    assert names[-3:] == ["pool", "fc", "prob"]
    assert net.shapes == {**net.shapes, "pool": (1, 1024, 1, 1), "stage_4_4/shuffle": (1, 464, 7, 7)}


def test_all_presets_have_the_same_weights() -> None:
    counts = [shufflenet_v2(preset=preset).param_count for preset in ("farmingyard", "torchvision", "miaow1988")]
    assert counts == [2278604, 2278604, 2278604 + 6], "miaow1988's normalises the image"


def test_wrong_values() -> None:
    with pytest.raises(NetError, match=r"width takes 0\.25, 0\.33, 0\.5, 1, 1\.5, 2, not 0\.75"):
        shufflenet_v2(width=0.75)
