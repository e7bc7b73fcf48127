"""Quant, BinaryConvolution and BinaryInnerProduct, as in zhaoweicai/hwgq."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import LayerError
from tests.layers.alone import Alone
from tests.layers.nets import FILLED, check_every_form, net_of, over, values_for
from tests.running import Arrays, by_torch, randomised

SHAPE = (2, 3, 4, 5)
CENTERS = "centers: 0.25 centers: 0.75 centers: 1.5 "
FORWARD = ["hwgq", "sign", "hard_tanh", "relu"]


def quantized(x: np.ndarray, param: protogen.prototxt.message.Message) -> np.ndarray:
    """Forward_cpu of quant_layer.cpp."""
    out = np.zeros_like(x)
    centers = list(param.centers)
    for place in np.ndindex(*x.shape):
        value = x[place]
        if param.forward_func == "sign":
            out[place] = 1 if value >= 0 else -1
        elif param.forward_func == "hard_tanh":
            out[place] = min(max(value, -1), 1)
        elif param.forward_func == "relu":
            out[place] = max(value, 0) + param.negative_slope * min(value, 0)
        elif value <= 0:
            out[place] = -param.negative_slope
        else:
            limits = [0.5 * (low + high) for low, high in pairwise(centers)] + [np.inf]
            out[place] = centers[next(i for i, limit in enumerate(limits) if value <= limit)]
    return out


def slopes(x: np.ndarray, param: protogen.prototxt.message.Message) -> np.ndarray:
    """Backward_cpu of quant_layer.cpp, for a gradient of 1."""
    clip = param.clip_thr if param.clip_thr > 0 else np.inf
    if param.backward_func == "hard_tanh":
        return ((-clip <= x) & (x <= clip)).astype(np.float32)
    return (((x > 0) + param.negative_slope * (x <= 0)) * (x <= clip)).astype(np.float32)


def reference(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    param = net.layers[-1].message.quant_param
    return [quantized(values["a"], param), slopes(values["a"], param)]


@pytest.mark.parametrize("function", FORWARD)
def test_activations_are_rounded_as_in_the_fork(function: str) -> None:
    net = over(f'type: "Quant" quant_param {{ forward_func: "{function}" {CENTERS} negative_slope: 0.1 }}', SHAPE)
    values = values_for(net)
    values["a"][0, 0, 0, :4] = 0, 0.5, 1.125, 100  # 0, thresholds, and far above the last center
    np.testing.assert_array_equal(by_torch(net, values)[0], quantized(values["a"], net.layers[-1].message.quant_param))
    check_every_form(net)


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("", "centers must be given and positive"),
        ("centers: 0.5 centers: -1", "centers must be given and positive"),
        ("centers: 1 centers: 0.5", "centers must be in ascending order"),
        ('forward_func: "tanh"', "forward_func must be one of hwgq, sign, hard_tanh, relu, not 'tanh'"),
        (CENTERS + 'backward_func: "sign"', "backward_func must be one of relu, hard_tanh, not 'sign'"),
    ],
)
def test_what_the_fork_refuses_is_refused(param: str, message: str) -> None:
    with pytest.raises(LayerError, match=message):
        over(f'type: "Quant" quant_param {{ {param} }}', SHAPE)


def binary(weight: np.ndarray, alpha: bool) -> np.ndarray:
    """Binary weights as binary_conv_layer.cpp makes them."""
    rows = weight.reshape(len(weight), -1)
    scale = np.abs(rows).mean(1) if alpha else np.ones(len(rows), np.float32)
    return (np.where(rows >= 0, 1, -1) * scale[:, None]).astype(np.float32).reshape(weight.shape)


def binary_net(type: str, settings: str = "", shape: tuple[int, ...] = SHAPE) -> protogen.Net:
    if type == "BinaryConvolution":
        text = f"convolution_param {{ num_output: 4 kernel_size: 3 {FILLED} }} binary_convolution_param {{ {settings} }}"
    else:
        text = f"inner_product_param {{ num_output: 4 {FILLED} }} binary_inner_product_param {{ {settings} }}"
    return net_of(f'type: "{type}" bottom: "a" top: "y" {text}', shape).fill(1)


def plain_twin(net: protogen.Net, values: Arrays, alpha: bool) -> np.ndarray:
    """What a plain layer computes with the binary weights."""
    layer = net.layers[-1].message.copy()
    layer.set("type", layer.type.removeprefix("Binary"))
    definition = net.definition.copy()
    definition.store("layer", [*definition.layer[:-1], layer])
    twin = protogen.Net(definition)
    weight, bias = net.weights["op"]
    twin.weights["op"] = [binary(weight, alpha), bias]
    return by_torch(twin, values)[0]


@pytest.mark.parametrize("type", ["BinaryConvolution", "BinaryInnerProduct"])
@pytest.mark.parametrize("alpha", [False, True])
def test_weights_are_binary(type: str, alpha: bool) -> None:
    net = binary_net(type, "use_alpha: true" if alpha else "")
    values = values_for(net)
    np.testing.assert_allclose(by_torch(net, values)[0], plain_twin(net, values, alpha), rtol=0, atol=1e-5)
    check_every_form(net)


@pytest.mark.parametrize("type", ["BinaryConvolution", "BinaryInnerProduct"])
def test_the_real_weights_get_the_binary_weights_gradient(type: str) -> None:
    net = binary_net(type, "use_alpha: true")
    module, x = net.to_torch(), torch.tensor(values_for(net)["a"])
    module(x).square().sum().backward()
    real = module.caffe_grads("op")[0]
    plain = binary_net(type, "use_binarization: false")
    plain.weights["op"] = [binary(net.weights["op"][0], True), net.weights["op"][1]]
    twin = plain.to_torch()
    twin(x).square().sum().backward()
    assert real is not None
    torch.testing.assert_close(real, twin.caffe_grads("op")[0])


@pytest.mark.parametrize("type", ["BinaryConvolution", "BinaryInnerProduct"])
def test_a_scale_is_not_folded_into_weights_that_are_made_binary(type: str) -> None:
    net = binary_net(type)
    text = net.to_prototxt() + 'layer { name: "s" type: "Scale" bottom: "y" top: "z" scale_param { bias_term: true } }'
    scaled = randomised(protogen.loads(text))
    values = values_for(scaled)
    folded = scaled.to_torch(fold=True)(torch.tensor(values["a"])).detach().numpy()
    np.testing.assert_allclose(folded, by_torch(scaled, values)[0], rtol=1e-4, atol=1e-4)


ONE = 'bottom: "a" top: "y" '
QUANT = ONE + f"quant_param {{ {CENTERS} }}"


def _quant(name: str, value: object, rest: str, **more: object) -> Alone:
    layer = ONE + f"quant_param {{ {rest} }}"
    return Alone("Quant", f"quant_param.{name}", value, layer, [SHAPE], reference, gradient=("a",), **more)


def _binary(type: str, name: str, value: object, alpha: bool) -> Alone:
    kind = "convolution_param" if type == "BinaryConvolution" else "inner_product_param"
    size = "kernel_size: 3" if type == "BinaryConvolution" else ""
    layer = ONE + f"{kind} {{ num_output: 4 {size} {FILLED} }}"

    def expected(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
        if name == "use_binarization":
            twin = net_of(f'type: "{type.removeprefix("Binary")}" {layer}', SHAPE)
            twin.weights["op"] = list(net.weights["op"])
            return [by_torch(twin, values)[0]]
        return [plain_twin(net, values, alpha)]

    return Alone(type, f"binary_{kind}.{name}", value, layer, [SHAPE], expected, tolerance=1e-4)


def _window(name: str, value: object, rest: str, shape: tuple[int, ...] = SHAPE) -> Alone:
    """A setting of the window, which is a convolution's with the binary weights."""
    layer = ONE + f"convolution_param {{ num_output: 4 {FILLED} {rest} }}"
    return Alone(
        "BinaryConvolution", f"convolution_param.{name}", value, layer, [shape],
        lambda net, values: [plain_twin(net, values, False)], tolerance=1e-4,
    )  # fmt: skip


ALONE = [
    _window("pad_w", 1, "kernel_size: 3 pad_h: 0"),
    _window("stride_h", 2, "kernel_size: 2 stride_h: 1 stride_w: 1"),
    _window("stride_w", 2, "kernel_size: 2 stride_h: 1 stride_w: 1"),
    _window("hole", 2, "kernel_size: 2"),
    _window("hole_h", 2, "kernel_size: 2 hole_h: 1 hole_w: 1"),
    _window("hole_w", 2, "kernel_size: 2 hole_h: 1 hole_w: 1"),
    _window("axis", 2, "kernel_size: 3", (2, 2, 3, 5, 5)),
    _quant("forward_func", "sign", CENTERS),
    _quant("backward_func", "hard_tanh", CENTERS),
    _quant("clip_thr", 0.8, CENTERS),
    _quant("negative_slope", 0.2, CENTERS),
    _quant("centers", [0.3, 0.9], 'forward_func: "hwgq"', refused="centers must be given"),
    *(
        _binary(type, name, value, alpha)
        for type in ("BinaryConvolution", "BinaryInnerProduct")
        for name, value, alpha in (("use_alpha", True, True), ("use_binarization", False, False))
    ),
]
