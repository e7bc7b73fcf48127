"""HDF5 weights: Caffe's layout, views of the file, and files that lie or are damaged."""

from __future__ import annotations

import mmap
import os
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest

from protogen.errors import WeightsError
from protogen.weights import hdf5, read_weights
from tests.bounds import bounded
from tests.commands import fresh_python
from tests.oracle import LEGACY

h5py = pytest.importorskip("h5py")


def test_round_trip_is_bit_for_bit_and_keeps_order(tmp_path: Path) -> None:
    blobs: list[Any] = [
        numpy.array([[numpy.nan, -0.0], [1e-45, 3]], numpy.float32),
        numpy.float32(2),
        numpy.empty((0, 4)),
    ]
    path = tmp_path / "a.caffemodel.h5"
    hdf5.write(
        path,
        "net",
        iter([("z", "Input", [], [], []), ("b", "Scale", [], [], blobs), ("a", "ReLU", [], [], [])]),
    )
    layers = read_weights(path)
    assert [layer.name for layer in layers] == ["z", "b", "a"]
    for stored, blob in zip(layers[1].blobs, blobs, strict=True):
        assert stored is not None and stored.dtype == numpy.float32
        assert stored.shape == numpy.asarray(blob).shape
        assert stored.tobytes() == numpy.asarray(blob, numpy.float32).tobytes()


def test_layout_is_that_of_caffe(tmp_path: Path) -> None:
    layers = read_weights(LEGACY / "v1.caffemodel.h5")
    path = tmp_path / "a.h5"
    hdf5.write(path, "net", [(layer.name, "", [], [], layer.blobs) for layer in layers])
    with h5py.File(LEGACY / "v1.caffemodel.h5") as theirs, h5py.File(path) as ours:
        names: list[str] = []
        theirs.visit(names.append)
        assert names
        for name in names:
            assert isinstance(ours[name], type(theirs[name]))
            if isinstance(ours[name], h5py.Dataset):
                assert ours[name].dtype == theirs[name].dtype
                numpy.testing.assert_array_equal(ours[name][()], theirs[name][()])
        count: list[str] = []
        ours.visit(count.append)
        assert len(count) == len(names)


def test_values_are_a_view_of_the_file() -> None:
    layers = {layer.name: layer for layer in read_weights(LEGACY / "v0.caffemodel.h5")}
    base: object = layers["conv1"].blobs[0]
    while isinstance(base, numpy.ndarray | memoryview):
        base = base.base if isinstance(base, numpy.ndarray) else base.obj
    assert isinstance(base, mmap.mmap)


def test_names_with_slashes(tmp_path: Path) -> None:
    names = ["inception/1x1", "inception/3x3/reduce", "inception", "conv"]
    path = tmp_path / "a.h5"
    hdf5.write(path, "", [(name, "", [], [], [numpy.full(2, i)]) for i, name in enumerate(names)])
    assert {layer.name: numpy.asarray(layer.blobs[0]).tolist() for layer in read_weights(path)} == {
        name: [i, i] for i, name in enumerate(names)
    }


def test_a_shared_blob_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    hdf5.write(path, "", [("a", "", [], [], [None, numpy.ones(2)])])
    (layer,) = read_weights(path)
    assert layer.blobs[0] is None
    assert layer.blobs[1] is not None and layer.blobs[1].tolist() == [1, 1]


