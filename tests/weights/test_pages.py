"""Mapped files are worked through without staying in memory."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from protogen.weights import caffemodel, pages


def resident() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Rss:"))


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's account of resident pages")
def test_pages_go_back(tmp_path: Path) -> None:
    values = np.arange(16 << 20, dtype=np.float32)
    path = tmp_path / "a.caffemodel"
    caffemodel.write(path, "", [("a", "InnerProduct", [], [], [values])])
    (blob,) = caffemodel.read(path)[0].blobs
    assert blob is not None
    before = resident()
    total = sum(float(piece.sum(dtype=np.float64)) for piece in pages.chunks(blob))
    assert total == values.sum(dtype=np.float64)
    assert resident() - before < values.nbytes / 2
    np.testing.assert_array_equal(blob, values)


@pytest.mark.parametrize("size", [0, 1, 10])
def test_copy_in_chunks(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(pages, "CHUNK", 3)
    source = np.arange(2 * size, dtype=np.float32).reshape(2, size).T
    target = np.zeros(2 * size, np.float32)
    pages.copy(target, source)
    np.testing.assert_array_equal(target.reshape(source.shape), source)


def test_other_arrays_are_left_alone() -> None:
    values = np.ones(1 << 16)
    values.flags.writeable = False
    pages.release(values)
    pages.release(np.frombuffer(bytes(sys.maxsize.bit_length() << 12), np.uint8))
    assert values.all()
