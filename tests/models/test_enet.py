"""ENet: both public files layer for layer, the paper's size, and wrong values."""

from __future__ import annotations

from typing import Any

import pytest

import protogen
from protogen import NetError
from protogen.models import enet
from tests.models.digests import digest_of


@pytest.mark.parametrize(("preset", "digest"), [("deploy", "e7b6bcf5a648f7f2"), ("final", "7171b1eab9fa9b88")])
def test_it_is_timo_saemanns(preset: str, digest: str) -> None:
    """TimoSaemann/ENet, prototxts/enet_deploy.prototxt and enet_deploy_final.prototxt at bb681cc5, not in the collection."""
    assert digest_of(enet(preset=preset)) == digest


def test_its_train_val_net_is_timo_saemanns() -> None:
    """prototxts/enet_train_encoder_decoder.prototxt of the same commit."""
    assert digest_of(enet(phase="TRAIN")) == "4b9b9474ae73ac2a"


def test_the_papers_size() -> None:
    """Table 3: 0.37 M parameters."""
    assert enet().param_count / 1e6 == pytest.approx(0.37, abs=0.01)
    assert enet(preset="final").param_count < enet().param_count


def test_both_presets_have_the_same_shapes() -> None:
    deploy, final = (enet((64, 96), classes=5, preset=preset) for preset in ("deploy", "final"))
    assert deploy.outputs == final.outputs == ["deconv6_0_0"]
    assert deploy.shapes["deconv6_0_0"] == (1, 5, 64, 96)
    assert {blob: shape for blob, shape in deploy.shapes.items() if blob in final.shapes} == final.shapes


def test_pytorch_and_onnx_agree() -> None:
    report = protogen.verify(enet(32, classes=3).fill())
    assert report.ok, report.verdict


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (100, 96)}, "size must be multiples of 8, .* not 100x96"),
        ({"preset": "final", "phase": "TRAIN"}, "train preset 'deploy'"),
        ({"preset": "finl"}, "did you mean 'final'"),
        ({"classes": 0}, "classes must be positive"),
    ],
)
def test_wrong_values(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NetError, match=message):
        enet(**options)