@pytest.mark.parametrize("options", [{"compression": "gzip"}, {"dtype": "<f8"}, {"dtype": ">f4"}, {"dtype": "<i4"}])
def test_other_storage_becomes_float32(tmp_path: Path, options: dict) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data/a/0", data=numpy.arange(6).reshape(2, 3), **{"dtype": "<f4", **options})
    (blob,) = read_weights(path)[0].blobs
    assert blob is not None and blob.dtype == numpy.float32 and not blob.flags.writeable
    numpy.testing.assert_array_equal(blob, [[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize("name", ["", "/", "/a", "a/", "a//b", ".", "a/./b", "a\0b", "b"])
def test_names_that_hdf5_cannot_hold(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.h5"
    with pytest.raises(WeightsError, match="HDF5"):
        hdf5.write(path, "", [("b", "", [], [], [numpy.ones(1)]), (name, "", [], [], [])])
    assert os.listdir(tmp_path) == []


def test_a_layer_named_like_a_blob(tmp_path: Path) -> None:
    with pytest.raises(WeightsError):
        hdf5.write(tmp_path / "a.h5", "", [("b", "", [], [], [numpy.ones(1)]), ("b/0", "", [], [], [])])
    assert os.listdir(tmp_path) == []


def build(kind: str, path: Path) -> None:
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        if kind == "2^40 elements":
            data.create_dataset("a/0", shape=(1 << 40,), dtype="<f4", chunks=(1 << 20,))
        elif kind == "compressed bomb":
            data.create_dataset("a/0", data=numpy.zeros(1 << 25, "<f4"), compression="gzip", compression_opts=1)
        elif kind == "one dataset under many names":
            data.create_dataset("a/0", data=numpy.zeros(1 << 20, "<f8"))
            for i in range(1, 100):
                data[f"a/{i}"] = data["a/0"]
        elif kind == "external link":
            data["a"] = h5py.ExternalLink("other.h5", "/")
        elif kind == "soft link":
            data["a"] = h5py.SoftLink("/data")
        elif kind == "external data":
            data.create_dataset("a/0", shape=(4,), dtype="<f4", external=[("/etc/passwd", 0, 16)])
        elif kind == "cycle":
            data.create_group("a")["b"] = data
        elif kind == "text":
            data.create_dataset("a/0", data="text")
        elif kind == "index":
            data.create_dataset("a/999999999", data=[1.0])
        elif kind == "dataset name":
            data.create_dataset("a/kernel:0", data=[1.0])


@pytest.mark.parametrize(("kind", "message"), [
    ("2^40 elements", "claims more data"),
    ("compressed bomb", "claims more data"),
    ("one dataset under many names", "claims more data"),
    ("external link", "not followed"),
    ("soft link", "not followed"),
    ("external data", "in another file"),
    ("cycle", "appears twice"),
    ("text", "not a blob"),
    ("index", "not named by the index"),
    ("dataset name", "not named by the index"),
    ("nothing", "contains no layers"),
])  # fmt: skip
def test_files_that_lie(tmp_path: Path, kind: str, message: str) -> None:
    path = tmp_path / "a.h5"
    build(kind, path)
    with bounded(100, 60), pytest.raises(WeightsError, match=message):
        read_weights(path)


def test_a_file_of_another_layout(tmp_path: Path) -> None:
    path = tmp_path / "keras.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("model_weights/conv/kernel:0", data=[1.0])
    with pytest.raises(WeightsError, match="no group 'data'"):
        read_weights(path)


def test_truncated_and_damaged_files(tmp_path: Path) -> None:
    """In a process of its own, so that a crash of the HDF5 library would be seen as what it is."""
    code = """
import random, sys
from protogen.errors import WeightsError
from protogen.weights import read_weights
content = open(sys.argv[1], "rb").read()
def attempt(damaged):
    with open(sys.argv[2], "wb") as file:
        file.write(damaged)
    try:
        for layer in read_weights(sys.argv[2]):
            for blob in layer.blobs:
                if blob is not None:
                    blob.sum()
    except WeightsError:
        pass
for length in range(0, len(content), 97):
    attempt(content[:length])
chance = random.Random(0)
for _ in range(400):
    damaged = bytearray(content)
    for _ in range(chance.randint(1, 20)):
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
    attempt(damaged)
"""
    fresh_python(code, LEGACY / "v0.caffemodel.h5", tmp_path / "a.h5", PYTHONWARNINGS="ignore")


def test_without_h5py_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(WeightsError, match=r"pip install '\.\[hdf5\]'"):
        read_weights(LEGACY / "v0.caffemodel.h5")


@pytest.mark.skipif(sys.platform == "win32", reason="no resource limits on Windows")
@pytest.mark.parametrize("room", [0, 100, 3000, 9000])
def test_a_full_disk_ends_with_one_error_and_no_file(tmp_path: Path, room: int) -> None:
    """In a process of its own: HDF5 would crash it, some at once and some at its end."""
    code = """
import resource, sys
import protogen, h5py
net = protogen.models.lenet().fill()
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    net.save(sys.argv[1])
except protogen.ProtogenError as error:
    print(error)
"""
    said = fresh_python(code, tmp_path / "out.h5", room, PYTHONDONTWRITEBYTECODE="1")
    assert "out.h5: cannot write HDF5" in said
    assert "File too large" in said
    assert not list(tmp_path.iterdir())
