"""Small nets around one layer, run in every form: PyTorch eager, compiled and exported, ONNX Runtime over opsets and batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime
import torch

import protogen

OPSETS = (11, 13, 18, 21)
Arrays = dict[str, np.ndarray]


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


def by_torch(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    """The outputs of the eager module."""
    return as_arrays(net.to_torch()(*[torch.tensor(values[name]) for name in net.inputs]))


def as_arrays(made: torch.Tensor | Sequence[torch.Tensor]) -> list[np.ndarray]:
    return [tensor.detach().numpy() for tensor in ([made] if isinstance(made, torch.Tensor) else made)]


def by_onnx(net: protogen.Net, values: Arrays, **options: object) -> list[np.ndarray]:
    """The outputs of ONNX Runtime."""
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level, settings.intra_op_num_threads = 3, 1
    model = net.to_onnx(**options)
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    feed = {node.name: values[node.name] for node in session.get_inputs()}
    results = dict(zip([node.name for node in session.get_outputs()], session.run(None, feed)))
    return [results[name] for name in net.outputs]


def assert_same(actual: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> None:
    assert [a.shape for a in actual] == [e.shape for e in expected]
    for a, e in zip(actual, expected):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5)


def check_every_form(net: protogen.Net, below: int | None = None, batch: int | None = 5, opsets: Sequence[int] = OPSETS) -> None:
    """Hold compiled and exported modules and ONNX (opsets, and an open batch unless `batch` is None) against the eager one."""
    net.fill()
    values = values_for(net, below=below)
    expected = by_torch(net, values)
    module, inputs = net.to_torch(), tuple(torch.tensor(values[name]) for name in net.inputs)
    torch.compiler.reset()
    assert_same(as_arrays(torch.compile(module, fullgraph=True, backend="eager")(*inputs)), expected)
    assert_same(as_arrays(torch.export.export(module, inputs).module()(*inputs)), expected)
    for opset in opsets:
        assert_same(by_onnx(net, values, opset=opset), expected)
    if batch is not None:
        other = values_for(net, batch, below)
        assert_same(by_onnx(net, other, dynamic_batch=True), by_torch(net, other))
