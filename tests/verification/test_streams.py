"""Engines read side by side, whatever the order of their blobs; arrays put aside."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protogen import NetBuilder, ProtogenError
from protogen.backends import BACKENDS, onnxruntime
from protogen.verification import streams, verify
from protogen.verification.streams import Shelf, paired


def stream(names: Sequence[str], value: float) -> Iterator[tuple[str, np.ndarray]]:
    return ((name, np.full(len(name), value)) for name in names)


@pytest.mark.parametrize("orders", [("abc", "abc"), ("abc", "cba"), ("abc", "cxb"), ("", "ab"), ("ab", "")])
def test_blobs_that_both_have_are_paired(orders: tuple[str, str]) -> None:
    reference, run = orders
    pairs = list(paired(stream(reference, 1), [stream(run, 2)]))
    assert sorted(blob for _, blob, _, _ in pairs) == sorted(set(reference) & set(run))
    assert all((actual == 2).all() and (expected == 1).all() for _, _, actual, expected in pairs)


def test_several_runs_share_one_reference() -> None:
    pairs = list(paired(stream("abc", 1), [stream("ba", 2), stream("cab", 3)]))
    assert sorted((number, blob) for number, blob, _, _ in pairs) == [(0, "a"), (0, "b"), (1, "a"), (1, "b"), (1, "c")]
    assert all((actual == number + 2).all() for number, _, actual, _ in pairs)


def test_no_blob_is_kept_for_longer_than_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long chain of layers, a few blobs are in memory at any time."""
    b = NetBuilder("chain")
    x = b.input("data", (1, 4, 8, 8))
    for _ in range(30):
        x = b.sigmoid(b.conv(x, 4, 3, pad=1), in_place=False)
    most: dict[str, int] = {}
    for name in ("torch", "onnxruntime"):
        monkeypatch.setitem(BACKENDS, name, counted(name, most))
    monkeypatch.setattr(onnxruntime, "PART", 1)
    report = verify(b.build())
    assert report.ok, report.verdict
    assert len(report.rows) > 60
    assert max(most.values()) <= 4, most


def counted(name: str, most: dict[str, int]) -> Any:
    """The backend; counts how many of its values are in memory at most."""
    right = BACKENDS[name]

    def run(*arguments: Any) -> Iterator[tuple[str, np.ndarray]]:
        alive: set[str] = set()
        for blob, value in right(*arguments):
            alive.add(blob)
            weakref.finalize(value, alive.discard, blob)
            most[name] = max(most.get(name, 0), len(alive))
            yield blob, value
            del value

    return run


def test_arrays_put_aside_come_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(streams, "IN_MEMORY", 100)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    arrays = {
        name: np.random.default_rng(number).random((number, 3)).astype(np.float32) for number, name in enumerate("abcdefgh")
    }
    shelf = Shelf()
    for name, array in arrays.items():
        shelf.put(name, array[:, :2] if name == "d" else array)
    arrays["d"] = arrays["d"][:, :2]
    for name in reversed(arrays):
        np.testing.assert_array_equal(shelf.get(name), arrays[name])
    del shelf
    assert not list(tmp_path.iterdir())


def test_no_room_to_put_arrays_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def seek(self, *place: int) -> int:
            return 0

        def write(self, data: object) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(streams, "IN_MEMORY", 0)
    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    with pytest.raises(ProtogenError, match="cannot put aside blobs that differ: No space left on device; set TMPDIR"):
        Shelf().put("a", np.ones(3))
