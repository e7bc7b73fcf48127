"""Convolutions beyond the reference cases: spellings of one setting, DeepLab's hole, depthwise forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import LayerError
from tests.layers.alone import Alone
from tests.layers.nets import FILLED, check_every_form, convolution, net_of, values_for
from tests.running import assert_same, by_torch, randomised

X = (2, 4, 9, 8)


def test_hole_spreads_the_kernel_as_in_deeplabs_first_caffe() -> None:
    net = convolution("kernel_size: 3 hole: 2 pad: 2 bias_term: false").fill(1)
    values, weight = values_for(net), net.weights["op"][0]
    padded = np.pad(values["a"], [(0, 0), (0, 0), (2, 2), (2, 2)]).astype(np.float64)
    expected = np.zeros((2, 4, 9, 8))
    for i in range(3):
        for j in range(3):
            expected += np.einsum("nchw,oc->nohw", padded[:, :, 2 * i : 2 * i + 9, 2 * j : 2 * j + 8], weight[:, :, i, j])
    np.testing.assert_allclose(by_torch(net, values)[0], expected, rtol=1e-4, atol=1e-5)
    check_every_form(net)


def test_hole_and_dilation_together_are_refused() -> None:
    with pytest.raises(LayerError, match="either dilation or hole"):
        convolution("kernel_size: 3 hole: 2 dilation: 2")


@pytest.mark.parametrize("type", ["Convolution", "DepthwiseConvolution", "Deconvolution"])
def test_axis_makes_the_axes_before_it_batch_axes(type: str) -> None:
    net = convolution("kernel_size: 3 axis: 2", type, (2, 3, 4, 6, 5)).fill(1)
    flat = convolution("kernel_size: 3", type, (6, 4, 6, 5))
    flat.weights["op"] = net.weights["op"]
    values = values_for(net)
    expected = by_torch(flat, {"a": values["a"].reshape(6, 4, 6, 5)})[0]
    assert_same(by_torch(net, values), [expected.reshape(2, 3, *expected.shape[1:])])


@pytest.mark.parametrize("param", ["num_output: 7", "group: 3"])
def test_depthwise_types_take_their_channels_from_the_bottom(param: str) -> None:
    texts = [
        f'type: "ConvDepthwise" bottom: "a" top: "y" convolution_param {{ {p} kernel_size: 3 {FILLED} }}' for p in (param, "")
    ]
    net, plain = (net_of(text, X).fill(5) for text in texts)
    values = values_for(net)
    assert net.param_shapes == {"op": [(4, 1, 3, 3), (4,)]}
    assert np.array_equal(by_torch(net, values)[0], by_torch(plain, values)[0])


def product(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, group: int, type: str) -> np.ndarray:
    """W x + b along the last axis, group by group, as base_conv_layer.cpp multiplies where nothing is left to slide over."""
    parts = zip(np.split(x.astype(np.float64), group, -1), np.split(weight.astype(np.float64), group))
    return np.concatenate([part @ (w if type == "Deconvolution" else w.T) for part, w in parts], -1) + bias


@pytest.mark.parametrize("type", ["Convolution", "Deconvolution"])
@pytest.mark.parametrize(
    ("shape", "param"), [((3, 6), ""), ((2, 3, 6), "axis: -1"), ((2, 3, 4, 6), "axis: 3 group: 2"), ((3, 6), "group: 2")]
)
def test_channels_on_the_last_axis_make_a_matrix_product(type: str, shape: tuple[int, ...], param: str) -> None:
    net = convolution(param, type, shape).fill(1)
    group = 2 if "group" in param else 1
    rows, columns = (6, 4) if type == "Deconvolution" else (4, 6)
    assert net.param_shapes["op"] == [(rows, columns // group), (4,)]
    assert net.shapes["y"] == (*shape[:-1], 4)
    assert net.macs == int(np.prod(shape)) * 4 // group
    values, (weight, bias) = values_for(net), net.weights["op"]
    assert_same(by_torch(net, values), [product(values["a"], weight, bias, group, type).astype(np.float32)])
    check_every_form(net)


@pytest.mark.parametrize("type", ["Convolution", "Deconvolution"])
def test_a_matrix_products_gradient_is_that_of_the_same_1x1_convolution(type: str) -> None:
    flat, square = (convolution("kernel_size: 1 group: 2", type, shape).fill(1) for shape in ((3, 6), (3, 6, 1, 1)))
    square.weights["op"] = [blob.reshape(shape) for blob, shape in zip(flat.weights["op"], square.param_shapes["op"])]
    x, results = torch.randn(3, 6), []
    for net in (flat, square):
        module, bottom = net.to_torch(), x.clone().requires_grad_()
        module(bottom.view(net.shapes["a"])).square().sum().backward()
        results.append([grad.numpy().ravel() for grad in (bottom.grad, *module.caffe_grads("op"))])
    assert_same(*results)


@pytest.mark.parametrize(("shape", "param"), [((3, 6), ""), ((3, 6), "group: 2"), ((2, 3, 6), "axis: 2")])
def test_a_matrix_product_absorbs_the_scale_behind_it_where_its_outputs_are_channels(shape: tuple[int, ...], param: str) -> None:
    layers = f"""
        layer {{ name: "c" type: "Convolution" bottom: "a" top: "c" convolution_param {{ num_output: 4 {param} }} }}
        layer {{ name: "s" type: "Scale" bottom: "c" top: "s" scale_param {{ axis: {len(shape) - 1} bias_term: true }} }}"""
    dims = " ".join(f"dim: {dim}" for dim in shape)
    net = randomised(
        protogen.loads(f'layer {{ name: "a" type: "Input" top: "a" input_param {{ shape {{ {dims} }} }} }} {layers}')
    )
    values, folded = values_for(net), net.folded()
    assert len(folded.layers) == (2 if len(shape) == 2 else 3)
    assert_same(by_torch(folded, values), by_torch(net, values))


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("kernel_h: 1 kernel_w: 1", "kernel_h and kernel_w are for two spatial axes, not 0"),
        ("pad_h: 1", "pad_h and pad_w are for two spatial axes, not 0"),
        ("kernel_size: 3 kernel_size: 3", "2 values of kernel_size for 0 spatial axes"),
    ],
)
def test_a_matrix_product_has_no_window_to_set(param: str, message: str) -> None:
    with pytest.raises(LayerError, match=message):
        convolution(param, shape=(3, 6))
    assert convolution("kernel_size: 3 pad: 2 stride: 5 dilation: 2", shape=(3, 6)).shapes["y"] == (3, 4)  # Caffe reads none


@pytest.mark.parametrize("type", ["ConvDepthwise", "ConvolutionDepthwise"])
def test_forks_depthwise_convolutions_need_images(type: str) -> None:
    with pytest.raises(LayerError, match="has no spatial axes after the channels"):
        convolution("", type, (3, 6))


DEPTHWISE = ("ConvDepthwise", "ConvolutionDepthwise", "DepthwiseConvolution")
# Each field alone, and the field of real Caffe's cases that says the same.
SPELLINGS = {
    "pad_w": (1, "pad_h: 0 pad_w: 0", "pad: 0 pad: 1"),
    "stride_h": (2, "stride_h: 1 stride_w: 1", "stride: 2 stride: 1"),
    "stride_w": (3, "stride_h: 1 stride_w: 1", "stride: 1 stride: 3"),
    "hole": (2, "", "dilation: 2"),
    "hole_h": (2, "hole_h: 1 hole_w: 1", "dilation: 2 dilation: 1"),
    "hole_w": (3, "hole_h: 1 hole_w: 1", "dilation: 1 dilation: 3"),
}


def spelling(type: str, field: str) -> Alone:
    """`pad_h: 0 pad_w: 1` is `pad: 0 pad: 1`, and so on; the kernel is 3 x 2."""
    value, pair, same = SPELLINGS[field]
    text = f'bottom: "a" top: "y" convolution_param {{ num_output: 4 kernel_size: 3 kernel_size: 2 {FILLED} %s }}'
    return Alone(type, f"convolution_param.{field}", value, text % pair, [X], f'type: "{type}" {text % same}')


def behind_axis_2(net: protogen.Net, values: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Axis 2 holds the channels; both axes before it count images."""
    type = net.layers[-1].type
    flat = convolution("kernel_size: 3", type, (6, 4, 6, 5))
    flat.weights["op"] = net.weights["op"]
    result = by_torch(flat, {"a": values["a"].reshape(6, 4, 6, 5)})[0]
    return [result.reshape(2, 3, *result.shape[1:])]


def rectified(slope: float):
    """The convolution alone, and the slope where it is below 0."""

    def of(net: protogen.Net, values: dict[str, np.ndarray]) -> list[np.ndarray]:
        linear = convolution("kernel_size: 3", net.layers[-1].type)
        linear.weights["op"] = net.weights["op"]
        result = by_torch(linear, values)[0]
        return [np.where(result > 0, result, slope * result)]

    return of


PLAIN = f'bottom: "a" top: "y" convolution_param {{ num_output: 4 kernel_size: 3 {FILLED} %s }}'
ALONE = [
    *(spelling(type, field) for type in ("Convolution", "Deconvolution", *DEPTHWISE) for field in SPELLINGS),
    *(
        Alone(type, "convolution_param.axis", 2, PLAIN % "", [(2, 3, 4, 6, 5)], behind_axis_2)
        for type in ("Convolution", "Deconvolution", *DEPTHWISE)
    ),
    *(
        row
        for type in ("Convolution", "DepthwiseConvolution")
        for row in (
            Alone(type, "convolution_param.relu", True, PLAIN % "", [X], rectified(0)),
            Alone(type, "convolution_param.negative_slope", 0.25, PLAIN % "relu: true", [X], rectified(0.25)),
        )
    ),
]
