"""SENet: the authors' files layer for layer, and the form without their own layer type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from protogen import NetError
from protogen.models import find, senet
from tests.corpus import needs_corpus
from tests.models.published import assert_published
from tests.models.torchvision_nets import assert_computes, timm_net


@needs_corpus
@pytest.mark.parametrize("name", ["ResNet-50", "ResNet-101", "ResNet-152", "ResNeXt-50", "ResNeXt-101"])
def test_they_are_the_authors(name: str) -> None:
    kind, _, depth = name.partition("-")
    assert_published(find(f"se_{kind.lower()}{depth}").build(), f"hujie-frank+SENet/models/SE-{name}.prototxt")


def test_the_papers_table() -> None:
    """Multiply-adds of table 2, in thousand millions."""
    names = ("se_resnet50", "se_resnet101", "se_resnet152", "se_resnext50")
    assert [find(name).build().macs / 1e9 for name in names] == pytest.approx([3.87, 7.60, 11.32, 4.25], abs=0.04)


def test_plain_layers_compute_the_same() -> None:
    """Scale and Eltwise in place of Axpy, which only the authors' fork of Caffe has."""
    import torch

    options: dict[str, Any] = {"size": 33, "classes": 5, "layers": (1, 1, 1, 1), "width": 8, "batch": 2}
    theirs, plain = senet(**options).fill(), senet(gate="scale", **options)
    assert "Axpy" not in {layer.type for layer in plain.layers}
    plain.weights = {name: theirs.weights[name] for name in theirs.param_shapes}
    x = torch.randn(2, 3, 33, 33, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        a, b = (net.to_torch().eval()(x) for net in (theirs, plain))
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_a_hidden_layer_that_would_be_empty_has_one_channel() -> None:
    assert senet(32, layers=(1, 1, 1, 1), reduction=10000).shapes["conv2_1_1x1_down"] == (1, 1, 1, 1)


def test_wrong_values() -> None:
    with pytest.raises(NetError, match="unknown gate 'axe'"):
        senet(gate="axe")
    with pytest.raises(NetError, match="reduction must be positive"):
        senet(reduction=0)


def test_it_computes_what_timms_port_does() -> None:
    """With plain layers, as OpenCV 4 reads Axpy but computes something else."""
    net = find("se_resnext50").build(size=65, batch=2, gate="scale")
    assert_computes(net, timm_net("legacy_seresnext50_32x4d", device="cpu").eval(), 65)
