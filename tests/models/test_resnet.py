"""ResNet, wide and ResNeXt: published files layer for layer, table 1 of the paper, and torchvision's weights."""

from __future__ import annotations

from typing import Any

import pytest

import protogen
from protogen import NetError
from protogen.models import find, resnet
from tests.corpus import needs_corpus
from tests.models.published import Line, assert_published
from tests.models.torchvision_nets import assert_computes_torchvision, assert_torchvision_weights_fit

TORCHVISION = {
    **{
        name: name
        for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2")
    },
    "resnext50": "resnext50_32x4d",
    "resnext101": "resnext101_32x8d",
}


def build(name: str, /, **options: Any) -> protogen.Net:
    return find(name).build(**options)


@needs_corpus
@pytest.mark.parametrize("depth", [50, 101, 152])
def test_they_are_the_authors(depth: int) -> None:
    assert_published(build(f"resnet{depth}"), f"KaimingHe+deep-residual-networks/prototxt/ResNet-{depth}-deploy.prototxt")


def projection_first(line: Line) -> Line:
    """Some sums in soeaver's files begin with the other summand."""
    name, kind, bottoms, tops, rest = line
    swapped = kind == "Eltwise" and bottoms[1].endswith("match_conv")
    return name, kind, bottoms[::-1] if swapped else bottoms, tops, rest


@needs_corpus
@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("resnext/deploy_resnext50-32x4d", {"width": 128, "groups": 32}),
        ("resnext/deploy_resnext101-32x4d", {"layers": (3, 4, 23, 3), "width": 128, "groups": 32}),
        ("resnext/deploy_resnext101-64x4d", {"layers": (3, 4, 23, 3), "width": 256, "groups": 64}),
        ("wider-resnet/deploy_wrn50-2", {"width": 128}),
    ],
)
def test_they_are_soeavers(path: str, options: dict[str, Any]) -> None:
    assert_published(resnet(preset="soeaver", **options), f"soeaver+caffe-model/cls/{path}.prototxt", names=projection_first)


def test_the_papers_table() -> None:
    """Multiply-adds of table 1, in thousand millions: 3.8, 7.6, 11.3 for the nets that the authors published, and 1.8, 3.6."""
    macs = [build(f"resnet{depth}").macs / 1e9 for depth in (18, 34, 50, 101, 152)]
    assert macs == pytest.approx([1.8, 3.6, 3.8, 7.6, 11.3], abs=0.07)


@pytest.mark.parametrize("name", TORCHVISION)
def test_torchvisions_weights_fit(name: str) -> None:
    assert_torchvision_weights_fit(build(name, preset="torchvision"), TORCHVISION[name])


@pytest.mark.parametrize("name", ["resnet18", "resnext50"])
def test_it_computes_what_torchvision_does(name: str) -> None:
    """At a size at which rounding and padding of the first pooling matter."""
    assert_computes_torchvision(build(name, size=65, batch=2, preset="torchvision"), TORCHVISION[name], size=65)


def test_names_and_presets() -> None:
    assert build("resnet50", name="mine").name == "mine"
    assert [build(name, size=32).name for name in ("resnet101", "resnext50", "wide_resnet50_2")] == [
        "ResNet-101", "ResNeXt-50", "Wide-ResNet-50",
    ]  # fmt: skip
    assert [build(name, size=32).layer("pool1").message.pooling_param.pad for name in ("resnet18", "resnet50")] == [1, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": (1, 2, 3)}, "layers takes 4 positive numbers"),
        ({"groups": 0}, "groups must be positive, not 0"),
        ({"groups": 3}, "res2a_branch2b"),
        ({"block": "basic", "width": 128}, "width and groups are those of bottlenecks"),
        ({"block": "neck"}, "unknown block 'neck'"),
        ({"preset": "torch"}, "unknown preset 'torch'"),
        ({"size": (1, 2, 3)}, "size takes one number, or height and width, not 3 numbers"),
        ({"phase": "TRAIN", "size": (224, 256)}, "crop squares"),
    ],
)
def test_wrong_values(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NetError, match=message):
        resnet(**options)
