"""What commands write and print: devices, full disks, readers that go away, a progress bar."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from protogen.cli.output import progress
from protogen.progress import track
from tests.commands import Run, process


def test_devices_are_written_to_not_replaced(run: Run, small: Path) -> None:
    for ending in ("onnx", "pt2", "pth", "prototxt"):
        assert run("convert", small, "-o", os.devnull, "--to", ending).code == 0
        assert Path(os.devnull).is_char_device()


def test_a_reader_that_has_seen_enough() -> None:
    """`protogen peleenet | head -1` ends quietly."""
    command = f"{sys.executable} -m protogen peleenet | head -n 1"
    result = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, timeout=60)
    assert result.stderr == b""
    assert result.stdout == b'name: "PeleeNet"\n'


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", [["peleenet"], ["peleenet", "-o", "/dev/full"]])
def test_a_full_disk(arguments: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        result = process(*arguments, stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 1
    assert b"Traceback" not in result.stderr
    assert b"space" in result.stderr


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def tracked(stream: io.StringIO, seconds: float, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is shown on standard error of work that takes this long."""
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    with progress():
        begun = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: begun + seconds)
        assert list(track("comparing \x1b]0;title\x07", range(3))) == [0, 1, 2]
    return stream.getvalue()


def test_long_work_shows_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = tracked(Terminal(), 2, monkeypatch)
    assert "comparing \\x1b]0;title\\x07" in shown, "a name in it cannot drive the terminal"


@pytest.mark.parametrize(("stream", "seconds"), [(Terminal(), 0.5), (io.StringIO(), 2)], ids=["short", "piped"])
def test_short_work_and_pipes_see_no_bar(stream: io.StringIO, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tracked(stream, seconds, monkeypatch) == ""
