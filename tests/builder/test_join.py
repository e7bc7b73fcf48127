"""NetBuilder.crop, which finds its offset as pycaffe's coord_map does."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

import protogen
from protogen import NetBuilder, NetError
from tests.nets import begun


def upsampled(shape: tuple[int, ...] = (2, 1, 100, 100), deconv: dict[str, Any] | None = None, **conv: Any) -> NetBuilder:
    """data, conv, a pooling that halves, and a deconvolution that doubles: "up"."""
    b = NetBuilder()
    b.input("data", shape)
    b.layer("Convolution", "data", name="conv", convolution_param={"num_output": 2, "kernel_size": [3], "pad": [9], **conv})
    b.pool("conv", "MAX", 2, stride=2, name="pool")
    up = {"num_output": 2, "kernel_size": [4], "stride": [2], **(deconv or {})}
    b.layer("Deconvolution", "pool", name="up", convolution_param=up)
    return b


def offset(b: NetBuilder, bottom: str = "up", like: str = "data", **options: Any) -> list[int]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        b.crop(bottom, like, name="cropped", **options)
    return list(b.build().layer("cropped").message.crop_param.offset)


def test_the_offset_follows_from_the_layers_between() -> None:
    """The convolution moves pixels by 1 - 9, pooling by 1/2 of what are halves, the deconvolution back by 3/2: 9 in all."""
    b = upsampled()
    assert offset(b) == [9, 9]
    assert b.shape("cropped") == (2, 2, 100, 100)
    assert b.build().layer("cropped").message.crop_param.axis == 2


@pytest.mark.parametrize("pad", [0, 1, 5])
def test_padding_below_adds_and_padding_above_subtracts(pad: int) -> None:
    assert offset(upsampled(pad=[9 + pad])) == [9 + pad] * 2
    assert offset(upsampled(deconv={"pad": [pad]})) == [9 - pad] * 2
    assert offset(upsampled(pad=[9 + pad], deconv={"pad": [pad]})) == [9, 9]


def test_layers_that_keep_pixels_in_place_change_nothing() -> None:
    b = upsampled()
    b.relu("up")
    b.conv("up", 3, 1, name="scores")
    b.bn("scores", in_place=False, name="norm")
    assert offset(b, "norm") == [9, 9]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"kernel_size": [3, 7], "pad": [9, 13]}, [9, 11]),
        ({"kernel_size": [], "kernel_h": 3, "kernel_w": 7, "pad": [11]}, [11, 9]),
    ],
)
def test_height_and_width_have_offsets_of_their_own(fields: dict[str, Any], expected: list[int]) -> None:
    assert offset(upsampled(**fields)) == expected


def test_an_offset_of_another_crop_on_the_way_adds_up() -> None:
    b = upsampled()
    b.input("middle", (2, 1, 110, 110))
    b.layer("Crop", "up", "middle", name="corner", crop_param={"axis": 2, "offset": [4]})
    assert offset(b, "corner") == [5, 5]


def test_each_bottom_of_a_layer_leads_back() -> None:
    """The second top of a convolution is as far from its own bottom as the first one is from the first."""
    b = NetBuilder()
    b.input("data", (1, 1, 20, 20))
    b.input("other", (1, 1, 20, 20))
    tops = {"top": ["one", "two"], "name": "conv", "num_output": 1, "kernel_size": [5], "pad": [6]}
    b.layer("Convolution", "data", "other", **tops)
    assert offset(b, "two", "other") == [4, 4]
    b = upsampled()
    b.input("prior", (2, 2, *b.shape("up")[2:]))
    b.eltwise("prior", "up", name="sum")
    assert offset(b, "sum") == [9, 9]


def test_a_crops_second_bottom_does_not() -> None:
    b = NetBuilder()
    b.input("data", (1, 1, 20, 20))
    b.input("large", (1, 1, 30, 30))
    b.layer("Crop", "large", "data", name="part", crop_param={"offset": [3]})
    with pytest.raises(NetError, match="'part' and 'data' have no common ancestor"):
        b.crop("part", "data")


def test_an_offset_can_be_stated() -> None:
    b = NetBuilder()
    b.input("data", (1, 1, 20, 20))
    b.input("large", (1, 1, 30, 40))
    assert offset(b, "large", offset=(3, 4)) == [3, 4]
    assert b.shape("cropped") == (1, 1, 20, 20)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: (upsampled(), "up", "nowhere"), "no blob 'nowhere' yet"),
        (
            lambda: (upsampled(deconv={"stride": [4]}), "up", "data"),
            "along axis 2, one pixel of 'up' corresponds to 1/2 in 'data'",
        ),
        (lambda: (upsampled(deconv={"pad": [11]}), "up", "data"), "along axis 2, 'data' begins before 'up', at -2"),
        (lambda: (upsampled(deconv={"kernel_size": [3]}), "up", "data"), "'data' begins between the pixels of 'up', at 17/2"),
    ],
)
def test_where_none_follows_the_builder_says_why_and_adds_nothing(build: Any, message: str) -> None:
    b, bottom, like = build()
    with pytest.raises(NetError, match=message):
        b.crop(bottom, like, name="c")
    assert not b.has_blob("c")


def test_an_inner_product_cuts_the_way() -> None:
    b = upsampled()
    b.fc("up", 100, name="fc")
    b.layer("Reshape", "fc", name="square", shape={"dim": [2, 1, 10, 10]})
    with pytest.raises(NetError, match=r"layer 'c' \(Crop\): no offset follows: layer 'square' \(Reshape\) has no map"):
        b.crop("square", "data", name="c")


def test_the_text_says_the_offset() -> None:
    """So that any Caffe crops there: BVLC's begins at 0 otherwise."""
    b = upsampled()
    b.crop("up", "data")
    again = protogen.loads(b.build().to_prototxt(), crop="bvlc")
    assert list(again.layer("crop1").message.crop_param.offset) == [9, 9]


@pytest.mark.parametrize("join", ["concat", "eltwise"])
def test_blobs_may_come_in_a_list(join: str) -> None:
    b = begun()
    call = getattr(b, join)
    assert b.shape(call(["data", "data"], name="list")) == b.shape(call("data", "data", name="arguments"))
    assert b.build().layer("list").bottoms == ["data", "data"]
