"""Which runs are compared: folded forms, and models with a dynamic batch or size at a larger one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from protogen import NetBuilder
from protogen.verification import verify
from tests.nets import small_net


def test_a_difference_of_the_folded_form_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from protogen.layers.convolution import Convolution

    def forgets(self: Any, weights: Any, scale: Any, shift: Any) -> Any:
        merged = (weights[0] * scale.reshape(-1, 1, 1, 1)).astype(np.float32)
        return self._with_bias(), [merged, np.zeros(len(scale), np.float32)]

    monkeypatch.setattr(Convolution, "absorb", forgets)
    report = verify(small_net())
    assert report.first_difference is not None
    assert report.first_difference.comparison == "torch folded / torch"
    assert verify(small_net(), folded=False).ok


def test_one_backend_is_compared_with_its_folded_form() -> None:
    assert verify(small_net(), backends=["torch"]).comparisons == ["torch folded / torch"]


def test_a_training_net_is_compared_unfolded() -> None:
    b = NetBuilder(phase="TRAIN")
    b.relu(b.conv(b.input("data", (2, 3, 6, 6)), 4, 3))
    assert verify(b.build()).comparisons == ["onnxruntime / torch"]


def test_a_model_that_only_fits_the_size_it_was_made_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the check of the emitted form ever too lenient, running it elsewhere would show."""
    from protogen.layers.pooling import Pooling
    from protogen.targets.onnx import emit

    b = NetBuilder("same")
    b.pool(b.conv(b.input("data", (1, 1, 6, 6)), 2, 3, name="conv"), "AVE", 4, stride=1, name="pool")
    net = b.build()
    assert verify(net, dynamic_size=True).ok
    monkeypatch.setattr(emit, "require_size_free", lambda *_: None)
    monkeypatch.setattr(Pooling, "onnx", lambda self, graph, bottoms, blobs: graph.add("GlobalAveragePool", bottoms[0]))
    report = verify(net, dynamic_size=True)
    assert report.first_difference is not None
    assert report.first_difference.comparison == "onnxruntime at 1x1x38x70 / torch"
