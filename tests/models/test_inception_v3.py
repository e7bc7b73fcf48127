"""Inception v3: soeaver's file layer for layer but for names of ReLUs, and torchvision's weights."""

from __future__ import annotations

from protogen.models import inception_v3
from tests.corpus import needs_corpus
from tests.models.published import Line, assert_published
from tests.models.torchvision_nets import assert_torchvision_weights_fit


def relu_names(line: Line) -> Line:
    """The file calls some ReLUs otherwise; we call each after its convolution."""
    name, kind, bottoms, tops, rest = line
    return f"{tops[0]}_relu" if kind == "ReLU" else name, kind, bottoms, tops, rest


@needs_corpus
def test_it_is_soeavers() -> None:
    path = "soeaver+caffe-model/cls/inception/deploy_inception-v3.prototxt"
    assert_published(inception_v3(preset="soeaver"), path, names=relu_names)


def test_torchvisions_weights_fit() -> None:
    assert_torchvision_weights_fit(inception_v3(), "inception_v3", without=("AuxLogits",))


def test_the_papers_table() -> None:
    """Output sizes of table 1."""
    net = inception_v3()
    names = ("conv3_3x3_s1", "inception_a3_output", "inception_b4_concat", "inception_c2_concat")
    assert [net.shapes[name][1:] for name in names] == [(64, 147, 147), (288, 35, 35), (768, 17, 17), (2048, 8, 8)]
