"""EfficientNet-Lite: the authors' table, and wrong values."""

from __future__ import annotations

import pytest

from protogen import NetError
from protogen.models import efficientnet_lite


@pytest.mark.parametrize(
    ("version", "size", "parameters", "macs"),
    [
        ("lite0", 224, 4.7, 407),
        ("lite1", 240, 5.4, 631),
        ("lite2", 260, 6.1, 899),
        ("lite3", 280, 8.2, 1440),
        ("lite4", 300, 13.0, 2640),
    ],
)
def test_the_authors_table(version: str, size: int, parameters: float, macs: int) -> None:
    """README of tensorflow/tpu's efficientnet/lite: millions of parameters, and of FLOP, which count more than multiply-adds."""
    net = efficientnet_lite(size, version=version)
    assert round(net.param_count / 1e6, 1) == parameters
    assert 0.9 < net.macs / 1e6 / macs <= 1.0


def test_wrong_values() -> None:
    with pytest.raises(NetError, match="unknown version 'lite5'; did you mean 'lite"):
        efficientnet_lite(version="lite5")
