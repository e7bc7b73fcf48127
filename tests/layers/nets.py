"""Small nets around one layer, run in every form: PyTorch eager, compiled and exported, ONNX Runtime over opsets and batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

import protogen
from tests.running import NEWEST, Arrays, as_arrays, assert_same, by_onnx, by_torch, compile_whole, randomised, tensors_of

OPSETS = (11, 13, 18, NEWEST)


def net_of(layer: str, *shapes: Sequence[int], phase: str = "TEST", **options: object) -> protogen.Net:
    """A net of inputs a, b, ... of the given shapes and `layer`, the text between the braces, named "op"."""
    return protogen.loads(text_of(layer, *shapes), phase=phase, **options)


def text_of(layer: str, *shapes: Sequence[int]) -> str:
    """The text of that net."""
    text = ""
    for name, shape in zip("abcde", shapes):
        dims = " ".join(f"dim: {dim}" for dim in shape)
        text += f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ {dims} }} }} }}\n'
    return f'{text}layer {{ name: "op" {layer} }}'


def values_for(net: protogen.Net, batch: int | None = None, below: int | None = None) -> Arrays:
    """Random inputs, with another first axis if `batch` is given; whole numbers below `below` for inputs other than "a"."""
    rng = np.random.default_rng(0)
    values = {}
    for name in net.inputs:
        shape = (batch, *net.shapes[name][1:]) if batch else net.shapes[name]
        whole = below is not None and (name != "a" or len(net.inputs) == 1)
        values[name] = (rng.integers(0, below, shape) if whole else rng.standard_normal(shape)).astype(np.float32)
    return values


def over(layer: str, *shapes: Sequence[int], tops: str = "out", phase: str = "TEST", in_place: bool = False) -> protogen.Net:
    """The net of `net_of` for a layer that reads all inputs, in order, and makes `tops`: `layer` names neither."""
    bottoms = " ".join(f'bottom: "{name}"' for name, _ in zip("abcde", shapes))
    made = " ".join(f'top: "{top}"' for top in (["a"] if in_place else tops.split()))
    return net_of(f"{bottoms} {made} {layer}", *shapes, phase=phase)


def inputs_of(net: protogen.Net, seed: int = 0) -> list[torch.Tensor]:
    """Random tensors, in the order of the net's inputs."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(net.shapes[blob], generator=generator) for blob in net.inputs]


def gradient(net: protogen.Net, *inputs: torch.Tensor) -> torch.Tensor:
    """Gradient of the summed outputs for the first input."""
    inputs[0].requires_grad_()
    made = net.to_torch()(*inputs)
    sum(tensor.sum() for tensor in ([made] if isinstance(made, torch.Tensor) else made)).backward()
    assert inputs[0].grad is not None
    return inputs[0].grad


def check_every_form(net: protogen.Net, below: int | None = None, batch: int | None = 5, opsets: Sequence[int] = OPSETS) -> None:
    """Hold compiled and exported modules and ONNX (opsets, and an open batch unless `batch` is None) against the eager one."""
    net.fill()
    values = values_for(net, below=below)
    expected = by_torch(net, values)
    module, inputs = net.to_torch(), tuple(tensors_of(net, values))
    assert_same(as_arrays(compile_whole(module)(*inputs)), expected)
    assert_same(as_arrays(torch.export.export(module, inputs).module()(*inputs)), expected)
    for opset in opsets:
        assert_same(by_onnx(net, values, opset=opset), expected)
    if batch is not None:
        other = values_for(net, batch, below)
        assert_same(by_onnx(net, other, dynamic_batch=True), by_torch(net, other))


FILLED = 'weight_filler { type: "gaussian" std: 1 } bias_filler { type: "constant" value: 0.5 }'


def convolution(
    param: str, type: str = "Convolution", shape: tuple[int, ...] = (2, 4, 9, 8), bottoms: str = 'bottom: "a" top: "y"'
):
    """A net of one convolution of four outputs, with further fields in `param`."""
    text = f'type: "{type}" {bottoms} convolution_param {{ num_output: 4 {FILLED} {param} }}'
    return net_of(text, *[shape] * bottoms.count("bottom"))


def behind_convolution(layer: str) -> protogen.Net:
    """A net of a convolution and a layer on its output, "c", with random weights: what may fold into it."""
    return randomised(protogen.loads(f"""
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 2 dim: 2 dim: 4 dim: 4 }} }} }}
        layer {{ name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param {{ num_output: 3 kernel_size: 3 }} }}
        layer {{ name: "op" bottom: "c" top: "y" {layer} }}"""))  # fmt: skip
