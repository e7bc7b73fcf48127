"""Caffemodels: every dialect and fork's form reads alike, views of the file, and what is written is what protobuf writes."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any

import numpy
import pytest

from protogen.errors import WeightsError
from protogen.weights import LayerBlobs, caffemodel, read_weights
from tests.bounds import bounded
from tests.corpus import CORPUS
from tests.oracle import LEGACY


def by_name(layers: list[LayerBlobs]) -> dict[str, list[numpy.ndarray]]:
    return {layer.name: [blob for blob in layer.blobs if blob is not None] for layer in layers if layer.blobs}


def root(array: numpy.ndarray) -> object:
    """What an array finally looks into."""
    base: object = array
    while isinstance(base, numpy.ndarray | memoryview):
        base = base.base if isinstance(base, numpy.ndarray) else base.obj
    return base


def message_file(folder: Path, message) -> Path:
    path = folder / "net.caffemodel"
    path.write_bytes(message.SerializeToString())
    return path


@pytest.mark.parametrize("net", ["v0", "v1"])
@pytest.mark.parametrize("form", [".double.caffemodel", ".new.caffemodel", ".caffemodel.h5"])
def test_every_form_of_a_net_holds_the_same_weights(net: str, form: str) -> None:
    if form.endswith(".h5"):
        pytest.importorskip("h5py")
    old = by_name(read_weights(LEGACY / f"{net}.caffemodel"))
    other = by_name(read_weights(LEGACY / f"{net}{form}"))
    shared = {"fc3"} if form.endswith(".h5") else set()  # HDF5 leaves out what a layer shares
    assert set(old) - shared == set(other)
    for name, blobs in other.items():
        for blob, stored in zip(blobs, old[name], strict=True):
            assert blob.dtype == numpy.float32
            assert blob.size == stored.size
            assert blob.tobytes() == stored.tobytes()


def test_names_types_and_shapes_as_caffe_upgrades_them() -> None:
    layers = {layer.name: layer for layer in read_weights(LEGACY / "v1.caffemodel")}
    assert [layers[name].type for name in ("conv1", "norm1", "fc", "tanh")] == [
        "Convolution", "LRN", "InnerProduct", "TanH",
    ]  # fmt: skip
    assert [blob.shape for blob in layers["fc"].blobs if blob is not None] == [(1, 1, 4, 384), (1, 1, 1, 4)]
    current = {layer.name: layer for layer in read_weights(LEGACY / "v1.new.caffemodel")}
    assert [blob.shape for blob in current["fc"].blobs if blob is not None] == [(4, 384), (4,)]
    assert current["input"].type == "Input"


def test_v0_layers_nested_in_v1_layers(tmp_path: Path, messages) -> None:
    blob = messages.Blob(num=1, channels=1, height=2, width=3, data=range(6))
    nested = messages.V0Layer(name="ip", type="innerproduct", blobs=[blob])
    path = message_file(tmp_path, messages.Net(layers=[messages.V1Layer(layer=nested)]))
    (layer,) = read_weights(path)
    assert (layer.name, layer.type) == ("ip", "InnerProduct")
    numpy.testing.assert_array_equal(layer.blobs[0], numpy.arange(6).reshape(1, 1, 2, 3))


def test_a_fork_type_number_is_kept(tmp_path: Path, messages) -> None:
    path = message_file(tmp_path, messages.Net(layers=[messages.V1Layer(name="a", type=61)]))
    assert read_weights(path)[0].type == "V1:61"


def test_packed_data_is_a_read_only_view_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.caffemodel"
    caffemodel.write(path, "net", [("ip", "InnerProduct", [], [], [numpy.ones((300, 500))])])
    (blob,) = read_weights(path)[0].blobs
    assert blob is not None
    assert isinstance(root(blob), mmap.mmap)
    with pytest.raises(ValueError, match="read-only"):
        blob[0, 0] = 2


def test_reading_takes_no_memory_for_values(tmp_path: Path) -> None:
    path = tmp_path / "a.caffemodel"
    caffemodel.write(path, "net", [("ip", "InnerProduct", [], [], [numpy.ones((2000, 2000))])])
    with bounded(1, 60):
        layers = read_weights(path)
    assert layers[0].blobs[0] is not None


def test_writing_takes_no_memory_for_values(tmp_path: Path) -> None:
    values = numpy.ones((2000, 2000)).T  # neither contiguous nor float32
    with bounded(8, 60):
        caffemodel.write(tmp_path / "a.caffemodel", "net", [("ip", "InnerProduct", [], [], [values])])


def test_data_in_several_chunks(tmp_path: Path, messages) -> None:
    """Protobuf joins repeated occurrences of a packed field, and so must we."""
    first = messages.Blob(shape=messages.BlobShape(dim=[5]), data=[1, 2]).SerializeToString()
    second = messages.Blob(data=[3, 4, 5]).SerializeToString()
    blob = messages.Blob.FromString(first + second)
    assert list(blob.data) == [1, 2, 3, 4, 5]
    path = tmp_path / "net.caffemodel"
    path.write_bytes(nested(100, b"\x0a\x01a" + nested(7, first + second)))
    numpy.testing.assert_array_equal(read_weights(path)[0].blobs[0], [1, 2, 3, 4, 5])


@pytest.mark.parametrize("field", ["data", "double_data"])
def test_unpacked_values(tmp_path: Path, messages, field: str) -> None:
    values = numpy.arange(70_000, dtype=numpy.float32)
    blob = messages.UnpackedBlob(shape=messages.UnpackedShape(dim=[7, 10_000]), **{field: values})
    path = tmp_path / "net.caffemodel"
    path.write_bytes(nested(100, b"\x0a\x01a" + nested(7, blob.SerializeToString())))
    numpy.testing.assert_array_equal(read_weights(path)[0].blobs[0], values.reshape(7, 10_000))


def test_packed_and_unpacked_values_mixed(tmp_path: Path, messages) -> None:
    data = messages.UnpackedBlob(data=[1, 2]).SerializeToString()
    data += messages.Blob(data=[3, 4], shape=messages.BlobShape(dim=[6])).SerializeToString()
    data += messages.UnpackedBlob(data=[5]).SerializeToString()
    data += messages.UnpackedBlob(data=[6]).SerializeToString()
    path = tmp_path / "net.caffemodel"
    path.write_bytes(nested(100, nested(7, data)))
    numpy.testing.assert_array_equal(read_weights(path)[0].blobs[0], [1, 2, 3, 4, 5, 6])


def test_double_data_becomes_float32(tmp_path: Path, messages) -> None:
    values = [0.1, 1e300, -1e-300]
    blob = messages.Blob(shape=messages.BlobShape(dim=[3]), double_data=values)
    path = message_file(tmp_path, messages.Net(layer=[messages.Layer(name="a", blobs=[blob])]))
    (stored,) = read_weights(path)[0].blobs
    assert stored is not None and stored.dtype == numpy.float32
    assert list(stored) == [numpy.float32(0.1), numpy.inf, 0]


@pytest.mark.parametrize(("number", "dtype"), [(0, "<f8"), (1, "<f4"), (2, "<f2")])
def test_raw_data_of_nvidia_caffe(tmp_path: Path, messages, number: int, dtype: str) -> None:
    values = numpy.array([[1.5, -2, 0.25]], dtype)
    blob = messages.Blob(shape=messages.BlobShape(dim=[1, 3]), raw_data_type=number, raw_data=values.tobytes())
    path = message_file(tmp_path, messages.Net(layer=[messages.Layer(name="a", blobs=[blob])]))
    (stored,) = read_weights(path)[0].blobs
    assert stored is not None and stored.dtype == numpy.float32
    numpy.testing.assert_array_equal(stored, values)


def test_old_dimensions_go_before_shape_as_in_caffe(tmp_path: Path, messages) -> None:
    blob = messages.Blob(num=2, channels=3, height=1, width=1, shape=messages.BlobShape(dim=[6]), data=range(6))
    path = message_file(tmp_path, messages.Net(layer=[messages.Layer(name="a", blobs=[blob])]))
    (stored,) = read_weights(path)[0].blobs
    assert stored is not None and stored.shape == (2, 3, 1, 1)


def test_fields_of_forks_are_passed_over(tmp_path: Path, messages) -> None:
    layer = messages.Layer(name="a", fork="\u00e9" * 500, blobs=[messages.Blob(data=[2.5])])
    path = message_file(tmp_path, messages.Net(layer=[layer]))
    assert read_weights(path)[0].blobs == [numpy.float32(2.5)]


def test_round_trip_is_bit_for_bit(tmp_path: Path) -> None:
    rng = numpy.random.default_rng(0)
    special = numpy.array([numpy.nan, -0.0, numpy.inf, 1e-45], numpy.float32)
    blobs: list[Any] = [
        rng.standard_normal((3, 4, 5)).astype(numpy.float32),
        special,
        numpy.float32(3),
        numpy.empty((0, 4)),
    ]
    path = tmp_path / "a.caffemodel"
    caffemodel.write(path, "n\u00e9t", iter([("conv/\u00e9 1", "Convolution", ["data"], ["x"], blobs)]))
    (layer,) = read_weights(path)
    assert (layer.name, layer.type) == ("conv/\u00e9 1", "Convolution")
    for stored, blob in zip(layer.blobs, blobs, strict=True):
        assert stored is not None
        assert stored.shape == numpy.asarray(blob).shape
        assert stored.tobytes() == numpy.asarray(blob, numpy.float32).tobytes()


def test_written_file_is_what_protobuf_writes(tmp_path: Path, messages) -> None:
    values = numpy.arange(300, dtype=numpy.float32).reshape(20, 15)
    expected = messages.Net(name="net")
    expected.layer.add(name="data", type="Input", top=["data"])
    layer = expected.layer.add(name="ip", type="InnerProduct", bottom=["data"], top=["ip"])
    layer.blobs.add(shape=messages.BlobShape(dim=[20, 15]), data=values.ravel())
    layer.blobs.add(shape=messages.BlobShape(dim=[1]), data=[-1])
    path = tmp_path / "a.caffemodel"
    caffemodel.write(path, "net", [
        ("data", "Input", [], ["data"], []),
        ("ip", "InnerProduct", ["data"], ["ip"], [numpy.asfortranarray(values), [-1]]),
    ])  # fmt: skip
    assert path.read_bytes() == expected.SerializeToString()


def test_a_file_can_be_written_over_while_its_arrays_are_in_use(tmp_path: Path) -> None:
    path = tmp_path / "a.caffemodel"
    caffemodel.write(path, "", [("a", "Scale", [], [], [numpy.arange(1000)])])
    (blob,) = read_weights(path)[0].blobs
    assert blob is not None
    caffemodel.write(path, "", [("a", "Scale", [], [], [blob + 1])])
    caffemodel.write(path, "", [("a", "Scale", [], [], [blob])])
    numpy.testing.assert_array_equal(read_weights(path)[0].blobs[0], numpy.arange(1000))
    assert os.listdir(tmp_path) == ["a.caffemodel"]


@pytest.mark.parametrize("blob", [None, "text", numpy.array([1j]), [[1], [1, 2]]])
def test_a_failed_write_leaves_what_was_there(tmp_path: Path, blob: Any) -> None:
    path = tmp_path / "a.caffemodel"
    path.write_bytes(b"before")
    with pytest.raises(WeightsError, match="layer 'b', blob 0"):
        caffemodel.write(path, "", [("a", "Scale", [], [], [numpy.ones(3)]), ("b", "Scale", [], [], [blob])])
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["a.caffemodel"]


def test_more_than_two_gigabytes_are_refused(tmp_path: Path) -> None:
    huge = numpy.broadcast_to(numpy.float32(1), (30_000, 20_000))
    with pytest.raises(WeightsError, match=r"exceed 2 GiB.*\.caffemodel\.h5"):
        caffemodel.write(tmp_path / "a.caffemodel", "", [("a", "Scale", [], [], [huge])])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("net", "shapes"), [
    ("det1", {"conv1": [(10, 3, 3, 3), (10,)], "PReLU1": [(10,)]}),
    ("det2", {"conv1": [(28, 3, 3, 3), (28,)], "conv4": [(128, 576), (128,)]}),
])  # fmt: skip
def test_published_mtcnn_weights(net: str, shapes: dict[str, list[tuple[int, ...]]]) -> None:
    found = list(CORPUS.glob(f"kpzhang93+MTCNN*/**/{net}.caffemodel"))
    if not found:
        pytest.skip("the shared corpus is not here")
    layers = by_name(read_weights(found[0]))
    for name, expected in shapes.items():
        assert [blob.shape for blob in layers[name]] == expected
    assert all(numpy.isfinite(blob).all() for blobs in layers.values() for blob in blobs)


def nested(number: int, payload: bytes) -> bytes:
    from protogen.weights.wire import encode_header

    return encode_header(number, len(payload)) + payload
