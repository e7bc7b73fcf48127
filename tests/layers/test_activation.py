"""Elementwise layers and Axpy beyond the cases of real Caffe: refusals, degenerate parameters, compile, export, ONNX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

import protogen
from protogen.errors import LayerError
from tests.layers.alone import Alone

OPSETS = (11, 13, 18, 21)


def net_of(layer: str, *shapes: Sequence[int], tops: str = "out", phase: str = "TEST", inplace: bool = False) -> protogen.Net:
    """A net of inputs x0, x1, ... of these shapes and one layer "op", given as the rest of its prototxt."""
    text = ""
    for i, shape in enumerate(shapes):
        dims = " ".join(f"dim: {dim}" for dim in shape)
        text += f'layer {{ name: "x{i}" type: "Input" top: "x{i}" input_param {{ shape {{ {dims} }} }} }}\n'
    bottoms = " ".join(f'bottom: "x{i}"' for i in range(len(shapes)))
    outputs = " ".join(f'top: "{top}"' for top in (["x0"] if inplace else tops.split()))
    return protogen.loads(f'{text}layer {{ name: "op" {bottoms} {outputs} {layer} }}', phase=phase)


def inputs_of(net: protogen.Net, batch: int | None = None, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [net.shapes[blob] for blob in net.inputs]
    return [torch.randn((batch or shape[0], *shape[1:]), generator=generator) for shape in shapes]


def random_weights(net: protogen.Net) -> None:
    """Blobs between 0.5 and 1.5: good for scales, variances and factors alike."""
    rng = np.random.default_rng(1)
    for layer, shapes in net.param_shapes.items():
        net.weights[layer] = [rng.uniform(0.5, 1.5, shape).astype(np.float32) for shape in shapes]


def torch_outputs(net: protogen.Net, inputs: Sequence[torch.Tensor]) -> list[np.ndarray]:
    with torch.no_grad():
        made = net.to_torch()(*inputs)
    return [tensor.numpy() for tensor in ([made] if isinstance(made, torch.Tensor) else made)]


def onnx_outputs(net: protogen.Net, inputs: Sequence[torch.Tensor], **options: object) -> list[np.ndarray]:
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads, session_options.log_severity_level = 1, 3
    model = net.to_onnx(**options).SerializeToString()
    session = onnxruntime.InferenceSession(model, session_options, providers=["CPUExecutionProvider"])
    feed = {blob: tensor.numpy() for blob, tensor in zip(net.inputs, inputs)}
    return session.run(net.outputs, feed)


def assert_same(actual: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
    assert len(actual) == len(expected)
    for a, b in zip(actual, expected):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def compile_whole(module: torch.nn.Module) -> Callable[..., Any]:
    """The module under torch.compile, in one graph; what other tests compiled is forgotten, as it counts to a limit."""
    torch.compiler.reset()
    return torch.compile(module, fullgraph=True, backend="eager")


def check_every_form(net: protogen.Net) -> None:
    """torch.compile, torch.export, ONNX of several opsets and ONNX with another batch all give what the module gives."""
    random_weights(net)
    inputs = inputs_of(net)
    module = net.to_torch()
    expected = torch_outputs(net, inputs)
    compiled = compile_whole(module)(*inputs)
    exported = torch.export.export(module, tuple(inputs)).module()(*inputs)
    for made in (compiled, exported):
        tensors = [made] if isinstance(made, torch.Tensor) else made
        assert_same([tensor.detach().numpy() for tensor in tensors], expected)
    for opset in OPSETS:
        assert_same(onnx_outputs(net, inputs, opset=opset), expected)
    other = inputs_of(net, batch=5, seed=1)
    assert_same(onnx_outputs(net, other, dynamic_batch=True), torch_outputs(net, other))


def gradient(net: protogen.Net, *inputs: torch.Tensor) -> torch.Tensor:
    """Gradient of the summed outputs for the first input."""
    inputs[0].requires_grad_()
    made = net.to_torch()(*inputs)
    sum(tensor.sum() for tensor in ([made] if isinstance(made, torch.Tensor) else made)).backward()
    assert inputs[0].grad is not None
    return inputs[0].grad


@pytest.mark.parametrize(
    "layer",
    [
        'type: "AbsVal"',
        'type: "BNLL"',
        'type: "Clip" clip_param { min: -0.5 max: 0.7 }',
        'type: "Clip" clip_param { min: 0.5 max: -0.5 }',
        'type: "ELU" elu_param { alpha: 0.7 }',
        'type: "ELU" elu_param { alpha: 0.7 lambda: 1.5 }',
        'type: "TanH"',
        'type: "Sigmoid"',
        'type: "Threshold" threshold_param { threshold: 0.1 }',
        'type: "Swish"',
        'type: "Swish" swish_param { beta: 0.5 }',
        'type: "ReLU" relu_param { negative_slope: 0.1 }',
        'type: "ReLU6"',
        'type: "ReLU6" relu6_param { negative_slope: 0.2 }',
        'type: "SELU"',
        'type: "SeLu" selu_param { lambda: 1.2 alpha: 0.8 }',
        'type: "PReLU"',
        'type: "PReLU" prelu_param { channel_shared: true }',
    ],
)
def test_every_form_of_a_type_agrees(layer: str) -> None:
    check_every_form(net_of(layer, (2, 3, 4, 2)))


@pytest.mark.parametrize("a", [(2, 3), (2, 3, 1), (2, 3, 1, 1)])
def test_axpy_takes_factors_with_and_without_spatial_axes(a: Sequence[int]) -> None:
    net = net_of('type: "Axpy"', a, (2, 3, 4, 5), (2, 3, 4, 5))
    check_every_form(net)
    factor, x, y = inputs_of(net)
    assert_same(torch_outputs(net, [factor, x, y]), [(factor.reshape(2, 3, 1, 1) * x + y).numpy()])


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        ('type: "Clip"', [(1, 2)], "both min and max"),
        ('type: "Clip" clip_param { min: 1 }', [(1, 2)], "both min and max"),
        ('type: "PReLU"', [(3,)], "channel axis"),
        ('type: "TanH"', [(1, 2), (1, 2)], "needs 1 bottom, has 2"),
        ('type: "Axpy"', [(2, 3), (2, 3, 4, 4)], "needs 3 bottoms"),
        ('type: "Axpy"', [(2, 3), (2, 3, 4, 4), (2, 3, 4, 5)], "the same shape"),
        ('type: "Axpy"', [(2, 4), (2, 3, 4, 4), (2, 3, 4, 4)], "one factor per item and channel"),
        ('type: "Axpy"', [(2, 3, 1, 2), (2, 3, 4, 4), (2, 3, 4, 4)], "one factor per item and channel"),
        ('type: "Axpy"', [(2,), (2, 3), (2, 3)], "one factor per item and channel"),
    ],
)
def test_what_caffe_refuses_is_refused(layer: str, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(LayerError, match="'op'.*" + message):
        _ = net_of(layer, *shapes).shapes


def test_absval_refuses_to_work_in_place() -> None:
    with pytest.raises(LayerError, match=r"'op'.*in place"):
        _ = net_of('type: "AbsVal"', (1, 2), inplace=True).shapes


def test_clip_favours_min_where_the_bounds_cross() -> None:
    net = net_of('type: "Clip" clip_param { min: 2 max: 1 }', (1, 3))
    x = torch.tensor([[0.0, 1.5, 3.0]])
    assert_same(torch_outputs(net, [x]), [np.full((1, 3), 2, np.float32)])
    assert gradient(net, x).tolist() == [[0, 0, 0]]


def test_gradients_at_the_kinks_are_caffes() -> None:
    clip = 'type: "Clip" clip_param { min: -1 max: 1 }'
    assert gradient(net_of(clip, (1, 2)), torch.tensor([[-1.0, 1.0]])).tolist() == [[1, 1]]
    assert gradient(net_of('type: "ReLU6"', (1, 2)), torch.tensor([[0.0, 6.0]])).tolist() == [[0, 0]]
    slope = 'type: "ReLU6" relu6_param { negative_slope: 0.5 }'
    assert gradient(net_of(slope, (1, 4)), torch.tensor([[-2.0, 0.0, 3.0, 6.0]])).tolist() == [[0.5, 0.5, 1, 0]]
    assert gradient(net_of('type: "ReLU"', (1, 1)), torch.zeros(1, 1)).tolist() == [[0]]
    assert gradient(net_of('type: "AbsVal"', (1, 1)), torch.zeros(1, 1)).tolist() == [[0]]
    assert gradient(net_of('type: "ELU" elu_param { alpha: 2 }', (1, 1)), torch.zeros(1, 1)).tolist() == [[2]]


def test_bnll_neither_overflows_nor_vanishes() -> None:
    net = net_of('type: "BNLL"', (1, 4))
    x = torch.tensor([[-80.0, -20.0, 30.0, 1000.0]])
    expected = [np.log1p(np.exp(np.minimum(x.numpy().astype(np.float64), 700)))]
    expected[0][0, 3] = 1000
    for made in (torch_outputs(net, [x]), onnx_outputs(net, [x])):
        np.testing.assert_allclose(made[0], expected[0], rtol=1e-6)


@pytest.mark.parametrize("layer", ['type: "Dropout"', 'type: "SeLuDropout"', 'type: "Power"'])
def test_layers_that_do_nothing_leave_no_node(layer: str) -> None:
    text = f"""
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 1 dim: 2 }} }} }}
        layer {{ name: "a" type: "TanH" bottom: "x" top: "a" }}
        layer {{ name: "op" bottom: "a" top: "b" {layer} }}
        layer {{ name: "c" type: "Sigmoid" bottom: "b" top: "c" }}"""
    assert [node.op_type for node in protogen.loads(text).to_onnx().graph.node] == ["Tanh", "Sigmoid"]


@pytest.mark.parametrize("layer", ['type: "SELU"', 'type: "Power" power_param { power: 2 shift: 1 }', 'type: "ReLU6"'])
def test_other_dtypes_work(layer: str) -> None:
    net = net_of(layer, (2, 3))
    (x,) = inputs_of(net)
    y = net.to_torch().double()(x.double())
    assert y.dtype == torch.float64
    np.testing.assert_allclose(y.numpy(), torch_outputs(net, [x])[0], rtol=1e-5)


def slope(net: protogen.Net, values: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [np.minimum(np.maximum(values["a"], 0) + 0.25 * np.minimum(values["a"], 0), 6)]


def exponential(gain: float, alpha: float):
    """gain * x above 0, gain * alpha * (exp(x) - 1) below."""
    return lambda net, values: [gain * np.where(values["a"] > 0, values["a"], alpha * np.expm1(values["a"]))]


def wide() -> list[np.ndarray]:
    return [np.linspace(-8, 8, 24, dtype=np.float32).reshape(2, 3, 4)]


ONE = 'bottom: "a" top: "y"'
ALONE = [
    Alone("ReLU6", "relu6_param.negative_slope", 0.25, ONE, [(2, 3, 4)], slope, inputs=wide),
    Alone("ELU", "elu_param.lambda", 1.5, ONE, [(2, 3, 4)], exponential(1.5, 1)),
    *(
        row
        for type in ("SELU", "SeLu")
        for row in (
            Alone(type, "selu_param.lambda", 1.5, ONE, [(2, 3, 4)], exponential(1.5, 1.6732632423543772)),
            Alone(type, "selu_param.alpha", 0.5, ONE, [(2, 3, 4)], exponential(1.0507009873554805, 0.5)),
        )
    ),
]
