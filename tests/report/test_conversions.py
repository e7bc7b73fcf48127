"""The report of a folder's conversion: counts, what a person should look at, and JSON that every reader takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from protogen.report.conversions import ConversionReport, FileRow

ROWS = [
    FileRow(
        "a.prototxt", "converted", weights="a.caffemodel", matched_by="name", output="a.onnx", warnings=["odd"], seconds=1.23456
    ),
    FileRow("b.prototxt", "converted", weights="m.caffemodel", matched_by="layers", ignored=["input 'x'"]),
    FileRow("c.prototxt", "converted", note="two fit; random ones", unsure=True),
    FileRow("d.prototxt", "not a net", "this is a solver"),
    FileRow("e.prototxt", "refused", "4:1: a slip"),
    FileRow("f.prototxt", "failed", "its process crashed (SIGSEGV)"),
]


def report(*rows: FileRow) -> ConversionReport:
    return ConversionReport("models", "out", ".onnx", rows, 2.5)


def lines(table: Table | None) -> list[str]:
    """The rows of a table as text, single-spaced."""
    assert table is not None
    console = Console(width=200, file=open("/dev/null", "w"), record=True)  # noqa: SIM115
    console.print(table)
    return [" ".join(line.split()) for line in console.export_text().splitlines()]


def test_counts() -> None:
    counts = report(*ROWS).counts
    assert counts == {
        "converted": 3, "not a net": 1, "refused": 1, "failed": 1, "not reached": 0, "with weights": 2, "with warnings": 1,
    }  # fmt: skip
    shown = lines(report(*ROWS).table())
    for line in ("3 converted", "2 with weights", "1 with warnings", "1 not a net", "1 refused", "1 failed"):
        assert line in shown
    assert not any("not reached" in line for line in shown)


def test_only_nets_that_were_not_converted_make_it_fail() -> None:
    assert report(*ROWS[:4]).ok
    for row in ROWS[4:]:
        assert not report(*ROWS[:4], row).ok
    assert not report(FileRow("g.prototxt", "not reached")).ok


def test_remarks_are_failures_first_and_then_guesses() -> None:
    shown = [line for line in lines(report(*ROWS).remarks()) if ".prototxt" in line]
    assert shown == [
        "e.prototxt refused 4:1: a slip",
        "f.prototxt failed its process crashed (SIGSEGV)",
        "b.prototxt converted with the weights of 'm.caffemodel', whose layers fit",
        "c.prototxt converted two fit; random ones",
    ]
    assert report(ROWS[0], ROWS[3]).remarks() is None


def test_settings_are_ignored_only_if_every_net_ignores_them() -> None:
    assert report(ROWS[1], ROWS[3], ROWS[4]).ignored == ["input 'x'"]
    assert report(*ROWS).ignored == []
    assert report(ROWS[3]).ignored == []


def test_json_is_utf8_with_a_line_per_file(tmp_path: Path) -> None:
    odd = FileRow("caf\udce9.prototxt", "converted", outputs={"\ud800": [1], "名": ["N"]}, note='quote " and \x1b[31m')
    report(*ROWS, odd).write(tmp_path / "report.json")
    text = (tmp_path / "report.json").read_bytes().decode("ascii")
    assert "\\ud800" not in text.replace("\\\\ud800", ""), "no lone surrogate, which many readers refuse"
    data: dict[str, Any] = json.loads(text)
    assert data["files"][-1]["source"] == "caf\\udce9.prototxt"
    assert data["files"][-1]["outputs"] == {"\\ud800": [1], "名": ["N"]}
    assert data["files"][0]["seconds"] == 1.235
    assert sum(".prototxt" in line for line in text.splitlines()) == len(ROWS) + 1
    assert data["counts"]["with_weights"] == 2


def test_json_of_no_files(tmp_path: Path) -> None:
    report().write(tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["files"] == []
