"""What data layers do to their images: which fields count, in which dialect, and how it is said."""

from __future__ import annotations

import pytest

import protogen
from protogen.layers.source import Source
from protogen.layers.transform import Transform


def transform_of(layer: str) -> Transform | None:
    op = protogen.loads(f"{layer if layer.startswith('layer') else 'layer { ' + layer + ' }'}").analysis.known_ops[0]
    assert isinstance(op, Source)
    return op.transform


DATA = 'name: "d" type: "Data" top: "data" top: "label" '


def test_mean_and_scale_are_read_and_said_in_caffes_order() -> None:
    transform = transform_of(DATA + "transform_param { mirror: true crop_size: 227 scale: 0.017 mean_value: [104, 117, 122.5] }")
    assert transform == Transform("d", (104, 117, 122.5), scale=pytest.approx(0.017), cropped=(227, 227), mirror=True)
    assert transform.changes_values
    assert str(transform) == (
        "data layer 'd' crops the images to 227x227, mirrors them at random, subtracts the mean 104,117,122.5 (B,G,R), "
        "then multiplies by 0.017"
    )


def test_the_first_dialects_have_these_fields_in_data_param() -> None:
    settings = 'batch_size: 2 scale: 0.5 mean_file: "m" crop_size: 8 mirror: true'
    old = f'layers {{ name: "d" type: DATA top: "data" data_param {{ {settings} }} }}'
    assert transform_of(old) == Transform("d", mean_file="m", scale=0.5, cropped=(8, 8), mirror=True)
    assert str(transform_of(old)).endswith("mirrors them at random, subtracts the mean image 'm', then multiplies by 0.5")


def test_todays_caffe_ignores_them_there() -> None:
    assert transform_of(DATA + "data_param { batch_size: 2 scale: 0.5 }") is None


def test_windows_are_scaled_by_their_own_parameter() -> None:
    layer = 'name: "d" type: "WindowData" top: "data" top: "label" window_data_param { scale: 0.5 }'
    assert transform_of(layer + "transform_param { mean_file: 'm' crop_size: 227 }") == Transform(
        "d", (), "m", 0.5, None, (227, 227)
    )


LIST = 'name: "d" type: "ImageData" top: "data" image_data_param { new_height: 6 new_width: 8 }'


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (LIST, (6, 8)),
        (LIST + "transform_param { crop_size: 5 }", (5, 5)),
        (DATA + "transform_param { resize_param { height: 6 width: 8 } }", (6, 8)),
        (DATA + "transform_param { resize_param { height: 6 width: 8 resize_mode: FIT_LARGE_SIZE_AND_PAD } }", (6, 8)),
        (DATA + "transform_param { crop_h: 4 crop_w: 5 }", (4, 5)),
        (DATA + "transform_param { resize_param { height: 6 width: 8 resize_mode: FIT_SMALL_SIZE } mirror: true }", None),
        (DATA + "transform_param { resize_param { height: 6 width: 6 } resize_param { height: 8 width: 8 } mirror: true }", None),
    ],
)  # fmt: skip
def test_sizes(layer: str, size: tuple[int, int] | None) -> None:
    transform = transform_of(layer)
    assert transform is not None
    assert transform.size == size
    assert not transform.changes_values


def test_fields_that_nothing_here_computes_are_named() -> None:
    with pytest.warns(protogen.ProtogenWarning, match="std_value"):
        transform = transform_of(DATA + "transform_param { bgr2rgb: true force_color: true std_value: 2 }")
    assert transform is not None
    assert transform.others == ("transform_param.bgr2rgb", "transform_param.std_value")
    assert transform.changes_values


def test_an_unknown_data_layer_may_state_them_too() -> None:
    transform = transform_of('name: "d" type: "VideoFrames" top: "data" transform_param { scale: 2 }')
    assert transform == Transform("d", scale=2)


@pytest.mark.parametrize("type", ["Input", "HDF5Data"])
def test_layers_that_do_nothing_to_their_data(type: str) -> None:
    assert transform_of(f'name: "d" type: "{type}" top: "data" transform_param {{ scale: 2 }}') is None
