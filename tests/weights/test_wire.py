"""Protobuf's wire format in damaged and malicious files: a WeightsError or a sound result, soon and in little memory."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protogen.errors import WeightsError
from protogen.weights import caffemodel, read_weights, wire
from protogen.weights.wire import encode_header, encode_varint
from tests.bounds import bounded
from tests.oracle import LEGACY

SMALL = (LEGACY / "v1.new.caffemodel").read_bytes()
OLD = (LEGACY / "v0.caffemodel").read_bytes()


def attempt(content: bytes) -> None:
    """Read; whatever is returned must be whole."""
    try:
        layers = caffemodel.parse(content)
    except WeightsError as error:
        assert "byte" in str(error) or "no layers" in str(error)
        return
    for layer in layers:
        for blob in layer.blobs:
            assert blob is not None
            float(blob.astype(numpy.float64).sum())
            assert blob.nbytes <= 2 * len(content)


def net(blob: bytes, layer: bytes = b"\x0a\x01a") -> bytes:
    payload = layer + encode_header(7, len(blob)) + blob
    return encode_header(100, len(payload)) + payload


def shape(*dims: int) -> bytes:
    packed = b"".join(encode_varint(dim % (1 << 64)) for dim in dims)
    inner = encode_header(1, len(packed)) + packed
    return encode_header(7, len(inner)) + inner


def data(*values: float) -> bytes:
    return encode_header(5, 4 * len(values)) + struct.pack(f"<{len(values)}f", *values)


@pytest.mark.parametrize("content", [SMALL[:3000], OLD], ids=["current", "v1"])
def test_truncated_at_every_byte(content: bytes) -> None:
    with bounded():
        for length in range(len(content)):
            attempt(content[:length])


def test_a_truncated_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "cut.caffemodel"
    path.write_bytes(SMALL[: len(SMALL) // 2])
    with pytest.raises(WeightsError, match=r"cut\.caffemodel: byte \d+: .*truncated"):
        read_weights(path)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([SMALL, OLD]), st.lists(st.tuples(st.integers(0, 1 << 16), st.integers(0, 7)), max_size=8))
def test_flipped_bits(content: bytes, flips: list[tuple[int, int]]) -> None:
    damaged = bytearray(content)
    for position, bit in flips:
        damaged[position % len(damaged)] ^= 1 << bit
    attempt(bytes(damaged))


def test_every_bit_of_the_first_headers_flipped() -> None:
    with bounded():
        for position in range(200):
            for bit in range(8):
                damaged = bytearray(OLD)
                damaged[position] ^= 1 << bit
                attempt(bytes(damaged))


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"\xa2\x06", b"\x12"]))
def test_random_bytes(content: bytes, prefix: bytes) -> None:
    attempt(prefix + content)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_random_blobs(content: bytes) -> None:
    attempt(net(content))


@pytest.mark.parametrize(("blob", "message"), [
    (shape(1 << 40) + data(1), "Caffe's limit"),
    (shape(1 << 20, 1 << 20, 1 << 30) + data(1), "Caffe's limit"),
    (shape(1 << 62, 4) + data(1), "Caffe's limit"),
    (shape(0, 1 << 31), "Caffe's limit"),
    (shape(0, 1 << 30, 1 << 30, 1 << 30), "Caffe's limit"),
    (shape(-1) + data(1), "negative"),
    (shape(-2, -2) + data(1, 2, 3, 4), "negative"),
    (shape(2_000_000_000) + data(1), "2000000000 elements, but there are 1 values"),
    (shape(3), "has 3 elements, but there is no data"),
    (b"", "has 1 elements, but there is no data"),
    (shape(*[1] * 33) + data(1), "more than 32 axes"),
    (shape(2) + encode_header(5, 7) + bytes(7), "7 bytes of data are not a whole number"),
    (shape(2) + encode_header(5, 1 << 40) + bytes(8), "claims 1099511627776 bytes, but only 8 remain"),
    (encode_header(7, 50) + data(1), "claims 50 bytes"),
    (b"\x2b\x2c", "wire type 3"),
    (b"\x00\x00", "number 0"),
    (b"\x07", "wire type 7"),
    (b"\x28\x01", "field 5 is a varint, not length-delimited or 32-bit values"),
    (b"\x0a\x00", "field 1 is length-delimited, not a varint"),
    (b"\x08" + b"\xff" * 10 + b"\x01", "more than 64 bits"),
    (b"\xff" * 20, "more than 64 bits"),
    (b"\x08\xff", "within a number"),
    (shape(2) + encode_header(12, 8) + bytes(8), "raw data of no type"),
    (shape(2) + b"\x50\x03" + encode_header(12, 8) + bytes(8), "raw data of type 3"),
])  # fmt: skip
def test_blobs_that_lie(blob: bytes, message: str) -> None:
    with bounded(1, 1), pytest.raises(WeightsError, match=message):
        caffemodel.parse(net(blob))


def test_an_error_names_file_layer_blob_and_offset() -> None:
    content = net(shape(3) + data(1, 2), layer=b"\x0a\x05conv1")
    with pytest.raises(WeightsError, match=r"^x\.caffemodel: byte 12: layer 'conv1', blob 0: shape \(3,\) has 3"):
        caffemodel.parse(content, "x.caffemodel")


def test_hostile_names_stay_in_one_short_line() -> None:
    name = b"\n\x1b[31m" + b"x" * 10_000
    content = net(shape(3), layer=encode_header(1, len(name)) + name)
    with pytest.raises(WeightsError) as caught:
        caffemodel.parse(content)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


def test_a_huge_name_is_refused() -> None:
    name = bytes(1 << 22)
    with bounded(16), pytest.raises(WeightsError, match="name of more than"):
        caffemodel.parse(net(b"", layer=encode_header(1, len(name)) + name))


def test_deep_nesting_is_never_followed() -> None:
    payload = b""
    for _ in range(20_000):
        payload = encode_header(1, len(payload)) + payload
    attempt(encode_header(2, len(payload)) + payload)
    attempt(encode_header(100, len(payload)) + payload)


@pytest.mark.parametrize("unit", [b"\x28\x01", b"\xa2\x06\x00", b"\x12\x00", net(data(1))], ids=repr)
def test_a_flood_of_fields_is_stopped(unit: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_FIELDS", 20_000)
    with bounded(16), pytest.raises(WeightsError, match="more than 20000 fields"):
        caffemodel.parse(unit * 20_001)


def test_unpacked_values_that_alternate_take_linear_time() -> None:
    pair = b"\x2d\x00\x00\x80\x3f" * 3 + b"\x35\x00\x00\x80\x3f"
    with bounded(32):
        attempt(net(shape(3) + pair * 20_000))
