"""Conversion of a graph to a `torch.nn.Module`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor, nn

from ...errors import ConversionError, ProtogenError
from ...graph.fold import folded
from ...layers.fields import require_computed
from ...layers.forms.module_names import module_names
from ...layers.own_types import blaming
from ...weights.pages import copy
from .freeze import frozen_weights
from .module import NetModule, Step

if TYPE_CHECKING:
    from ...graph.graph import Graph, Node, Value, Weight
    from ...layers.base import LayerType


def module_of(graph: Graph, fold: bool = False, freeze: bool = False) -> NetModule:
    """Convert a graph to a module as `to_torch` does, or its inference form if `fold`.

    Raises:
        ConversionError: as `to_torch`; or both `fold` and `freeze`.
    """
    if not isinstance(fold, bool):
        raise ConversionError(f"fold is True or False, not {fold!r} (a module moves to a device by .to(...))")
    if fold and freeze:
        raise ConversionError("fold and freeze exclude each other: folding merges layers whose lr_mult may differ")
    return to_torch(folded(graph) if fold else graph, freeze)


def to_torch(graph: Graph, freeze: bool = False) -> NetModule:
    """Convert a graph to a module, in eval mode for TEST and train mode for TRAIN.

    Args:
        graph: the graph.
        freeze: whether weights with `lr_mult: 0` require no gradient.

    Raises:
        ConversionError: layers without a PyTorch form, or with fields that are not computed (all are named).
    """
    require_computed((node.op for node in graph.nodes), graph.strict)
    numbers = {value: i for i, value in enumerate(graph.values)}
    inputs, outputs, blobs = (
        {value.name or f"value{numbers[value]}": numbers[value] for value in values}
        for values in (graph.inputs, graph.outputs, graph.blobs)
    )
    module = NetModule(inputs, outputs, blobs)
    nodes = [node for node in graph.nodes if not node.op.is_input]
    dead = _last_uses(nodes, graph)
    parameters: dict[Weight, Tensor] = {}
    problems: list[str] = []
    for node, name in zip(nodes, module_names(node.op for node in nodes)):
        try:
            with blaming(node.op, "module"):
                child = node.op.module()
            _set_blobs(node, child, parameters)
        except ProtogenError as error:
            problems += error.lines
            continue
        step = _step(name, node, numbers, dead.get(node, []))
        shapes = [(blob.name, blob.shape) for blob in node.op.blobs]
        module.add_layer(node.op.layer.name, child, step, bool(loss_weights(node.op)), shapes)
    if problems:
        raise ConversionError(*problems)
    for weight in frozen_weights(graph) if freeze else ():
        parameters[weight].requires_grad_(False)
    module.train(graph.phase == "TRAIN")
    return module


def loss_weights(op: LayerType) -> list[float]:
    """Return the weights of a layer's tops in the net's loss: `loss_weight`, by default 1 for loss layers; [] if it has none."""
    return list(op.layer.message.loss_weight) or ([1.0] if op.is_loss else [])


def _step(name: str, node: Node, numbers: Mapping[Value, int], dead: list[Value]) -> Step:
    weights = dict(zip(node.outputs, loss_weights(node.op)))
    return Step(
        name,
        tuple(numbers[value] for value in node.inputs),
        tuple(numbers[value] for value in node.made),
        {numbers[value]: weight for value, weight in weights.items() if weight},
        tuple(i for i, passes in enumerate(node.op.layer.message.propagate_down) if not passes),
        tuple(numbers[value] for value in dead),
    )


def _last_uses(nodes: list[Node], graph: Graph) -> dict[Node, list[Value]]:
    """Return for each node the values that no later node needs, except the graph's outputs."""
    last = {value: node for node in nodes for value in (*node.inputs, *node.made)}
    dead: dict[Node, list[Value]] = {}
    for value, node in last.items():
        if value not in graph.outputs:
            dead.setdefault(node, []).append(value)
    return dead


def _set_blobs(node: Node, module: nn.Module, parameters: dict[Weight, Tensor]) -> None:
    """Set a module's weights; a weight shared with an earlier layer is the same parameter.

    Raises:
        LayerError: the earlier layer has it in another shape (`share_mode: PERMISSIVE`).
    """
    for blob, weight, values in zip(node.op.blobs, node.weights, node.arrays):
        if weight in parameters:
            own, shared = getattr(module, blob.name).shape, parameters[weight].shape
            node.op.check(own == shared, f"shares its {blob.name} in another shape, {tuple(own)} instead of {tuple(shared)}: "
                                         "a PyTorch parameter has one shape")  # fmt: skip
            setattr(module, blob.name, parameters[weight])
            continue
        parameters[weight] = getattr(module, blob.name)
        # Copied with NumPy: a view of a mapped file is read-only and may be unaligned, which tensors do not support.
        copy(parameters[weight].detach().numpy(), values)
