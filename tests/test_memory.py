"""What the system says of its memory, and that it may say nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from protogen import memory
from protogen.memory import available_memory, release_memory


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what it has")
def test_it_is_less_than_there_is() -> None:
    (total,) = (int(line.split()[1]) << 10 for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line)
    available = available_memory()
    assert available is not None
    assert 0 < available < total


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has these files")
def test_limits_of_a_container_and_of_the_shell_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    free = available_memory()
    assert free is not None
    (tmp_path / "memory.current").write_text("1000000\n")
    (tmp_path / "memory.max").write_text("3000000\n")
    assert available_memory() == 2_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert (available_memory() or 0) > free / 2, "no limit"
    limit = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 30,) * 2)"
    code = f"{limit}\nfrom protogen.memory import available_memory\nprint(available_memory())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) < 1 << 30


def test_other_systems_say_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    monkeypatch.setattr(memory, "_entry", lambda path, name: None)
    assert available_memory() is None
    monkeypatch.setattr(sys, "platform", "win32")
    assert available_memory() is None
    memory._c_library.cache_clear()
    release_memory()
    memory._c_library.cache_clear()
