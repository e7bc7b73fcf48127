"""Cut off what turns predictions into detections, for those who do that themselves or on a chip that cannot.

Post: layers whose type says `is_postprocess` are gone from the net's end, and inputs that only they read; what they read are
outputs under their own names. The net given is untouched.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ConversionError
from ..layers.base import layer_type
from .graph import Node, Value, rebuild, values_of

if TYPE_CHECKING:
    from ..net import Net


def without_postprocess(net: Net, seed: int = 0) -> Net:
    """`net` up to the bottoms of the detection layers at its end: DetectionOutput, the YOLO outputs, DetectionEvaluate.

    An SSD then ends in its locations, its confidences (after their Softmax) and, a constant, its prior boxes.

    Args:
        net: any net; one without such layers at its end comes back as it is.
        seed: for the fillers of blobs without weights.

    Raises:
        ConversionError: nothing but inputs is left.
    """
    nodes = values_of(net, net.weights.filled(seed))
    kept, loose = _split(nodes)
    if len(kept) == len(nodes):
        return net
    kept = [node for node in kept if not (node.op.is_input and _only_read_by_cut(node, kept, loose))]
    if all(node.op.is_input for node in kept):
        raise ConversionError("nothing is left without postprocessing: this net only has detection layers")
    return rebuild(net, _with_outputs(kept, loose))


def _split(nodes: list[Node]) -> tuple[list[Node], list[Value]]:
    """Nodes that stay, and the values that those cut off read."""
    kept: list[Node] = []
    loose: list[Value] = []
    read: set[int] = set()
    for node in reversed(nodes):
        if node.op.is_postprocess and not any(id(value) in read for value in node.outputs):
            loose += node.inputs
        else:
            kept.append(node)
            read.update(id(value) for value in node.inputs)
    made = {id(value) for node in kept for value in node.outputs}
    return kept[::-1], [value for value in loose if id(value) in made]


def _only_read_by_cut(node: Node, kept: list[Node], loose: list[Value]) -> bool:
    read = {id(value) for other in kept for value in other.inputs}
    cut = {id(value) for value in loose}
    return not any(id(value) in read for value in node.outputs) and all(id(value) in cut for value in node.outputs)


def _with_outputs(kept: list[Node], loose: list[Value]) -> list[Node]:
    """Make the values outputs that other layers read, too: each gets a copy that nothing reads."""
    read = {id(value) for node in kept for value in node.inputs}
    inputs = {id(value) for node in kept if node.op.is_input for value in node.outputs}
    wanted = {id(value): value for value in loose if id(value) in read and id(value) not in inputs}
    return kept + [_copy_of(value, kept) for value in wanted.values()]


def _copy_of(value: Value, nodes: list[Node]) -> Node:
    from ..layer import Layer
    from ..prototxt.message import Message

    name = value.blob + "/output"
    while any(node.message.name == name for node in nodes):
        name += "_"
    message = Message.of("LayerParameter", name=name, type="Split", bottom=[value.blob], top=[value.blob])
    definition = layer_type("Split")
    assert definition is not None
    shape = next(node.op.tops[node.outputs.index(value)] for node in nodes if any(value is other for other in node.outputs))
    return Node(definition(Layer(message), [shape], "TEST"), message, [value], [Value(value.blob)])
