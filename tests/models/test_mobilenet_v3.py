"""MobileNet v3: the paper's figures, its activations in either form, and wrong values."""

from __future__ import annotations

import pytest

from protogen import NetError
from protogen.models import mobilenet_v3, mobilenet_v3_large, mobilenet_v3_small


def test_the_papers_table() -> None:
    """Table 3: 219 M multiply-adds and 5.4 M parameters, 56 M and 2.5 M; and of width 0.75, 155 M and 4.0 M, 44 M and 2.0 M."""
    for build, width, macs, parameters in (
        (mobilenet_v3_large, 1.0, 219, 5.4),
        (mobilenet_v3_small, 1.0, 56, 2.5),
        (mobilenet_v3_large, 0.75, 155, 4.0),
        (mobilenet_v3_small, 0.75, 44, 2.0),
    ):
        net = build(width=width, preset="timm")
        assert net.macs / 1e6 == pytest.approx(macs, rel=0.03)
        assert net.param_count / 1e6 == pytest.approx(parameters, rel=0.03)


def test_shapes_along_the_papers_table() -> None:
    net = mobilenet_v3_large()
    ends = [net.shapes[f"block{i}/linear"][1:3] for i in (1, 3, 6, 10, 12, 15)]
    assert ends == [(16, 112), (24, 56), (40, 28), (80, 14), (112, 14), (160, 7)]
    assert net.shapes["block11/se/reduce"] == (1, 120, 1, 1)


def test_activations() -> None:
    kinds = [{layer.type for layer in mobilenet_v3_small(64, clip=clip).layers} for clip in (False, True)]
    assert ["ReLU6" in kinds[0], "ReLU6" in kinds[1]] == [True, False]
    assert kinds[1] - kinds[0] == {"Clip"}


def test_wrong_values() -> None:
    with pytest.raises(NetError, match="unknown version 'larg'; did you mean 'large'"):
        mobilenet_v3(version="larg")
    with pytest.raises(NetError, match="width must be positive"):
        mobilenet_v3_small(width=0.0)
