"""Values of --input, from files."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

import click
import numpy as np
import pytest

from protogen.cli.values import Values
from protogen.cli.verify import verify
from protogen.errors import ProtogenError


def of(*inputs: str) -> Values:
    with click.Context(verify):
        return Values.of(inputs)


def test_all_forms(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones((1, 2)))
    np.savez(tmp_path / "two.npz", a=np.zeros(3), b=np.ones(3))
    np.savez(tmp_path / "one.npz", other=np.arange(3))
    values = of("d=1,3,8,8", f"x={tmp_path / 'x.npy'}", f"b={tmp_path / 'two.npz'}", f"c={tmp_path / 'one.npz'}", "p=photo.JPG")
    assert values.shapes == ["d=1,3,8,8"] and values.pictures == {"p": "photo.JPG"}
    assert {name: array.tolist() for name, array in values.arrays.items()} == {"x": [[1, 1]], "b": [1, 1, 1], "c": [0, 1, 2]}
    assert set(of(str(tmp_path / "two.npz")).arrays) == {"a", "b"}


def test_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "two.npz", a=np.zeros(3), b=np.ones(3))
    np.savez(tmp_path / "text.npz", a=np.array(["x"]))
    (tmp_path / "bad.npz").write_bytes(b"PK no archive")
    (tmp_path / "archive.npy").write_bytes((tmp_path / "two.npz").read_bytes())
    for text, message in (
        (f"c={tmp_path / 'two.npz'}", "has no array 'c', but 'a', 'b'"), (str(tmp_path / "text.npz"), "not real numbers"),
        (str(tmp_path / "bad.npz"), "not a readable .npz file"), (f"x={tmp_path / 'archive.npy'}", "call it .npz"),
        ("x=none.npy", "not a readable .npy file"),
    ):  # fmt: skip
        with pytest.raises(ProtogenError, match=message):
            of(text)
    with pytest.raises(click.UsageError, match="--input takes"):
        of("photo.jpg")


def test_archives_that_hold_something_else(tmp_path: Path) -> None:
    def archive(name: str, *members: tuple[str, bytes]) -> str:
        path = tmp_path / name
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            warnings.simplefilter("ignore")  # of the duplicate
            for member, content in members:
                file.writestr(member, content)
        return str(path)

    for text, message in (
        (archive("bytes.npz", ("x", b"hello")), "'x': is no array"),
        (archive("double.npz", ("x.npy", b""), ("x.npy", b"")), "has two arrays called 'x'"),
    ):
        with pytest.raises(ProtogenError, match=message):
            of(text)


def test_an_archive_is_not_unpacked_to_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protogen.cli.values.MAX_UNPACKED", 1000)
    np.savez_compressed(tmp_path / "bomb.npz", x=np.zeros(1000))
    with pytest.raises(ProtogenError, match="unpacks to more than"):
        of(str(tmp_path / "bomb.npz"))
