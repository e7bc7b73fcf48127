"""FlowNet's Mean, Resample, Downsample and FLOWriter: flownet2's C++ and CUDA, value by value."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

import protogen
from protogen.errors import LayerError
from tests.layers.alone import Alone
from tests.layers.nets import check_every_form, over
from tests.running import Arrays, assert_same, by_onnx, by_torch

SHAPE = (2, 4, 6, 7)
F = np.float32


def param_of(net: protogen.Net, name: str) -> protogen.prototxt.message.Message:
    return getattr(net.layers[-1].message, name)


# ---- Mean


def mean(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    """mean_layer.cpp: the value of a channel is that at its number modulo the number of values."""
    p = param_of(net, "mean_param")
    sign = -1 if p.operation == "SUBTRACT" else 1
    tops = []
    for x in values.values():
        top = np.empty_like(x)
        for n, c in np.ndindex(x.shape[:2]):
            top[n, c] = p.output_scale * (p.input_scale * x[n, c] + p.mean_scale * sign * p.value[c % len(p.value)])
        tops.append(top)
    return tops


@pytest.mark.parametrize("more", ["", "input_scale: 0.5", "input_scale: 0.5 mean_scale: 3 output_scale: -2"])
def test_means_are_added_in_turn(more: str) -> None:
    net = over(f'type: "Mean" mean_param {{ operation: SUBTRACT value: 0.5 value: -2 {more} }}', SHAPE, (1, 2, 3, 3), tops="y z")
    values = {name: np.random.default_rng(0).standard_normal(net.shapes[name]).astype(F) for name in "ab"}
    assert_same(by_torch(net, values), mean(net, values))
    check_every_form(net)


def test_a_mean_file_is_refused_and_values_must_fit() -> None:
    with pytest.raises(protogen.ProtogenError, match=r"mean_param.file is not computed"):
        over('type: "Mean" mean_param { operation: ADD value: 1 file: "m.binaryproto" }', SHAPE).to_torch()
    with pytest.raises(LayerError, match="3 values for a bottom of shape"):
        over('type: "Mean" mean_param { operation: ADD value: 1 value: 2 value: 3 }', SHAPE)


# ---- Resample


def resampled(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    """`InterpolationKernel` and `NearestNeighborKernel` of resample_layer.cu."""
    p, x = param_of(net, "resample_param"), values["a"]
    height, width = values["b"].shape[2:] if "b" in values else (p.height, p.width)
    fx, fy = F(x.shape[3]) / F(width), F(x.shape[2]) / F(height)
    antialias = p.antialias and (fx > 1 or fy > 1)
    ax, ay = (F(1) / f if antialias else F(1) for f in (fx, fy))
    reach = 4 if p.type == "CUBIC" else 2
    rx, ry = (2 if f < 1 else math.ceil(F(reach) / a) for f, a in ((fx, ax), (fy, ay)))
    top = np.zeros((*x.shape[:2], height, width), F)
    for yo, xo in product(range(height), range(width)):
        at_x, at_y = F(xo) * fx + fy / F(2) - F(0.5), F(yo) * fy + fx / F(2) - F(0.5)
        near_x, near_y = (int(math.floor(abs(at) + 0.5) * math.copysign(1, at)) for at in (at_x, at_y))
        if p.type == "NEAREST":
            top[:, :, yo, xo] = x[:, :, near_y, near_x]
            continue
        total, weights = np.zeros(x.shape[:2]), 0.0
        for yy, xx in product(range(near_y - ry, near_y + ry + 1), range(near_x - rx, near_x + rx + 1)):
            if 0 <= yy < x.shape[2] and 0 <= xx < x.shape[3]:
                weight = kernel(p.type, ax * (at_x - xx)) * kernel(p.type, ay * (at_y - yy))
                total += weight * x[:, :, yy, xx]
                weights += weight
        top[:, :, yo, xo] = total / weights if weights else 0
    return [top]


def kernel(type: str, x: float) -> float:
    x = abs(x)
    if type == "LINEAR":
        return max(0.0, 1 - x)
    return x * x * (1.5 * x - 2.5) + 1 if x <= 1 else x * (x * (-0.5 * x + 2.5) - 4) + 2 if x < 2 else 0.0


SIZES = ["height: 12 width: 14", "height: 3 width: 4", "height: 4 width: 9", "height: 6 width: 7", "height: 2 width: 2"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("more", ["", "type: CUBIC", "antialias: false", "type: CUBIC antialias: false"])
def test_resampling_is_the_forks(size: str, more: str) -> None:
    net = over(f'type: "Resample" resample_param {{ {size} {more} }}', SHAPE)
    values = {"a": np.random.default_rng(0).standard_normal(SHAPE).astype(F)}
    assert_same(by_torch(net, values), resampled(net, values))
    assert_same(by_onnx(net, values), by_torch(net, values))


def test_the_nearest_pixel_and_the_size_of_another_blob() -> None:
    net = over('type: "Resample" resample_param { type: NEAREST }', SHAPE, (2, 1, 3, 4))
    values = {name: np.random.default_rng(0).standard_normal(net.shapes[name]).astype(F) for name in "ab"}
    assert_same(by_torch(net, values), resampled(net, values))
    check_every_form(net)
    check_every_form(over('type: "Resample" resample_param { height: 3 width: 9 }', SHAPE))


@pytest.mark.parametrize(("more", "message"), [
    ("", "height and width must be positive"),
    ("height: 3 width: 3 type: AREA", "type AREA is not supported by the fork"),
    ("height: 6 width: 1 type: NEAREST", "reads beyond its bottom"),
])  # fmt: skip
def test_what_the_fork_cannot_resample_is_refused(more: str, message: str) -> None:
    with pytest.raises(LayerError, match=message):
        over(f'type: "Resample" resample_param {{ {more} }}', (1, 1, 6, 7))


# ---- Downsample


TIE = F(1e9)


def downsampled(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    """`DownsampleFeatures` of downsample_layer.cu."""
    p, x = param_of(net, "downsample_param"), values["a"]
    height, width = values["b"].shape[2:] if "b" in values else (p.top_height, p.top_width)
    if (height, width) == x.shape[2:]:
        return [x]
    scale_x, scale_y = F(x.shape[3] - 1) / F(width - 1), F(x.shape[2] - 1) / F(height - 1)
    top = np.zeros((*x.shape[:2], height, width), F)
    for n, c, yo, xo in np.ndindex(top.shape):
        at_x, at_y = xo / F(width - 1) * F(x.shape[3] - 1), yo / F(height - 1) * F(x.shape[2] - 1)
        near_x, near_y = math.floor(at_x + 0.5), math.floor(at_y + 0.5)
        rx, ry = math.ceil(scale_x), math.ceil(scale_y)
        value = weights = lost = 0.0
        for yy, xx in product(range(near_y - ry, near_y + ry + 1), range(near_x - rx, near_x + rx + 1)):
            if 0 <= yy < x.shape[2] and 0 <= xx < x.shape[3]:
                weight = max(0, 1 - abs(xx - at_x) / scale_x) * max(0, 1 - abs(yy - at_y) / scale_y)
                if np.isnan(x[n, c, yy, xx]):
                    lost += weight
                else:
                    value += weight * x[n, c, yy, xx]
                    weights += weight
        top[n, c, yo, xo] = np.nan if weights == 0 or lost / weights > 0.5 else value / weights
        if weights and abs(lost / weights - 0.5) < 1e-5:  # whether that is above is rounding
            top[n, c, yo, xo] = TIE
    return [top]


@pytest.mark.parametrize("size", [(3, 4), (2, 7), (6, 7)])
def test_downsampling_leaves_out_what_is_unknown(size: tuple[int, int]) -> None:
    net = over('type: "Downsample"', SHAPE, (2, 1, *size))
    values = {name: np.random.default_rng(0).standard_normal(net.shapes[name]).astype(F) for name in "ab"}
    values["a"][np.random.default_rng(1).random(SHAPE) < 0.4] = np.nan
    expected = downsampled(net, values)
    assert np.isnan(expected[0]).any()
    sure = expected[0] != TIE
    assert sure.mean() > 0.8
    for made in (by_torch(net, values), by_onnx(net, values)):
        np.testing.assert_allclose(made[0][sure], expected[0][sure], rtol=0, atol=1e-5)
    check_every_form(net)


# ---- FLOWriter


def test_what_is_written_to_files_is_an_output_of_models() -> None:
    net = protogen.loads("""
        layer { name: "a" type: "Input" top: "a" input_param { shape { dim: 1 dim: 2 dim: 3 dim: 3 } } }
        layer { name: "flow" type: "Power" bottom: "a" top: "flow" power_param { scale: 20 } }
        layer { name: "write" type: "FLOWriter" bottom: "flow" writer_param { folder: "." } }""")
    with pytest.warns(protogen.ProtogenWarning, match="left out of the ONNX model.*'write'"):
        assert [value.name for value in net.to_onnx().graph.output] == ["flow"]


def row(type: str, path: str, value: object, layer: str, shape: tuple[int, ...], expected: object, refused: str = "") -> Alone:
    return Alone(type, path, value, f'bottom: "a" top: "y" {layer}', [shape], expected, refused=refused)  # type: ignore[arg-type]


MEAN = "mean_param { operation: ADD value: 0.5 mean_scale: 2 }"
RESIZE = "resample_param { height: 3 width: 4 }"
ALONE = [
    row("Mean", "mean_param.operation", "SUBTRACT", MEAN, SHAPE, mean),
    row("Mean", "mean_param.value", [1.0, 2.0], "mean_param { operation: ADD }", SHAPE, mean, "must set a value"),
    row("Mean", "mean_param.mean_scale", 3.0, MEAN.replace(" mean_scale: 2", ""), SHAPE, mean),
    row("Mean", "mean_param.input_scale", 3.0, MEAN, SHAPE, mean),
    row("Mean", "mean_param.output_scale", 3.0, MEAN, SHAPE, mean),
    row("Resample", "resample_param.height", 5, "resample_param { width: 4 }", SHAPE, resampled, "height and width"),
    row("Resample", "resample_param.width", 5, "resample_param { height: 3 }", SHAPE, resampled, "height and width"),
    row("Resample", "resample_param.type", "CUBIC", RESIZE, SHAPE, resampled),
    row("Resample", "resample_param.antialias", False, RESIZE, SHAPE, resampled),
    row(
        "Downsample",
        "downsample_param.top_height",
        3,
        "downsample_param { top_width: 3 }",
        SHAPE,
        downsampled,
        "must be positive",
    ),
    row(
        "Downsample",
        "downsample_param.top_width",
        3,
        "downsample_param { top_height: 3 }",
        SHAPE,
        downsampled,
        "must be positive",
    ),
]
