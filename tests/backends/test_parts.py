"""ONNX models in parts: whatever the limit, the blobs are those of the whole."""

from __future__ import annotations

import numpy as np
import pytest

import protogen
from protogen import NetBuilder
from protogen.backends import onnxruntime


@pytest.mark.parametrize("limit", [1, 4000, 10**9])
def test_parts_give_what_the_whole_gives(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A BatchNorm's mean is divided by its factor, unless that is 0: constants that are made of other constants."""
    b = NetBuilder()
    x = b.input("data", (1, 3, 8, 8))
    for _ in range(3):
        x = b.conv_block(x, 4)
    net = b.build().fill()
    for layer in net.layers:
        if layer.type == "BatchNorm":
            net.weights[layer.name] = [np.full(4, 3.0), np.full(4, 2.0), np.full(1, 2.0)]
    monkeypatch.setattr(onnxruntime, "PART", limit)
    report = protogen.verify(net, backends=("torch", "onnxruntime"))
    assert report.ok, report.verdict
