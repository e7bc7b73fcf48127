"""VGG: published files layer for layer, the paper's table, torchvision's weights, and wrong values."""

from __future__ import annotations

import pytest

import protogen
from protogen import NetError
from protogen.models import vgg, vgg11, vgg13, vgg16, vgg19
from tests.corpus import needs_corpus
from tests.models.published import Line, assert_published
from tests.models.torchvision_nets import assert_torchvision_weights_fit

NETS = {"vgg11": vgg11, "vgg13": vgg13, "vgg16": vgg16, "vgg19": vgg19}
RENAMED = {"dropout6": "drop6", "dropout7": "drop7", "classifier": "fc8"}


def authors_names(line: Line) -> Line:
    """soeaver's files call three layers otherwise than the authors' do."""
    name, kind, bottoms, tops, rest = line
    return RENAMED.get(name, name), kind, tuple(RENAMED.get(x, x) for x in bottoms), tuple(RENAMED.get(x, x) for x in tops), rest


@needs_corpus
@pytest.mark.parametrize("name", ["vgg13", "vgg16", "vgg19"])
def test_they_are_soeavers_but_for_three_names(name: str) -> None:
    path = f"soeaver+caffe-model/cls/vgg/deploy_{name}"
    assert_published(NETS[name](), f"{path}-pytorch.prototxt", names=authors_names)
    assert_published(NETS[name](batch_norm=True), f"{path}bn-pytorch.prototxt", names=authors_names)


def test_the_papers_table() -> None:
    """Table 2 of the paper, in millions; it rounds, and calls VGG-16's 138 million parameters by that name."""
    assert [round(net().param_count / 1e6) for net in NETS.values()] == [133, 133, 138, 144]


@pytest.mark.parametrize("name", NETS)
def test_torchvisions_weights_fit(name: str) -> None:
    assert_torchvision_weights_fit(NETS[name](), name)
    assert_torchvision_weights_fit(NETS[name](batch_norm=True), f"{name}_bn")


def test_any_numbers_of_layers() -> None:
    net = vgg(64, layers=(1, 1, 1, 1, 3))
    assert (net.name, net.shapes["pool5"]) == ("VGG_ILSVRC_10_layers", (1, 512, 2, 2))


@pytest.mark.parametrize("layers", [(), (1, 1), (1, 1, 0, 1, 1), (1, 1, 1, 1, 1, 1)])
def test_numbers_of_layers_that_do_not_fit(layers: tuple[int, ...]) -> None:
    with pytest.raises(NetError, match="layers takes 5 positive numbers, one per stage, not"):
        vgg(layers=layers)


def test_a_member_of_the_family_has_its_layers_fixed() -> None:
    with pytest.raises(TypeError, match=r"vgg16\(\) has no argument 'layers'; vgg\(\) has it"):
        protogen.models.vgg16(layers=(1, 1, 1, 1, 1))
