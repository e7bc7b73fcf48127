"""ONNX Runtime as a backend: every blob in the net's order, or the outputs; the package may be missing."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from protogen import ProtogenError
from protogen.backends.onnxruntime import run_onnxruntime
from protogen.backends.setting import Setting
from protogen.verification import verify
from tests.nets import small_net
from tests.running import assert_same, by_torch


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ProtogenError, match="pip install onnxruntime"):
        verify(small_net())


def test_an_older_release_says_that_it_lacks_the_opset(monkeypatch: pytest.MonkeyPatch) -> None:
    """As releases before 1.18 do it, which read file formats up to opset 20's."""
    newest, session = 9, onnxruntime.InferenceSession

    def older(model: str | bytes, *options: Any, **more: Any) -> onnxruntime.InferenceSession:
        proto = onnx.load_from_string(model) if isinstance(model, bytes) else onnx.load(model)
        if proto.ir_version > newest:
            raise RuntimeError(f"Unsupported model IR version: {proto.ir_version}, max supported IR version: {newest}")
        return session(model, *options, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", older)
    assert verify(small_net(), opset=20).ok
    with pytest.raises(ProtogenError, match=r"ONNX Runtime .* is too old for opset 23: choose a lower opset, or pip install"):
        verify(small_net(), opset=23)


@pytest.mark.parametrize("outputs_only", [False, True])
def test_blobs_are_known_by_the_nets_names(outputs_only: bool) -> None:
    net = small_net().fill(1)
    feed = {"data": np.random.default_rng(0).standard_normal((2, 3, 12, 12), dtype=np.float32)}
    blobs = dict(run_onnxruntime(net.graph(), feed, Setting(outputs_only=outputs_only)))
    assert set(blobs) == set(net.outputs if outputs_only else net.shapes) - {"data"}
    assert_same([blobs[name] for name in net.outputs], by_torch(net, feed))
