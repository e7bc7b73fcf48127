"""PyTorch as a backend: half precision, devices that are not there, and float32 that is exact."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from protogen import ProtogenError, verification
from protogen.backends.setting import Setting
from protogen.backends.torch import run_torch
from protogen.targets.torch.module import NetModule
from protogen.verification import verify
from tests.nets import small_net
from tests.running import assert_same, by_torch


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_against_float32(dtype: str) -> None:
    report = verify(small_net(), dtype=dtype)
    assert report.ok, report.verdict
    assert report.comparisons == [f"torch {dtype} / torch"]
    assert report.tolerance == verification.TOLERANCES[dtype]
    assert max(row.max_rel for row in report.rows) > 1e-5


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none() -> None:
    with pytest.raises(ProtogenError, match="no CUDA device"):
        verify(small_net(), device="cuda")


def test_every_blob_or_the_outputs_alone() -> None:
    net = small_net().fill(1)
    feed = {"data": np.random.default_rng(0).standard_normal((2, 3, 12, 12), dtype=np.float32)}
    blobs = dict(run_torch(net.graph(), feed, Setting()))
    assert list(blobs) == list(net.shapes)
    outputs = dict(run_torch(net.graph(), feed, Setting(outputs_only=True)))
    assert list(outputs) == net.outputs
    assert_same(list(outputs.values()), by_torch(net, feed), 0)


@pytest.fixture
def tf32_allowed() -> Iterator[None]:
    """As a user may have set it; PyTorch's modules of settings do not bear to be patched."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.usefixtures("tf32_allowed")
def test_what_was_allowed_on_cuda_is_allowed_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 is computed without TF32, and the user's setting put back, after an error too."""
    seen: list[bool] = []

    def fails(self: NetModule, *arguments: object) -> None:
        seen.append(torch.backends.cuda.matmul.allow_tf32)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(NetModule, "_compute", fails)
    with pytest.raises(ProtogenError, match="out of memory"):
        list(run_torch(small_net().graph(), {"data": np.zeros((2, 3, 12, 12), np.float32)}, Setting()))
    assert (seen, torch.backends.cuda.matmul.allow_tf32) == ([False], True)
