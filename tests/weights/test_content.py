"""What a weights file holds: its content tells the kind, and how many blobs each layer has."""

from __future__ import annotations

from pathlib import Path

import pytest

from protogen.weights import read_weights
from tests.oracle import LEGACY


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    path = tmp_path / "net.caffemodel"
    path.write_bytes((LEGACY / "v0.caffemodel.h5").read_bytes())
    assert {layer.name for layer in read_weights(path)} >= {"conv1", "fc"}
