"""Files appear whole or not at all: places that cannot be, devices, links, modes, errors on the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from protogen.errors import ProtogenError
from protogen.weights import caffemodel, read_weights


@pytest.mark.parametrize("where", ["", "missing/a.caffemodel", "a\0b"])
def test_an_impossible_place_to_write(tmp_path: Path, where: str) -> None:
    with pytest.raises(ProtogenError):
        caffemodel.write(f"{tmp_path}/{where}", "", [("a", "Scale", [], [], [])])
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/null"), reason="needs /dev/null")
def test_writing_to_a_device_does_not_replace_it() -> None:
    caffemodel.write("/dev/null", "", [("a", "Scale", [], [], [])])
    assert not os.path.isfile("/dev/null")


def test_writing_keeps_links_and_modes(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_bytes(b"before")
    real.chmod(0o640)
    link.symlink_to(real)
    caffemodel.write(link, "", [("a", "Scale", [], [], [])])
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert read_weights(real)[0].name == "a"
