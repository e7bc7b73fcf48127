"""Cut layers off the end of a graph: those that only measure it, and those that turn predictions into detections.

Post: layers that a rule names are gone from the end, with those that only stand between them; what they read are outputs. What
only they needed is gone, too: labels among the inputs, say. One in the middle that passes its first bottom on
(`LayerType.passes_first`) is gone if all else it makes is; its readers read that bottom.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import ConversionError
from ..layers.registry import class_for
from ..prototxt.layer import Layer
from .graph import Graph, Node, Value

if TYPE_CHECKING:
    from ..layers.base import LayerType

Rule = Callable[["LayerType"], bool]


def without_postprocess(graph: Graph) -> Graph:
    """`graph` up to the bottoms of the detection layers at its end: DetectionOutput, the YOLO outputs, DetectionEvaluate.

    An SSD then ends in its locations, its confidences (after their Softmax) and, a constant, its prior boxes. A graph without
    such layers at its end comes back as it is.

    Raises:
        ConversionError: nothing but inputs and constants is left.
    """
    rest = _without(graph, _detects)
    if rest is None:
        raise ConversionError("nothing is left without postprocessing: this net only has detection layers")
    return rest


def without_measures(graph: Graph) -> Graph:
    """`graph` without the losses and accuracies at its end, which only serve training: what is left of a train/val net to deploy.

    Outputs are the predictions they read, not the labels. Layers that sample regions to train with let all of them pass: these
    are outputs, too. A graph of nothing else comes back as it is.
    """
    return _without(graph, _measures, only_learned=True) or graph


def inference_part(graph: Graph, postprocess: bool = True) -> Graph:
    """What an ONNX model has of a graph: no measures and, unless `postprocess`, no detection layers at its end."""
    graph = without_measures(graph)
    return graph if postprocess else without_postprocess(graph)


def measures(graph: Graph) -> tuple[list[str], list[Value]]:
    """Names of the layers that `without_measures` leaves out as such, and the values that they read."""
    kept, loose = _split(graph.nodes, _measures)
    left = {node.op for node in kept}
    return [_called(node.op.layer) for node in graph.nodes if node.op not in left], loose


def ends_in_detections(graph: Graph) -> bool:
    """Whether `without_postprocess` has anything to cut off, once measures are gone."""
    rest, _ = _split(graph.nodes, _measures)
    return len(_split(rest, _detects)[0]) < len(rest)


def _detects(op: LayerType) -> bool:
    return op.is_postprocess


def _measures(op: LayerType) -> bool:
    return op.only_trains


def _called(layer: Layer) -> str:
    """A layer's name or, where it has none, its type and place."""
    return layer.name or layer.type + (f" in line {layer.message.origin[0]}" if layer.message.origin else "")


def _without(graph: Graph, rule: Rule, only_learned: bool = False) -> Graph | None:
    """`graph` without layers at its end that `rule` names; None if only inputs and constants are left."""
    if not any(rule(node.op) for node in graph.nodes):
        return graph
    kept, loose = _split(graph.nodes, rule)
    if len(kept) == len(graph.nodes):
        return graph
    learned = _learned(graph.nodes)
    if only_learned and any(value in learned for value in loose):
        loose = [value for value in loose if value in learned]
    read = {value for node in graph.nodes for value in node.inputs}
    results = [value for node in kept for value in node.outputs if value not in read]
    kept = _needed(kept, [*results, *loose])
    if not any(node.inputs or node.weights for node in kept):
        return None
    still_read = {value for node in kept for value in node.inputs}
    fed = {value for node in kept for value in node.fed}
    results += [value for value in loose if not (value in fed and value in still_read)]
    rest = replace(graph, nodes=kept, outputs=sorted(dict.fromkeys(results), key=lambda value: value.place))
    return rest.at({})  # where rows pass that a layer sampled, others have more of them


