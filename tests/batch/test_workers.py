"""Worker processes: whatever happens to one of them, the others' items are done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from protogen.batch.workers import Lost, each
from tests.commands import ROOT

Outcomes = dict[int, "int | Lost"]


def work(item: int) -> int:
    """Square a number; what the negative ones do is no work."""
    if item == -1:
        os._exit(7)
    if item == -2:
        os.kill(os.getpid(), signal.SIGKILL)
    if item == -3:
        os.abort()
    if item == -4:
        time.sleep(600)
    return item * item


def test_every_item_once_in_several_processes() -> None:
    assert sorted(each(work, range(9), jobs=3)) == [(number, number**2) for number in range(9)]
    assert list(each(work, [], jobs=3)) == []


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_items_whose_processes_end_are_lost_alone() -> None:
    lost: list[int] = []
    outcomes: Outcomes = dict(each(work, [-1, 2, -2, 3, -3], jobs=2, on_loss=lambda item, pid: lost.append(item)))
    assert {number: outcome for number, outcome in outcomes.items() if isinstance(outcome, int)} == {1: 4, 3: 9}
    reasons = {number: outcome.reason for number, outcome in outcomes.items() if isinstance(outcome, Lost)}
    assert reasons == {
        0: "its process ended by itself (exit status 7)",
        2: "its process was killed (SIGKILL), as systems do when memory runs out",
        4: "its process crashed (SIGABRT)",
    }
    assert sorted(lost) == [-3, -2, -1]


def test_a_time_limit_is_for_each_item() -> None:
    outcomes: Outcomes = dict(each(work, [-4, 2, 3], jobs=1, timeout=2.0))
    hung = outcomes.pop(0)
    assert isinstance(hung, Lost)
    assert hung.reason == "not done within 2 seconds (--timeout); its process was stopped"
    assert 2 <= hung.seconds < 30
    assert outcomes == {1: 4, 2: 9}


def test_closing_the_iterator_ends_the_processes() -> None:
    lost: list[tuple[int, int]] = []
    results = each(work, [2, -4, -4, -4], jobs=2, on_loss=lambda item, pid: lost.append((item, pid)))
    assert next(results) == (0, 4)
    start = time.monotonic()
    results.close()
    assert time.monotonic() - start < 30
    assert lost
    for _, pid in lost:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_script_without_a_guard_is_told_of_it(tmp_path: Path) -> None:
    """Each worker imports the script; without a guard, it would convert again instead of working."""
    script = tmp_path / "script.py"
    script.write_text("from protogen.batch.workers import each\nprint(list(each(abs, [1, 2], jobs=1)))\n")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=60)
    last = done.stderr.splitlines()[-1]
    assert "worker processes do not start: the first ended by itself (exit status 1)" in last
    assert 'if __name__ == "__main__":' in last
