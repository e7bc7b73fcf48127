"""MobileNet v1: shicai's file layer for layer, the paper's table of widths, timm's weights, and wrong values."""

from __future__ import annotations

from typing import Any

import pytest

from protogen import NetError
from protogen.models import mobilenet_v1
from tests.corpus import needs_corpus
from tests.models.published import assert_published


@needs_corpus
def test_it_is_shicais() -> None:
    assert_published(mobilenet_v1(), "shicai+MobileNet-Caffe/mobilenet_deploy.prototxt")


@pytest.mark.parametrize(("width", "macs", "parameters"), [(1.0, 569, 4.2), (0.75, 325, 2.6), (0.5, 149, 1.3), (0.25, 41, 0.5)])
def test_the_papers_widths(width: float, macs: int, parameters: float) -> None:
    """Table 6: millions of multiply-adds and of parameters."""
    net = mobilenet_v1(width=width)
    assert round(net.macs / 1e6) == macs
    assert round(net.param_count / 1e6, 1) == parameters


@pytest.mark.parametrize(("size", "macs"), [(224, 569), (192, 418), (160, 290), (128, 186)])
def test_the_papers_resolutions(size: int, macs: int) -> None:
    """Table 7."""
    assert mobilenet_v1(size).macs / 1e6 == pytest.approx(macs, abs=0.7)


def test_activations() -> None:
    kinds = {
        clip: {layer.type for layer in mobilenet_v1(64, preset="timm", clip=clip).layers} - {"Input", "Softmax", "Pooling"}
        for clip in (False, True)
    }
    rest = {"Convolution", "BatchNorm", "Scale"}
    assert kinds == {False: rest | {"ReLU6"}, True: rest | {"Clip"}}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0.0}, "width must be positive and at most 64, not 0"),
        ({"width": float("nan")}, "width must be positive"),
        ({"width": 1e9}, "width must be positive and at most 64"),
        ({"preset": "shikai"}, "unknown preset 'shikai'; did you mean 'shicai'"),
        ({"classes": 0}, "classes must be positive"),
        ({"clip": True}, "preset 'timm' has it"),
    ],
)
def test_wrong_values(options: dict[str, Any], message: str) -> None:
    with pytest.raises(NetError, match=message):
        mobilenet_v1(**options)
