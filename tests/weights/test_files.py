"""Files that are no weights are told apart by their content, and the name of what they are is said."""

from __future__ import annotations

import gzip
import os
import pickle
import zipfile
from pathlib import Path

import pytest

from protogen.errors import WeightsError
from protogen.weights import read_weights
from tests.commands import fresh_python


def zip_file(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"x")


FOREIGN = {
    "empty": (lambda path: path.write_bytes(b""), "the file is empty"),
    "zip": (zip_file, "zip archive"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps({"a": 1}, 2)), "pickle"),
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"x")), "unpack it first"),
    "safetensors": (lambda path: path.write_bytes((8).to_bytes(8, "little") + b'{"a":1} '), "safetensors"),
    "prototxt": (lambda path: path.write_text('name: "net"\nlayer { name: "a" }\n'), "is text"),
    "lfs": (
        lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "git lfs pull",
    ),
    "html": (lambda path: path.write_text("\n<!DOCTYPE html><html></html>"), "web page"),
    "utf-16": (lambda path: path.write_text("name: 'net'", encoding="utf-16"), "byte 0"),
    "zeros": (lambda path: path.write_bytes(bytes(1000)), "byte 0"),
    "no layers": (lambda path: path.write_bytes(b"\x0a\x03net\x28\x01"), "contains no layers"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_other_files_are_told_apart(tmp_path: Path, kind: str) -> None:
    make, message = FOREIGN[kind]
    path = tmp_path / "net.caffemodel"
    make(path)
    with pytest.raises(WeightsError, match=message) as caught:
        read_weights(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_missing_files_directories_and_devices(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="No such file"):
        read_weights(tmp_path / "none.caffemodel")
    with pytest.raises(WeightsError, match="directory"):
        read_weights(tmp_path)
    with pytest.raises(WeightsError):
        read_weights("a\0b")
    if os.path.exists("/dev/zero"):
        with pytest.raises(WeightsError, match="not a regular file"):
            read_weights("/dev/zero")


@pytest.mark.parametrize(("name", "message"), [
    ("mean.binaryproto", "a mean image"),
    ("a.solverstate", "snapshot of the solver"),
    ("net.caffemodel.h5", "not an HDF5 file"),
])  # fmt: skip
def test_endings_that_are_not_weights(tmp_path: Path, name: str, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x08\x01\x10\x03")
    with pytest.raises(WeightsError, match=message):
        read_weights(path)


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, protogen.weights\nheavy = {'numpy', 'h5py', 'torch', 'onnx'} & set(sys.modules)\nassert not heavy, heavy"
    fresh_python(code)
