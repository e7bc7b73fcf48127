"""Where engines differ by more than the tolerance, PyTorch in float64 tells rounding from faults."""

from __future__ import annotations

import numpy as np
import pytest

from protogen import NetBuilder
from protogen.verification import verify
from tests.verification.engines import wrong


def test_a_blob_that_rounding_decides_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A difference of two large numbers: any engine that sums in another order gives another one."""
    b = NetBuilder("unstable")
    b.fc(b.input("data", (1, 2)), 1, name="fc", bias_term=False)
    net = b.build()
    net.weights["fc"] = [np.array([[1e6, -1e6]], np.float32)]
    wrong(monkeypatch, "onnxruntime", lambda blobs: blobs.update(fc=blobs["fc"] + np.float32(0.05)))
    report = verify(net, inputs={"data": np.array([[1, 1]], np.float32)})
    assert not report.ok
    assert report.rounding > report.tolerance
    assert "rounding decides this blob" in report.verdict
