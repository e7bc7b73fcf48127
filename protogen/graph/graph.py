"""The graph under a net: layers with values instead of blob names, so that in-place layers need no special care.

Caffe lets a layer overwrite the blob it reads. Passes work on values (each written once) and leave the naming to
`rebuild`, which gives in-place layers their shared name back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..prototxt.message import Message

if TYPE_CHECKING:
    import numpy as np

    from ..layers.base import LayerType, Shape
    from ..net import Net


@dataclass
class Value:
    """One version of a blob."""

    blob: str


@dataclass
class Node:
    """A layer with the values it reads and makes, its message, definition and weights."""

    op: LayerType
    message: Message
    inputs: list[Value]
    outputs: list[Value]
    weights: list[np.ndarray] = field(default_factory=list)

    @property
    def fed(self) -> list[Value]:
        """Outputs that are inputs of the net, fed from outside."""
        return [value for value, _ in self.fed_shapes()]

    def fed_shapes(self) -> list[tuple[Value, Shape]]:
        """`fed`, each with its shape."""
        fed = self.op.fed_tops
        return [(value, shape) for value, top, shape in zip(self.outputs, self.op.layer.tops, self.op.tops) if top in fed]


def values_of(net: Net, weights: Mapping[str, Sequence[np.ndarray]] = MappingProxyType({})) -> list[Node]:
    """The net's layers as nodes, in order; messages are copies, free to be changed, without `blobs`: nodes have the weights."""
    current: dict[str, Value] = {}
    nodes = []
    for op in net.ops:
        inputs = [current[blob] for blob in op.layer.bottoms]
        outputs = [Value(blob) for blob in op.layer.tops]
        current.update(zip(op.layer.tops, outputs))
        nodes.append(Node(op, op.layer.message.without("blobs").copy(), inputs, outputs, list(weights.get(op.layer.name, ()))))
    return nodes


def rebuild(net: Net, nodes: list[Node]) -> Net:
    """A new net of `nodes`, with their weights; outputs keep their names, and layers the offsets that they took (see `place`)."""
    from ..net import Net

    names = _names(nodes)
    definition = Message(net.definition.descriptor)
    if "name" in net.definition:
        definition.set("name", net.definition.name)
    for node in nodes:
        message = node.message.update(node.op.placed_fields())
        for name, values in (("bottom", node.inputs), ("top", node.outputs)):
            message.remove(name)
            if values:
                message.set(name, [names[id(value)] for value in values])
        for rule in ("include", "exclude"):
            message.remove(rule)
        definition.append("layer", message)
    shapes = {names[id(value)]: shape for node in nodes for value, shape in node.fed_shapes()}
    counts = {node.message.name: count for node in nodes if (count := node.op.layer.blob_count) is not None}
    twin = Net(
        definition, phase=net.phase, inputs=shapes, source=net.source, strict=net.strict, groups=net._groups,
        blob_counts=counts, crop=net.crop, like=net,
    )  # fmt: skip
    twin.weights.update({node.message.name: node.weights for node in nodes if node.weights})
    return twin


def _names(nodes: list[Node]) -> dict[int, str]:
    """A blob name for each value (by `id`): in-place layers share one, the last version of a blob keeps its name."""
    last_reader = {id(value): node for node in nodes for value in node.inputs}
    root: dict[int, int] = {}
    order: dict[int, Value] = {}  # the last value of each chain of in-place layers
    for node in nodes:
        for i, value in enumerate(node.outputs):
            key = id(value)
            if i < len(node.inputs) and node.inputs[i].blob == value.blob and last_reader[id(node.inputs[i])] is node:
                key = root[id(node.inputs[i])]
            root[id(value)] = key
            order[key] = value
    taken: set[str] = set()
    chain_names: dict[int, str] = {}
    for key, value in reversed(order.items()):
        name = value.blob
        while name in taken:
            name += "_"
        taken.add(name)
        chain_names[key] = name
    return {value: chain_names[key] for value, key in root.items()}