def _split(nodes: Sequence[Node], rule: Rule) -> tuple[list[Node], list[Value]]:
    """Nodes that stay, and the values that those cut off read."""
    cut = _Cut(_derived(nodes, rule))
    for node in reversed(nodes):
        cut.decide(node, rule(node.op))
    kept = [replace(node, inputs=[cut.behind(value) for value in node.inputs]) if cut.passed else node for node in cut.kept[::-1]]
    made = {value for node in kept for value in node.outputs}
    return kept, [value for value in map(cut.behind, cut.loose) if value in made]


class _Cut:
    """Decides node by node, the last first, what is cut off.

    Attributes:
        kept: nodes that stay, the last first.
        loose: values that nodes cut off read.
        read: values that nodes read that stay.
        spare: values read by nodes cut off, or by sinks, which keep nothing alive.
        passed: what stands for the first output of a node that passes its first input on.
    """

    def __init__(self, derived: set[Value]) -> None:
        self.derived = derived
        self.kept: list[Node] = []
        self.loose: list[Value] = []
        self.read: set[Value] = set()
        self.spare: set[Value] = set()
        self.passed: dict[Value, Value] = {}

    def decide(self, node: Node, named: bool) -> None:
        """Keep a node, cut it off, or let its first input pass; `named` if the rule names it."""
        still_read = [value in self.read for value in node.outputs]
        if node.outputs and not any(still_read) and (named or self._stands_between(node)):
            self.loose += node.inputs
            self.spare.update(node.inputs)
        elif named and node.op.passes_first and not any(still_read[1:]):
            self.loose += node.inputs if len(node.outputs) > 1 else []
            self.spare.update(node.inputs[1:])
            self.passed[node.outputs[0]] = node.inputs[0]
            self.read.add(node.inputs[0])
        else:
            self.kept.append(node)
            (self.read if node.outputs else self.spare).update(node.inputs)

    def _stands_between(self, node: Node) -> bool:
        """Whether all that a node makes goes from nodes that are named to nodes cut off."""
        return not self.derived.isdisjoint(node.inputs) and self.spare.issuperset(node.outputs)

    def behind(self, value: Value) -> Value:
        """The value that stands for another one once nodes in the middle let it pass."""
        while value in self.passed:
            value = self.passed[value]
        return value


def _derived(nodes: Sequence[Node], rule: Rule) -> set[Value]:
    """Values that come from a layer that `rule` names, at whatever distance; not those that it only passes on."""
    derived: set[Value] = set()
    for node in nodes:
        named, reads = rule(node.op), [value in derived for value in node.inputs]
        if named and node.op.passes_first and not reads[0]:
            derived.update(node.outputs[1:])
        elif named or any(reads):
            derived.update(node.outputs)
    return derived


def _learned(nodes: Sequence[Node]) -> set[Value]:
    """Values that come from a layer with weights, at whatever distance."""
    learned: set[Value] = set()
    for node in nodes:
        if node.weights or not learned.isdisjoint(node.inputs):
            learned.update(node.outputs)
    return learned


def _needed(nodes: Sequence[Node], wanted: Sequence[Value]) -> list[Node]:
    """Nodes that the wanted values depend on; of inputs, only the tops that they do."""
    live = set(wanted)
    kept = []
    for node in reversed(nodes):
        if not live.isdisjoint(node.outputs):
            live.update(node.inputs)
            kept.append(_with_tops(node, [i for i, value in enumerate(node.outputs) if value in live]))
    return kept[::-1]


def _with_tops(node: Node, indices: list[int]) -> Node:
    """A source with some of its tops only; any other layer makes all of them."""
    message = node.op.with_tops(indices) if len(indices) < len(node.outputs) else None
    if message is None:
        return node
    outputs = [node.outputs[i] for i in indices]
    message.set("top", [node.op.layer.tops[i] for i in indices])
    layer = Layer(message)
    cls = class_for(layer)
    assert cls is not None
    return replace(node, op=cls(layer, [], node.op.phase), outputs=outputs)
