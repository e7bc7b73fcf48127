"""RepVGG: the paper's figures of the plain form, and wrong values."""

from __future__ import annotations

import pytest

from protogen import NetError
from protogen.models import repvgg


@pytest.mark.parametrize(
    ("version", "parameters", "macs"),
    [
        ("a0", 8.30, 1.4),
        ("a1", 12.78, 2.4),
        ("a2", 25.49, 5.1),
        ("b0", 14.33, 3.1),
        ("b1", 51.82, 11.8),
        ("b2", 80.31, 18.4),
        ("b3", 110.96, 26.2),
    ],
)
def test_the_papers_table(version: str, parameters: float, macs: float) -> None:
    """Table 4: millions of parameters and thousand millions of multiply-adds, at 224 x 224."""
    net = repvgg(version=version)
    assert net.param_count / 1e6 == pytest.approx(parameters, abs=0.01)
    assert net.macs / 1e9 == pytest.approx(macs, abs=0.06)
    assert {layer.type for layer in net.layers} == {"Input", "Convolution", "ReLU", "Pooling", "InnerProduct", "Softmax"}


def test_wrong_values() -> None:
    with pytest.raises(NetError, match="unknown version 'a3'"):
        repvgg(version="a3")
