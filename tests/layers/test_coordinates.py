"""Where pixels lie: the maps of layers, by hand and by a bright pixel sent through them, and the offsets that follow."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import NetError
from protogen.layers.coordinates import AxisMap, crop_offsets, way_back, window
from tests.layers.examples import SMALL, example, oracle_nets

DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 1 dim: 12 dim: 16 } } }\n'


def step(name: str, kind: str, bottoms: str, more: str = "") -> str:
    bottom = " ".join(f'bottom: "{blob}"' for blob in bottoms.split())
    return f'layer {{ name: "{name}" type: "{kind}" {bottom} top: "{name}" {more} }}\n'


def conv(name: str, bottom: str, settings: str, kind: str = "Convolution") -> str:
    return step(name, kind, bottom, f"convolution_param {{ num_output: 1 bias_term: false {settings} }}")


def pool(name: str, bottom: str, settings: str) -> str:
    return step(name, "Pooling", bottom, f"pooling_param {{ {settings} }}")


def offsets(text: str, cropped: str, like: str = "data") -> list[int]:
    """The offsets of a Crop of one blob to another's place, behind the layers of `text`."""
    net = protogen.loads(DATA + text)
    return crop_offsets(cropped, like, {top: op for op in reversed(net.ops) for top in op.layer.tops}, range(2, 4))


# ---- maps of layers


@pytest.mark.parametrize(
    ("settings", "scale", "shift"),
    [
        ((3, 1, 1), Fraction(1), Fraction(0)),
        ((3, 1, 35), Fraction(1), Fraction(34)),  # (x - ((3 - 1) / 2 - 35)) / 1
        ((2, 2, 0), Fraction(1, 2), Fraction(-1, 4)),  # (x - 1/2) / 2
        ((3, 2, 0, 4), Fraction(1, 2), Fraction(-2)),  # the kernel covers 4 (3 - 1) + 1 = 9: (x - 4) / 2
        ((7, 3, 3), Fraction(1, 3), Fraction(0)),
    ],
)
def test_windows_by_hand(settings: tuple[int, ...], scale: Fraction, shift: Fraction) -> None:
    assert window(*settings) == AxisMap(scale, shift)


