"""A net with the layers that converters are known to get wrong, its ONNX model, and the model of a converter that does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

import protogen
from protogen.verification import with_random_weights

FCN = """
name: "fcn"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 24 dim: 24 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 6 kernel_size: 3 } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" }
layer { name: "scale" type: "Scale" bottom: "bn" top: "scale" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "scale" top: "scale" }
layer { name: "norm" type: "LRN" bottom: "scale" top: "norm" lrn_param { local_size: 3 alpha: 0.01 } }
layer { name: "pool" type: "Pooling" bottom: "norm" top: "pool" pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer { name: "drop" type: "Dropout" bottom: "pool" top: "drop" dropout_param { dropout_ratio: 0.4 } }
layer { name: "up" type: "Deconvolution" bottom: "drop" top: "up" convolution_param { num_output: 4 kernel_size: 6 stride: 2 } }
layer { name: "crop" type: "Crop" bottom: "up" bottom: "data" top: "crop" crop_param { axis: 2 offset: 1 } }
layer { name: "score" type: "Convolution" bottom: "crop" top: "score" convolution_param { num_output: 2 kernel_size: 1 } }
layer { name: "all" type: "Pooling" bottom: "score" top: "all" pooling_param { pool: AVE global_pooling: true } }
"""


def weighted(text: str) -> protogen.Net:
    """A net with random weights of its own."""
    net = protogen.loads(text)
    for node in with_random_weights(net.graph()).nodes:
        if node.weights:
            net.weights[node.op.layer.name] = [array.copy() for array in node.arrays]
    return net


def saved(net: protogen.Net, path: Path, *changes: Callable[[onnx.ModelProto], None], fold: bool = False) -> Path:
    """Write the net's ONNX model after some changes; return the path."""
    model = net.to_onnx(fold=fold)
    for change in changes:
        change(model)
    onnx.save(model, path)
    return path


def maker(model: onnx.ModelProto, tensor: str) -> onnx.NodeProto:
    (node,) = (node for node in model.graph.node if tensor in node.output)
    return node


def attribute(model: onnx.ModelProto, tensor: str, name: str) -> onnx.AttributeProto:
    (attribute,) = (attribute for attribute in maker(model, tensor).attribute if attribute.name == name)
    return attribute


def constant(model: onnx.ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    (tensor,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(tensor).copy()), name))


def renamed(model: onnx.ModelProto, names: dict[str, str]) -> None:
    for node in model.graph.node:
        for tensors in (node.input, node.output):
            tensors[:] = [names.get(name, name) for name in tensors]
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        value.name = names.get(value.name, value.name)


# ---- faults of converters


def pooling_rounds_down(model: onnx.ModelProto) -> None:
    node = maker(model, "pool")
    kept = [attribute for attribute in node.attribute if attribute.name not in ("pads", "ceil_mode")]
    del node.attribute[:]
    node.attribute.extend(kept)
    del model.graph.value_info[:]  # shapes that no longer hold


def lrn_divides_alpha_twice(model: onnx.ModelProto) -> None:
    attribute(model, "norm", "alpha").f /= 3


def lrn_is_wider(model: onnx.ModelProto) -> None:
    attribute(model, "norm", "size").i = 5


def another_epsilon(model: onnx.ModelProto) -> None:
    attribute(model, "bn", "epsilon").f = 1e-3


def dropout_scales(model: onnx.ModelProto) -> None:
    """As in training, though backwards: by 1 - ratio."""
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.6), "keep"))
    after = next(i for i, node in enumerate(model.graph.node) if "pool" in node.input)
    model.graph.node[after].input[0] = "drop"
    model.graph.node.insert(after, helper.make_node("Mul", ["pool", "keep"], ["drop"], name="drop"))


def crop_is_centred(model: onnx.ModelProto) -> None:
    node = maker(model, "crop")
    constant(model, node.input[1], lambda starts: starts + 1)
    constant(model, node.input[2], lambda ends: ends + 1)
