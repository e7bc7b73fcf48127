"""The inference form of a net: BatchNorm, Scale and Bias folded into the layer before, identities gone.

Pre: a TEST net. Post: the same outputs up to float32 rounding, under the same names; the net given is untouched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ConversionError
from ..layers.fields import require_computed
from ..layers.registry import layer_type
from ..weights.pages import release
from .graph import Node, Value, rebuild, values_of

if TYPE_CHECKING:
    from ..net import Net


def folded(net: Net, seed: int = 0) -> Net:
    """`net` with every per-channel affine layer merged into its predecessor, and without layers that do nothing.

    Args:
        net: a net in phase TEST.
        seed: for the fillers of blobs without weights.

    Raises:
        ConversionError: the net is in phase TRAIN, whose batch statistics cannot be folded.
    """
    if net.phase != "TEST":
        raise ConversionError("only a net in phase TEST can be folded; load it with phase='TEST'")
    require_computed(net.ops, net.strict)
    nodes = values_of(net, net.weights.filled(seed))
    shared = {layer for key, owner in net.shared_blobs.items() for layer in (key[0], owner[0])}
    nodes = drop_identities(nodes)
    nodes = fold_affine(nodes, shared)
    return rebuild(net, nodes)


def drop_identities(nodes: list[Node]) -> list[Node]:
    """Remove layers whose tops equal their bottom in inference (Dropout, Split), unless that would lose an output."""
    read = {id(value) for node in nodes for value in node.inputs}
    overwritten = _overwritten_inputs(nodes)
    kept: list[Node] = []
    stands_for: dict[int, Value] = {}
    for i, node in enumerate(nodes):
        node.inputs = [stands_for.get(id(value), value) for value in node.inputs]
        safe = node.op.is_identity and id(node.inputs[0]) not in overwritten and _others_are_read(node, [*kept, *nodes[i + 1 :]])
        if safe and _can_drop(node, read, kept, nodes):
            _drop(node, read, stands_for)
        else:
            kept.append(node)
    return kept


def _overwritten_inputs(nodes: list[Node]) -> set[int]:
    """Versions (by `id`) of the net's inputs that a layer overwrites in place.

    Read beyond that layer they would need a name besides the input's, which is the last version's, too.
    """
    versions = {value.blob: [value] for node in nodes for value in node.fed}
    for node in nodes:
        for value in node.outputs:
            if value.blob in versions and value is not versions[value.blob][0]:
                versions[value.blob].append(value)
    return {id(value) for values in versions.values() for value in values[:-1]}


def _others_are_read(node: Node, rest: list[Node]) -> bool:
    """Whether the inputs but the first (one that lends its size, say) have readers in `rest`: else they would become outputs."""
    return all(any(value is other for reader in rest for value in reader.inputs) for other in node.inputs[1:])


def _can_drop(node: Node, read: set[int], kept: list[Node], nodes: list[Node]) -> bool:
    lost = [value for value in node.outputs if id(value) not in read]
    if not lost:
        return True
    # An output: its name can move to the value it equals, if that one has no other reader and is made by a layer.
    source = node.inputs[0]
    makers = [other for other in kept if source in other.outputs and source not in other.fed]
    readers = [other for other in nodes if any(value is source for value in other.inputs)]
    return len(lost) == len(node.outputs) == 1 and bool(makers) and readers == [node]


def _drop(node: Node, read: set[int], stands_for: dict[int, Value]) -> None:
    source = node.inputs[0]
    for value in node.outputs:
        stands_for[id(value)] = source
        if id(value) not in read:
            source.blob = value.blob


def fold_affine(nodes: list[Node], shared: set[str]) -> list[Node]:
    """Merge each per-channel affine layer into the layer that makes its input, or turn it into one Scale."""
    kept: list[Node] = []
    maker: dict[int, Node] = {}
    readers: dict[int, int] = {}
    for node in nodes:
        for value in node.inputs:
            readers[id(value)] = readers.get(id(value), 0) + 1
    for node in nodes:
        affine = None if node.message.name in shared else node.op.affine(node.weights)
        if affine is not None:
            before = maker.get(id(node.inputs[0]))
            if before is not None and readers[id(node.inputs[0])] == 1 and before.message.name not in shared:
                absorbed = before.op.absorb(before.message, before.weights, *affine)
                if absorbed is not None:
                    for blob in before.weights:
                        release(blob)
                    before.weights = absorbed
                    before.outputs = node.outputs
                    maker[id(node.outputs[0])] = before
                    continue
            node = _as_scale(node, *affine)
        kept.append(node)
        if len(node.outputs) == 1:
            maker[id(node.outputs[0])] = node
    return kept


def _as_scale(node: Node, scale: object, shift: object) -> Node:
    """The affine layer as a Scale layer with a bias, under its own name."""
    import numpy as np

    from ..prototxt.layer import Layer
    from ..prototxt.message import Message

    message = Message.of("LayerParameter", name=node.message.name, type="Scale", bottom=node.message.bottom, top=node.message.top)
    message.set("scale_param", {"bias_term": True})
    definition = layer_type("Scale")
    assert definition is not None
    op = definition(Layer(message), node.op.bottoms[:1], "TEST")
    weights = [np.asarray(scale, dtype=np.float32), np.asarray(shift, dtype=np.float32)]
    return Node(op, message, node.inputs[:1], node.outputs, weights)
