"""MnasNet: the paper's figures, and wrong values."""

from __future__ import annotations

import pytest

from protogen import NetError
from protogen.models import mnasnet


def test_the_papers_table() -> None:
    """Table 1: A1 has 312 M multiply-adds and 3.9 M parameters; the authors' repository: B1 315 M and 4.4 M."""
    for version, macs, parameters in (("a1", 312, 3.9), ("b1", 315, 4.4)):
        net = mnasnet(version=version)
        assert net.macs / 1e6 == pytest.approx(macs, abs=1)
        assert round(net.param_count / 1e6, 1) == parameters


def test_shapes() -> None:
    """Figure 7 of the paper."""
    net = mnasnet(version="a1")
    assert [net.shapes[f"stage{i}_1/linear"][1:3] for i in range(1, 8)] == [
        (16, 112), (24, 56), (40, 28), (80, 14), (112, 14), (160, 7), (320, 7),
    ]  # fmt: skip
    excited = {layer.name.split("/")[0].split("_")[0] for layer in net.layers if "/se/" in layer.name}
    assert excited == {"stage3", "stage5", "stage6"}


def test_wrong_values() -> None:
    with pytest.raises(NetError, match="unknown version 'c1'"):
        mnasnet(version="c1")
