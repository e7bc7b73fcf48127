"""SqueezeNet: the authors' files layer for layer, and torchvision's weights."""

from __future__ import annotations

import pytest

from protogen.models import squeezenet, squeezenet1_0, squeezenet1_1
from tests.corpus import needs_corpus
from tests.models.published import assert_published
from tests.models.torchvision_nets import assert_computes_torchvision

AUTHORS = "forresti+SqueezeNet/SqueezeNet_v"


@needs_corpus
@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_they_are_the_authors(version: str) -> None:
    assert_published(squeezenet(version=version, batch=10), f"{AUTHORS}{version}/deploy.prototxt")
    assert_published(squeezenet(version=version, phase="TRAIN"), f"{AUTHORS}{version}/train_val.prototxt", trains=True)


def test_it_computes_what_torchvision_does() -> None:
    assert_computes_torchvision(squeezenet1_0(224, preset="torchvision", batch=2), "squeezenet1_0")
    assert_computes_torchvision(squeezenet1_1(224, batch=2), "squeezenet1_1")


def test_version_1_1_takes_less_than_half() -> None:
    """README of the authors: 2.4 times less computation."""
    assert squeezenet1_0(preset="torchvision").macs / squeezenet1_1().macs == pytest.approx(2.2, abs=0.2)
