"""Reading and resizing pictures as OpenCV does, with which Caffe reads them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from protogen.errors import ProtogenError
from protogen.pictures.picture import fitted, read_picture, resized, seen_part
from tests.pictures.files import colours


def files(folder: Path) -> dict[str, Path]:
    """A picture in every form that people have."""
    picture = Image.fromarray(colours())
    grey = Image.fromarray(colours()[..., 2])
    transparent = picture.convert("RGBA")
    transparent.putalpha(grey)
    exif = picture.getexif()
    exif[0x112] = 6  # turned by a quarter
    made = {
        "rgb.png": picture, "grey.png": grey, "alpha.png": transparent, "palette.png": picture.quantize(16),
        "bits.png": grey.convert("1"), "photo.jpg": picture, 
        "deep.png": Image.fromarray(colours()[..., 0].astype(np.uint16) * 257),
    }  # fmt: skip
    for name, image in made.items():
        image.save(folder / name)
    picture.save(folder / "turned.jpg", exif=exif)
    return {name: folder / name for name in (*made, "turned.jpg")}


def test_colours_are_those_that_opencv_reads(tmp_path: Path) -> None:
    for name, path in files(tmp_path).items():
        expected = cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1]
        found = read_picture(path)
        assert (found.shape, found.dtype) == (expected.shape, np.float32), name
        # Two decoders of JPEG differ by roundings; nothing else does.
        assert np.abs(found - expected).max() <= (4 if name.endswith("jpg") else 0), name
    assert read_picture(tmp_path / "turned.jpg").shape == (32, 24, 3)


def test_grey_is_that_which_opencv_reads(tmp_path: Path) -> None:
    for name, path in files(tmp_path).items():
        expected = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)[..., None]
        assert np.abs(read_picture(path, 1) - expected).max() <= (4 if name.endswith("jpg") else 1), name


def test_what_is_no_picture_gives_one_line(tmp_path: Path) -> None:
    whole = files(tmp_path)["photo.jpg"].read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty.png").write_bytes(b"")
    Image.new("F", (4, 4)).save(tmp_path / "float.tiff")
    for name, message in (
        ("cut.jpg", "cannot read this picture: .*[Tt]runcated"), ("text.jpg", "not a picture"),
        ("empty.png", "not a picture"), ("float.tiff", "32 bits"), ("none.png", "No such file"), (".", "directory"),
    ):  # fmt: skip
        with pytest.raises(ProtogenError, match=message) as caught:
            read_picture(tmp_path / name)
        assert len(caught.value.lines) == 1


@pytest.mark.parametrize("kind", [NotImplementedError, RuntimeError, struct.error, IndexError, TypeError, KeyError])
def test_whatever_a_decoder_raises_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]) -> None:
    def load(self: object) -> None:
        raise kind("damaged")

    path = files(tmp_path)["rgb.png"]
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    with pytest.raises(ProtogenError, match=r"rgb.png: cannot read this picture: '?damaged") as caught:
        read_picture(path)
    assert len(caught.value.lines) == 1


def test_a_dds_of_an_unknown_format_is_one_line(tmp_path: Path) -> None:
    header = struct.pack("<7I44x", 124, 0, 4, 4, 0, 0, 0) + struct.pack("<2I4s5I", 32, 4, b"NONE", 0, 0, 0, 0, 0)
    (tmp_path / "odd.dds").write_bytes(b"DDS " + header + bytes(200))
    with pytest.raises(ProtogenError, match=r"odd.dds: cannot read this picture: "):
        read_picture(tmp_path / "odd.dds")


def test_colours_that_pillow_does_not_convert_are_one_line(tmp_path: Path) -> None:
    Image.new("LAB", (4, 4)).save(tmp_path / "lab.tiff")
    with pytest.raises(ProtogenError, match=r"lab.tiff: cannot read this picture: conversion"):
        read_picture(tmp_path / "lab.tiff", 1)


@pytest.mark.parametrize(("width", "size"), [(9000, "9000x8000"), (60000, "more than 10000x10000")])
def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path: Path, width: int, size: str) -> None:
    path = files(tmp_path)["grey.png"]
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">2I", width, 8000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)
    with pytest.raises(
        ProtogenError, match=f"grey.png: a picture of {size} pixels; at most 64 million are read: make it smaller"
    ):
        read_picture(path)


@pytest.mark.parametrize("size", [(24, 32), (48, 64), (7, 90), (12, 11), (1, 1)])
def test_resizing_is_opencvs(size: tuple[int, int]) -> None:
    picture = colours().astype(np.float32)
    expected = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(resized(picture, *size), expected, atol=2e-3)


def test_the_centre_of_the_warped_picture_is_kept() -> None:
    picture = colours().astype(np.float32)
    # pycaffe's classifier.py: centre -+ half of the crop, both rounded down
    centre = np.array([41, 50]) / 2
    begin = (centre - np.array([20, 33]) / 2).astype(int)
    expected = resized(picture, 41, 50)[begin[0] : begin[0] + 20, begin[1] : begin[1] + 33]
    np.testing.assert_array_equal(fitted(picture, (20, 33), (41, 50)), expected)
    left, top, width, height = seen_part((20, 33), (41, 50))
    assert (left * 50, top * 41, width * 50, height * 41) == pytest.approx((begin[1], begin[0], 33, 20))
    with pytest.raises(ProtogenError, match="10x50 is smaller than the net's input, 20x33"):
        fitted(picture, (20, 33), (10, 50))
