"""What commands write and print: devices, full disks, readers that go away, a progress bar."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest

from protogen.cli.output import progress, say_json
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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("ending", ["pth", "pt2", "onnx", "caffemodel"])
def test_a_full_disk_while_a_model_is_written(small: Path, ending: str) -> None:
    """PyTorch's own writer aborts the process if writing fails."""
    result = process("convert", small, "-o", "/dev/full", "--to", ending)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == b"Error: /dev/full: cannot write: No space left on device"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("summary - <&-", 1, "Error: <stdin>: cannot read: standard input is closed\n"),
        ("layers >&-", 1, "Error: standard output: cannot write: Bad file descriptor\n"),
        ("peleenet --size 64 >&-", 1, "Error: standard output: cannot write: Bad file descriptor\n"),
        ("convert SMALL -o - --to onnx >&-", 1, "Error: standard output: cannot write: Bad file descriptor\n"),
        ("convert SMALL -o out.onnx <&- >&- 2>&-", 0, ""),
        ("summary missing.prototxt 2>&-", 1, ""),
    ],
)
def test_closed_streams(small: Path, tmp_path: Path, command: str, code: int, message: str) -> None:
    """No file gets the descriptor of a closed stream, into which libraries may print."""
    line = f"{sys.executable} -m protogen {command}".replace("SMALL", str(small))
    result = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    lines = [text for text in result.stderr.splitlines(keepends=True) if not text.startswith("Note:")]
    assert (result.returncode, "".join(lines)) == (code, message)
    if code == 0:
        onnx.checker.check_model(str(tmp_path / "out.onnx"))


def test_json_is_the_same_piece_by_piece(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"name": "a\nb", "shape": [1, 2], "none": None}, {"name": "é", "empty": {}}]
    for data in ({"head": {"x": [1]}, "rows": rows, "none": [], "tail": 0.5}, {}, rows, []):
        lazy = (
            {key: iter(value) if isinstance(value, list) else value for key, value in data.items()}
            if isinstance(data, dict)
            else data
        )
        say_json(lazy)
        assert capsys.readouterr().out == json.dumps(data, indent=2) + "\n"
