"""Cut layers off the end of a net: those that only measure it, and those that turn predictions into detections.

Post: layers that a rule names are gone from the net's end, with those that only stand between them; what they read are outputs
under their own names. What only they needed is gone, too: labels among the inputs, say. One in the middle that passes its first
bottom on (`LayerType.passes_first`) is gone if all else it makes is; its readers read that bottom. The net given is untouched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import ConversionError
from ..layers.registry import class_for, layer_type
from ..prototxt.layer import Layer
from ..prototxt.message import Message
from .graph import Node, Value, rebuild, values_of

if TYPE_CHECKING:
    from ..layers.base import LayerType
    from ..net import Net

Rule = Callable[["LayerType"], bool]


def without_postprocess(net: Net, seed: int = 0) -> Net:
    """`net` up to the bottoms of the detection layers at its end: DetectionOutput, the YOLO outputs, DetectionEvaluate.

    An SSD then ends in its locations, its confidences (after their Softmax) and, a constant, its prior boxes.

    Args:
        net: any net; one without such layers at its end comes back as it is.
        seed: for the fillers of blobs without weights.

    Raises:
        ConversionError: nothing but inputs and constants is left.
    """
    rest = _without(net, seed, _detects)
    if rest is None:
        raise ConversionError("nothing is left without postprocessing: this net only has detection layers")
    return rest


def without_measures(net: Net, seed: int = 0) -> Net:
    """`net` without the losses and accuracies at its end, which only serve training: what is left of a train/val net to deploy.

    Outputs are the predictions they read, not the labels. Layers that sample regions to train with let all of them pass: these
    are outputs, too. A net of nothing else comes back as it is.

    Args:
        net, seed: as for `without_postprocess`.
    """
    return _without(net, seed, _measures, only_learned=True) or net


def inference_part(net: Net, postprocess: bool = True, seed: int = 0) -> Net:
    """What an ONNX model has of a net: no measures and, unless `postprocess`, no detection layers at its end."""
    net = without_measures(net, seed)
    return net if postprocess else without_postprocess(net, seed)


def measures(net: Net) -> tuple[list[str], list[str]]:
    """Names of the layers that `without_measures` leaves out as such, and of the blobs that they read."""
    kept, loose = _split(values_of(net), _measures)
    left = {id(node.op) for node in kept}
    return [_called(op.layer) for op in net.ops if id(op) not in left], [value.blob for value in loose]


def ends_in_detections(net: Net) -> bool:
    """Whether `without_postprocess` has anything to cut off, once measures are gone."""
    rest, _ = _split(values_of(net), _measures)
    return len(_split(rest, _detects)[0]) < len(rest)


def _detects(op: LayerType) -> bool:
    return op.is_postprocess


def _called(layer: Layer) -> str:
    """A layer's name or, where it has none, its type and place."""
    return layer.name or layer.type + (f" in line {layer.message.origin[0]}" if layer.message.origin else "")


def _measures(op: LayerType) -> bool:
    return op.only_trains


def _without(net: Net, seed: int, rule: Rule, only_learned: bool = False) -> Net | None:
    """`net` without layers at its end that `rule` names; None if only inputs and constants are left."""
    if not any(map(rule, net.ops)):
        return net
    nodes = values_of(net, net.weights.filled(seed))
    kept, loose = _split(nodes, rule)
    if len(kept) == len(nodes):
        return net
    learned = _learned(nodes)
    if only_learned and any(id(value) in learned for value in loose):
        loose = [value for value in loose if id(value) in learned]
    read = {id(value) for node in nodes for value in node.inputs}
    wanted = [value for node in kept for value in node.outputs if id(value) not in read]
    kept = _needed(kept, [*wanted, *loose])
    if not any(node.inputs or node.weights for node in kept):
        return None
    return rebuild(net, _with_outputs(kept, loose))


def _split(nodes: list[Node], rule: Rule) -> tuple[list[Node], list[Value]]:
    """Nodes that stay, and the values that those cut off read."""
    cut = _Cut(_derived(nodes, rule))
    for node in reversed(nodes):
        cut.decide(node, rule(node.op))
    kept = [replace(node, inputs=[cut.behind(value) for value in node.inputs]) if cut.passed else node for node in cut.kept[::-1]]
    made = {id(value) for node in kept for value in node.outputs}
    return kept, [value for value in map(cut.behind, cut.loose) if id(value) in made]