def test_maps_go_after_one_another_and_back() -> None:
    pooling, deconvolution = window(2, 2, 0), window(4, 2, 0).inverse()
    assert deconvolution == AxisMap(Fraction(2), Fraction(3, 2))  # s x + (k - 1) / 2 - pad
    assert deconvolution.after(pooling) == AxisMap(Fraction(1), Fraction(1))  # 2 (x - 1/2) / 2 + 3/2
    assert pooling.after(pooling.inverse()) == AxisMap(Fraction(1), Fraction(0))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Convolution", "kernel_size: 3 pad: 4"),
        ("Convolution", "kernel_h: 5 kernel_w: 3 stride_h: 2 stride_w: 3 pad_h: 3 pad_w: 0"),
        ("Convolution", "kernel_size: 3 dilation: 2 dilation: 3 stride: 2 pad: 5"),
        ("Deconvolution", "kernel_size: 5 stride: 3 pad: 1"),
        ("Deconvolution", "kernel_size: 3 stride: 2 dilation: 3 pad: 2"),
        ("Im2col", "kernel_h: 5 kernel_w: 3 stride: 2 pad: 1"),
    ],
)
def test_a_bright_pixel_comes_out_where_the_map_says(kind: str, settings: str) -> None:
    """Kernels that are 1 in their middle and 0 elsewhere move pixels, and compute nothing."""
    net = protogen.loads(
        DATA + conv("y", "data", settings, kind).replace("num_output: 1 bias_term: false" * (kind == "Im2col"), "")
    )
    (op,) = [op for op in net.ops if op.layer.name == "y"]
    maps = op.coordinates()
    assert maps is not None
    if kind != "Im2col":
        weight = np.zeros(net.param_shapes["y"][0], np.float32)
        weight[0, 0, weight.shape[2] // 2, weight.shape[3] // 2] = 1
        net.weights["y"] = [weight]
    module, arrived = net.to_torch(), 0
    for row, column in np.ndindex(12, 16):
        image = torch.zeros(1, 1, 12, 16)
        image[0, 0, row, column] = 1
        y = module(image).detach().numpy()[0]
        bright = np.argwhere(y[y.shape[0] // 2])  # of Im2col's planes, that of the windows' middles
        expected = [maps[2].scale * row + maps[2].shift, maps[3].scale * column + maps[3].shift]
        within = all(place.denominator == 1 and 0 <= place < size for place, size in zip(expected, y.shape[1:]))
        assert bright.tolist() == ([[int(place) for place in expected]] if within else [])
        arrived += within
    assert arrived > 10


def test_poolings_with_masks_and_global_ones() -> None:
    text = pool("p", "data", "kernel_h: 2 kernel_w: 3 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0")
    text += pool("whole", "data", "pool: AVE global_pooling: true")
    by_name = {op.layer.name: op for op in protogen.loads(DATA + text).ops}
    maps = by_name["p"].coordinates()
    assert maps == [AxisMap(Fraction(1), Fraction(0))] * 2 + [
        AxisMap(Fraction(1, 2), Fraction(1, 4)),
        AxisMap(Fraction(1), Fraction(-1)),
    ]
    assert by_name["whole"].coordinates() is None


@pytest.mark.parametrize("kind", ["Flip", "Permute", "Reshape", "Reorg", "Interp", "ROIPooling", "InnerProduct", "Axpy"])
def test_types_that_move_pixels_have_no_map(kind: str) -> None:
    net, _ = example(kind)
    assert {op.coordinates() for op in net.ops if op.layer.type == kind} == {None}


def test_types_that_keep_pixels_keep_height_and_width() -> None:
    """On an example of every type: what claims to keep places has a first top of the same height and width."""
    keeping = set()
    for kind in [*oracle_nets(), *SMALL]:
        for op in example(kind)[0].ops:
            if op.keeps_place:
                along = getattr(
                    op, "joined", getattr(op, "cut", 1)
                )  # Concat's, Slice's axis: there the first part keeps its place
                assert along > 1 or op.tops[0][2 : len(op.bottoms[0])] == op.bottoms[0][2:], kind
                keeping.add(op.layer.type)
    caffes = {"AbsVal", "BNLL", "Dropout", "Exp", "Log", "Power", "ReLU", "Sigmoid", "TanH", "Threshold", "PReLU", "Concat"}
    caffes |= {"Eltwise", "MVN", "Softmax", "Split", "Slice", "LRN"}  # those whose coord_map is the identity in HED's Caffe
    caffes |= {"BatchNorm", "Bias", "ELU", "Scale"}  # and these in coord_map.py
    assert keeping >= caffes


# ---- the way back and where two meet

TWO_WAYS = (
    conv("a", "data", "kernel_size: 3 pad: 5")
    + 'layer { name: "relu" type: "ReLU" bottom: "a" top: "a" }\n'
    + step("s", "Eltwise", "a a")
    + pool("p", "s", "pool: MAX kernel_size: 2 stride: 2")
    + conv("up", "p", "kernel_size: 4 stride: 2", "Deconvolution")
)


def test_the_way_back_goes_through_first_bottoms_and_past_layers_in_place() -> None:
    net = protogen.loads(DATA + TWO_WAYS)
    makers = {top: op for op in reversed(net.ops) for top in op.layer.tops}
    assert way_back("up", makers) == ["up", "p", "s", "a", "data"]
    assert makers["a"].layer.name == "a"


def test_offsets_to_an_input_and_to_a_blob_between() -> None:
    assert offsets(TWO_WAYS, "a") == [4, 4]
    assert offsets(TWO_WAYS, "up") == [5, 5]  # 2 ((x + 4) - 1/2) / 2 + 3/2 = x + 5
    assert offsets(TWO_WAYS, "up", "a") == [1, 1]
    assert offsets(TWO_WAYS, "a", "a") == [0, 0]


def test_axes_of_their_own() -> None:
    text = conv("a", "data", "kernel_h: 3 kernel_w: 5 pad_h: 4 pad_w: 2")
    assert offsets(text, "a") == [3, 0]


def test_a_crop_on_the_way_counts_with_its_own_offset() -> None:
    text = conv("a", "data", "kernel_size: 3 pad: 5") + conv("b", "data", "kernel_size: 3 pad: 3")
    text += step("c", "Crop", "a b", "crop_param { offset: 1 offset: 2 }")
    assert offsets(text, "c") == [3, 2]  # x + 4 less 1 and 2


def test_thirds_add_up_exactly() -> None:
    """In floating point, 1/3 and 3 need not make 1."""
    text = pool("a", "data", "kernel_size: 3 stride: 3") + pool("b", "a", "kernel_size: 1 stride: 3")
    text += conv("up", "b", "kernel_size: 9 stride: 9", "Deconvolution")
    assert offsets(text, "up") == [3, 3]  # 9 ((x - 1) / 3) / 3 + 4


@pytest.mark.parametrize(
    ("text", "cropped", "reason"),
    [
        (pool("p", "data", "kernel_size: 2 stride: 2"), "p", "along axis 2, one pixel of 'p' corresponds to 2 in 'data'"),
        (pool("p", "data", "kernel_size: 2"), "p", "'data' begins between the pixels of 'p', at -1/2"),
        (conv("c", "data", "kernel_size: 3"), "c", "'data' begins before 'c', at -1"),
        (conv("c", "data", "kernel_h: 1 kernel_w: 3"), "c", "along axis 3, 'data' begins before 'c', at -1"),
        (step("f", "Flip", "data"), "f", r"layer 'f' \(Flip\) has no map from its bottom's pixels"),
        (DATA.replace('"data"', '"other"'), "other", "'other' and 'data' have no common ancestor"),
    ],
)  # fmt: skip
def test_why_there_are_none(text: str, cropped: str, reason: str) -> None:
    with pytest.raises(NetError, match=reason):
        offsets(text, cropped)


def test_layers_beyond_the_meeting_do_not_matter() -> None:
    text = step("f", "Flip", "data") + conv("a", "f", "kernel_size: 3 pad: 2")
    assert offsets(text, "a", "f") == [1, 1]


def test_a_layer_that_adds_axes_is_no_way() -> None:
    rows = DATA.replace("dim: 1 dim: 1 dim: 12 dim: 16", "dim: 1 dim: 4 dim: 9")
    text = rows + step("r", "ReLU", "data") + step("m", "MVN", "r") + step("n", "MVN", "m")
    net = protogen.loads(text)
    makers = {top: op for op in reversed(net.ops) for top in op.layer.tops}
    with pytest.raises(NetError, match=r"layer 'm' \(MVN\) has no map"):
        crop_offsets("n", "data", makers, range(2, 4))
