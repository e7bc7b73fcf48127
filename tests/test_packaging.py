"""What people are told to install is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import protogen
from protogen.errors import install_hint


def test_hints_name_extras_that_exist() -> None:
    """And nobody is sent to PyPI's `protogen`, which is another program."""
    tomllib = pytest.importorskip("tomllib")
    top = Path(protogen.__file__).parents[1]
    project = tomllib.loads((top / "pyproject.toml").read_text())["project"]
    assert project["name"] == "protogen-caffe"
    assert project["scripts"] == {"protogen": "protogen.__main__:main"}
    files = [top / "README.md", *(top / "protogen").rglob("*.py")]
    for path in files:
        text = path.read_text()
        assert "protogen[" not in text, path
        assert "install protogen" not in text, path
    for text in (path.read_text() for path in files[1:]):
        for extra in re.findall(r"install_hint\(['\"](\w+)['\"]\)", text):
            assert extra in project["optional-dependencies"]
            assert f"'.[{extra}]'" in install_hint(extra)
    for extra in re.findall(r"'\.\[(\w+)\]'", files[0].read_text()):
        assert extra in project["optional-dependencies"]
