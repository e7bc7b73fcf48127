"""How tests run nets and models: PyTorch and ONNX Runtime on one thread, random weights, and what a model says of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

import protogen
from protogen.layers.forms.onnx_graph import OnnxGraph
from protogen.targets.onnx.opsets import OPSETS, ir_version

NEWEST = OPSETS[-1]
Arrays = dict[str, np.ndarray]
Inputs = Mapping[str, np.ndarray] | Sequence[torch.Tensor]  # by name, or in the order of the net's inputs


# ---- PyTorch


def by_torch(net: protogen.Net, inputs: Inputs) -> list[np.ndarray]:
    """The outputs of the eager module."""
    return as_arrays(net.to_torch()(*tensors_of(net, inputs)))


def tensors_of(net: protogen.Net, inputs: Inputs) -> list[torch.Tensor]:
    return [torch.tensor(inputs[name]) for name in net.inputs] if isinstance(inputs, Mapping) else list(inputs)


def as_arrays(made: torch.Tensor | Sequence[torch.Tensor]) -> list[np.ndarray]:
    return [tensor.detach().numpy() for tensor in ([made] if isinstance(made, torch.Tensor) else made)]


def compile_whole(module: torch.nn.Module, backend: str = "eager") -> Callable[..., Any]:
    """The module under torch.compile, in one graph; what other tests compiled is forgotten, as it counts to a limit."""
    torch.compiler.reset()
    return torch.compile(module, fullgraph=True, backend=backend)


# ---- ONNX Runtime


def session(model: onnx.ModelProto | bytes | str | Path, optimized: bool = True) -> onnxruntime.InferenceSession:
    """A session on one thread of the CPU, silent but for errors."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    if not optimized:
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else model
    return onnxruntime.InferenceSession(source, settings, providers=["CPUExecutionProvider"])


def run_model(model: onnx.ModelProto | bytes | str | Path | onnxruntime.InferenceSession, *inputs: Any) -> Arrays:
    """A model's outputs by name; its inputs one by one in its order, or in one mapping that may hold more than it takes."""
    engine = model if isinstance(model, onnxruntime.InferenceSession) else session(model)
    names = [node.name for node in engine.get_inputs()]
    if len(inputs) == 1 and isinstance(inputs[0], Mapping):
        feed = {name: inputs[0][name] for name in names}
    else:
        feed = dict(zip(names, inputs, strict=True))
    return dict(zip([node.name for node in engine.get_outputs()], engine.run(None, feed)))


def by_onnx(net: protogen.Net, inputs: Inputs, **options: object) -> list[np.ndarray]:
    """The outputs of ONNX Runtime, in the net's order."""
    values = inputs if isinstance(inputs, Mapping) else {name: x.numpy() for name, x in zip(net.inputs, inputs)}
    results = run_model(net.to_onnx(**options), values)
    return [results[name] for name in net.outputs]


Shapes = Mapping[str, Sequence[int | None] | None]


def model_of(graph: OnnxGraph, inputs: Shapes, outputs: Shapes, dtype: type = np.float32) -> onnx.ModelProto:
    """The model of what layers emitted into `graph`; a shape or one of its axes may be None: open. `dtype` is the outputs'."""
    helper = onnx.helper
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes_in = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    nodes_out = [helper.make_tensor_value_info(name, kind, shape) for name, shape in outputs.items()]
    arrays = [onnx.numpy_helper.from_array(array, name) for name, array in graph.initializers.items()]
    whole = helper.make_graph(graph.nodes, "test", nodes_in, nodes_out, initializer=arrays)
    opsets = [helper.make_opsetid("", graph.opset)]
    return helper.make_model(whole, opset_imports=opsets, ir_version=ir_version(graph.opset))


def shape_of(node: onnx.ValueInfoProto) -> list[int | str]:
    """A stated shape: numbers, names of open axes, 0 for those without a name."""
    return [dim.dim_param or dim.dim_value for dim in node.type.tensor_type.shape.dim]


def names_of(model: onnx.ModelProto) -> tuple[list[str], list[str]]:
    """Names of a model's inputs and of its outputs."""
    return [node.name for node in model.graph.input], [node.name for node in model.graph.output]


def ops_of(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def metadata_of(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


# ---- weights and comparisons


def randomised(net: protogen.Net, seed: int = 0) -> protogen.Net:
    """The net with every blob random: filters of both signs; statistics, factors and slopes from 0.5 to 1.5."""
    rng = np.random.default_rng(seed)
    for name, shapes in net.param_shapes.items():
        signed = net.layer(name).type.lower().endswith(("conv", "convolution", "innerproduct"))
        net.weights[name] = [rng.standard_normal(shape) * 0.5 if signed else rng.uniform(0.5, 1.5, shape) for shape in shapes]
    return net


def same_weights(a: protogen.Net, b: protogen.Net) -> bool:
    """Whether two nets have weights of the same layers, bit for bit."""
    return list(a.weights) == list(b.weights) and all(
        one.tobytes() == other.tobytes() for layer in a.weights for one, other in zip(a.weights[layer], b.weights[layer])
    )


def assert_same(actual: Sequence[np.ndarray], expected: Sequence[np.ndarray], tolerance: float = 1e-5) -> None:
    assert [a.shape for a in actual] == [e.shape for e in expected]
    for a, e in zip(actual, expected):
        np.testing.assert_allclose(a, e, rtol=tolerance, atol=tolerance)
