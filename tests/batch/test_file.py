"""One file of a folder: every outcome is a row, and no exception."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from protogen.batch.file import Converter, Job
from protogen.report.conversions import FileRow
from tests.batch.nets import text, write

TRAIN_ONLY = """
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 } } include { phase: TRAIN } }
layer { name: "relu" type: "ReLU" bottom: "x" top: "y" include { phase: TRAIN } }
"""


def convert(folder: Path, name: str, ending: str = ".prototxt", **options: Any) -> FileRow:
    converter = Converter(str(folder), str(folder / "out"), ending, {"phase": None}, options)
    return converter(Job(name, f"deep/{name}{ending}"))


def test_warnings_are_those_of_the_file(tmp_path: Path) -> None:
    write(tmp_path, train=TRAIN_ONLY, plain=text())
    row = convert(tmp_path, "train.prototxt")
    assert (row.status, row.inputs, row.outputs) == ("converted", {"x": [1, 3]}, {"y": [1, 3]})
    assert row.warnings == ["this file is a net in phase TRAIN only, and read as such (--phase train)"]
    assert convert(tmp_path, "plain.prototxt").warnings == []


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        ("", "refused", "the file is empty; a prototxt with at least one layer is needed"),
        ('item { name: "dog" }', "not a net", "this is a label map (names of classes), not a net"),
        (text().replace('"fc"', "$FC$"), "not a net", "this is a template: fill in its words with --define FC="),
        (text().replace("Pooling", "Poling"), "refused", "unknown"),
        ('name: "x"', "refused", "there are no layers"),
    ],
)
def test_files_that_are_not_converted(tmp_path: Path, content: str, status: str, message: str) -> None:
    write(tmp_path, net=content)
    row = convert(tmp_path, "net.prototxt", ".onnx")
    assert (row.status, row.output) == (status, None)
    assert message in row.message
    assert str(tmp_path) not in row.message
    assert "\n" not in row.message


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    row = convert(tmp_path, "gone.prototxt")
    assert (row.status, row.message) == ("refused", "cannot read: No such file or directory")


def test_a_file_in_the_place_of_the_outputs_folder(tmp_path: Path) -> None:
    write(tmp_path, net=text())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "deep").write_text("mine")
    row = convert(tmp_path, "net.prototxt")
    assert (row.status, "cannot create this folder: File exists" in row.message) == ("refused", True)
    assert (tmp_path / "out" / "deep").read_text() == "mine"
