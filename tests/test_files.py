"""Files appear whole or not at all: places that cannot be, devices, links, modes, errors on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from protogen.errors import ProtogenError
from protogen.files import remove_leftovers, replacing, write_text
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


def half_written(path: Path, error: Exception) -> None:
    with replacing(path) as temporary:
        Path(temporary).write_text("half")
        raise error


def test_an_error_on_the_way_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_text("before")
    with pytest.raises(KeyError, match="of the caller's own"):
        half_written(path, KeyError("of the caller's own"))
    with pytest.raises(ProtogenError, match=r"net\.prototxt: cannot write: No space left on device"):
        half_written(path, OSError(28, "No space left on device"))
    assert (path.read_text(), os.listdir(tmp_path)) == ("before", ["net.prototxt"])


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    """And nothing of another process, or of somebody else."""
    code = (
        "import os, sys; from protogen.files import replacing\nwith replacing(sys.argv[1]) as path: open(path, 'w'); os._exit(9)"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / name)]) for name in ("a.onnx", "b.onnx")]
    assert [process.wait(60) for process in processes] == [9, 9]
    others = [tmp_path / f"of-{processes[0].pid}-1.tmp", tmp_path / ".hidden"]
    for path in others:
        path.write_text("")
    assert len(os.listdir(tmp_path)) == 4
    remove_leftovers(tmp_path, processes[0].pid)
    remove_leftovers(tmp_path / "nowhere", processes[0].pid)
    (left,) = set(tmp_path.iterdir()) - set(others)
    assert left.name.startswith(".b.onnx.")


def test_the_longest_name_that_a_file_system_takes(tmp_path: Path) -> None:
    """The temporary file beside it must not need a longer one."""
    path = tmp_path / ("n" * 246 + ".prototxt")
    write_text(path, "layer { }")
    assert os.listdir(tmp_path) == [path.name]


def test_a_byte_that_was_no_text_is_written_as_it_was(tmp_path: Path) -> None:
    write_text(tmp_path / "a", b"n\xe9\xff".decode("utf-8", "surrogateescape"))
    assert (tmp_path / "a").read_bytes() == b"n\xe9\xff"


KILLED = """
import os, signal, sys
from protogen.files import replacing
with replacing(sys.argv[1]) as temporary:
    open(temporary, "w").write("half")
    if sys.argv[2:]:
        input()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX")
def test_what_a_killed_process_left_goes_when_its_file_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    running = subprocess.Popen([sys.executable, "-c", KILLED, path, "wait"], stdin=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not os.listdir(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    subprocess.run([sys.executable, "-c", KILLED, path])
    (tmp_path / ".net.prototxt.mine.tmp").write_text("of somebody else")
    assert len(os.listdir(tmp_path)) == 3
    write_text(path, "whole")
    names = os.listdir(tmp_path)
    assert len(names) == 3, "the running process's file, somebody else's, and what was written"
    assert {"net.prototxt", ".net.prototxt.mine.tmp"} <= set(names)
    running.kill()
    running.communicate()
    write_text(path, "again")
    assert sorted(os.listdir(tmp_path)) == [".net.prototxt.mine.tmp", "net.prototxt"]