class _Cut:
    """Decides node by node, the last first, what is cut off. Values go by `id`.

    Attributes:
        kept: nodes that stay, the last first.
        loose: values that nodes cut off read.
        read: values that nodes read that stay.
        spare: values read by nodes cut off, or by sinks, which keep nothing alive.
        passed: what stands for the first output of a node that passes its first input on.
    """

    def __init__(self, derived: set[int]) -> None:
        self.derived = derived
        self.kept: list[Node] = []
        self.loose: list[Value] = []
        self.read: set[int] = set()
        self.spare: set[int] = set()
        self.passed: dict[int, Value] = {}

    def decide(self, node: Node, named: bool) -> None:
        """Keep a node, cut it off, or let its first input pass; `named` if the rule names it."""
        still_read = [id(value) in self.read for value in node.outputs]
        if node.outputs and not any(still_read) and (named or self._stands_between(node)):
            self.loose += node.inputs
            self._spare(node.inputs)
        elif named and node.op.passes_first and not any(still_read[1:]):
            self.loose += node.inputs if len(node.outputs) > 1 else []
            self._spare(node.inputs[1:])
            self.passed[id(node.outputs[0])] = node.inputs[0]
            self.read.add(id(node.inputs[0]))
        else:
            self.kept.append(node)
            (self.read if node.outputs else self.spare).update(map(id, node.inputs))

    def _stands_between(self, node: Node) -> bool:
        """Whether all that a node makes goes from nodes that are named to nodes cut off."""
        return any(id(value) in self.derived for value in node.inputs) and all(id(value) in self.spare for value in node.outputs)

    def _spare(self, values: list[Value]) -> None:
        self.spare.update(map(id, values))

    def behind(self, value: Value) -> Value:
        """The value that stands for another one once nodes in the middle let it pass."""
        while id(value) in self.passed:
            value = self.passed[id(value)]
        return value


def _derived(nodes: list[Node], rule: Rule) -> set[int]:
    """Values (by `id`) that come from a layer that `rule` names, at whatever distance; not those that it only passes on."""
    derived: set[int] = set()
    for node in nodes:
        named, reads = rule(node.op), [id(value) in derived for value in node.inputs]
        if named and node.op.passes_first and not reads[0]:
            derived.update(map(id, node.outputs[1:]))
        elif named or any(reads):
            derived.update(map(id, node.outputs))
    return derived


def _learned(nodes: list[Node]) -> set[int]:
    """Values (by `id`) that come from a layer with weights, at whatever distance."""
    learned: set[int] = set()
    for node in nodes:
        if node.weights or any(id(value) in learned for value in node.inputs):
            learned.update(map(id, node.outputs))
    return learned


def _needed(nodes: list[Node], wanted: list[Value]) -> list[Node]:
    """Nodes that the wanted values depend on; of inputs, only the tops that they do."""
    live = set(map(id, wanted))
    kept = []
    for node in reversed(nodes):
        if any(id(value) in live for value in node.outputs):
            live.update(map(id, node.inputs))
            kept.append(_with_tops(node, [i for i, value in enumerate(node.outputs) if id(value) in live]))
    return kept[::-1]


def _with_tops(node: Node, indices: list[int]) -> Node:
    """A source with some of its tops only; any other layer makes all of them."""
    message = node.op.with_tops(indices) if len(indices) < len(node.outputs) else None
    if message is None:
        return node
    tops = [node.outputs[i] for i in indices]
    message.set("top", [value.blob for value in tops])
    layer = Layer(message)
    definition = class_for(layer)
    assert definition is not None
    return Node(definition(layer, [], node.op.phase), message, [], tops)


def _with_outputs(kept: list[Node], loose: list[Value]) -> list[Node]:
    """Make the values outputs that other layers read, too: each gets a copy that nothing reads."""
    read = {id(value) for node in kept for value in node.inputs}
    inputs = {id(value) for node in kept for value in node.fed}
    wanted = {id(value): value for value in loose if id(value) in read and id(value) not in inputs}
    return kept + [_copy_of(value, kept) for value in wanted.values()]


def _copy_of(value: Value, nodes: list[Node]) -> Node:
    name = value.blob + "/output"
    while any(node.message.name == name for node in nodes):
        name += "_"
    message = Message.of("LayerParameter", name=name, type="Split", bottom=[value.blob], top=[value.blob])
    definition = layer_type("Split")
    assert definition is not None
    shape = next(node.op.tops[node.outputs.index(value)] for node in nodes if any(value is other for other in node.outputs))
    return Node(definition(Layer(message), [shape], "TEST"), message, [value], [Value(value.blob)])
