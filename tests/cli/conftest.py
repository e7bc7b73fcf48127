"""What tests of the command line share."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

import protogen
from tests.cli.nets import SMALL, TRAINED
from tests.commands import Capture, Run, run_command


@pytest.fixture
def run(capsys: Capture) -> Run:
    """Run the command line in this process."""
    return partial(run_command, capsys)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """small.prototxt in a folder of its own."""
    path = tmp_path / "small.prototxt"
    path.write_text(SMALL)
    return path


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with net.prototxt and net.caffemodel."""
    (tmp_path / "net.prototxt").write_text(TRAINED)
    protogen.loads(TRAINED).fill(7).save_caffemodel(tmp_path / "net.caffemodel")
    return tmp_path
