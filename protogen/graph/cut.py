"""Cut layers off the end of a graph: those used only in training, and those that turn predictions into detections.

Post: the layers at the end that match a rule are gone, along with the layers between them; the values they read are outputs.
Whatever only they needed is gone, too, such as labels among the inputs. A matching layer in the middle that passes its first
bottom on (`LayerType.passes_first`) is gone if its other tops are no longer read; its readers read that bottom instead.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import ConversionError, ProtogenWarning
from ..layers.registry import class_for
from ..prototxt.layer import Layer
from .graph import Graph, Node, Value

if TYPE_CHECKING:
    from ..layers.base import LayerType

Rule = Callable[["LayerType"], bool]


def without_postprocess(graph: Graph) -> Graph:
    """`graph` up to the bottoms of the detection layers at its end: DetectionOutput, the YOLO outputs, DetectionEvaluate.

    An SSD then ends in its locations, its confidences (after the Softmax) and its prior boxes, a constant. A graph without
    detection layers at its end is returned unchanged.

    Raises:
        ConversionError: only inputs and constants would be left.
    """
    trunk = _without(graph, _detects)
    if trunk is None:
        raise ConversionError("nothing is left without postprocessing: this net has only detection layers")
    return trunk


def without_measures(graph: Graph) -> Graph:
    """`graph` without the losses and accuracies at its end, used only in training: the part of a train/val net to deploy.

    The predictions that these layers read become outputs; the labels do not. Layers that sample regions for training are
    bypassed: all regions pass, and are outputs, too. A graph of training layers only is returned unchanged.
    """
    return _without(graph, _measures, only_learned=True) or graph


def inference_part(graph: Graph, postprocess: bool = True) -> Graph:
    """The part of a graph that an ONNX model has: no training layers and, unless `postprocess`, no final detection layers."""
    graph = without_measures(graph)
    return graph if postprocess else without_postprocess(graph)


def measures(graph: Graph) -> tuple[list[str], list[Value]]:
    """Names of the layers that `without_measures` leaves out, and the values that they read."""
    kept, loose = _split(graph.nodes, _measures)
    kept_ops = {node.op for node in kept}
    return [_display_name(node.op.layer) for node in graph.nodes if node.op not in kept_ops], loose


def needed_part(graph: Graph) -> Graph:
    """`graph`, whose outputs were asked for, without what they do not depend on, inputs included."""
    return replace(graph, nodes=_needed(graph.nodes, graph.outputs), has_chosen_outputs=not graph.has_trimmed_end)


def ends_in_detections(graph: Graph) -> bool:
    """Whether `without_postprocess` would cut anything off, once training layers are gone."""
    nodes, _ = _split(graph.nodes, _measures)
    return len(_split(nodes, _detects)[0]) < len(nodes)


def warn_without_postprocess(graph: Graph) -> None:
    """Warn if `without_postprocess` cuts nothing off."""
    if not (graph.has_trimmed_end or ends_in_detections(graph)):
        warnings.warn("no postprocessing to cut off: the net does not end in detection layers", ProtogenWarning, stacklevel=5)


def _detects(op: LayerType) -> bool:
    return op.is_postprocess


def _measures(op: LayerType) -> bool:
    return op.only_trains


def _display_name(layer: Layer) -> str:
    """A layer's name or, where it has none, its type and line."""
    return layer.name or layer.type + (f" in line {layer.message.origin[0]}" if layer.message.origin else "")


def _without(graph: Graph, rule: Rule, only_learned: bool = False) -> Graph | None:
    """`graph` without the layers at its end that match `rule`; None if only inputs and constants are left."""
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
    trunk = replace(graph, nodes=kept, outputs=sorted(dict.fromkeys(results), key=lambda value: value.place))
    return trunk.at({})  # where a layer sampled rows, its readers now get all of them


def _split(nodes: Sequence[Node], rule: Rule) -> tuple[list[Node], list[Value]]:
    """The nodes that stay, and the values that the nodes cut off read."""
    cut = _Cut(_derived(nodes, rule))
    for node in reversed(nodes):
        cut.decide(node, rule(node.op))
    kept = [replace(node, inputs=[cut.behind(value) for value in node.inputs]) if cut.passed else node for node in cut.kept[::-1]]
    outputs = {value for node in kept for value in node.outputs}
    return kept, [value for value in map(cut.behind, cut.loose) if value in outputs]


class _Cut:
    """Decides node by node, from the last to the first, what is cut off.

    Attributes:
        kept: nodes that stay, the last first.
        loose: values that the nodes cut off read.
        read: values that the nodes kept read.
        spare: values read by nodes cut off, or by sinks, which keep nothing alive.
        passed: the replacement of a bypassed node's first output: its first input.
    """

    def __init__(self, derived: set[Value]) -> None:
        self.derived = derived
        self.kept: list[Node] = []
        self.loose: list[Value] = []
        self.read: set[Value] = set()
        self.spare: set[Value] = set()
        self.passed: dict[Value, Value] = {}

    def decide(self, node: Node, named: bool) -> None:
        """Keep a node, cut it off or bypass it; `named` says whether it matches the rule."""
        still_read = [value in self.read for value in node.outputs]
        is_end = bool(node.outputs or named) and not any(still_read)
        if is_end and (named or self._stands_between(node) or self._weighs(node)):
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
        """Whether a node reads values derived from matching nodes, and only nodes cut off read its outputs."""
        return not self.derived.isdisjoint(node.inputs) and self.spare.issuperset(node.outputs)

    def _weighs(self, node: Node) -> bool:
        """Whether a node is part of the net's loss, by its `loss_weight`, and only computes with values of matching nodes."""
        return any(node.op.layer.message.loss_weight) and self.derived.issuperset(node.inputs)

    def behind(self, value: Value) -> Value:
        """The value that replaces `value` once nodes are bypassed."""
        while value in self.passed:
            value = self.passed[value]
        return value


def _derived(nodes: Sequence[Node], rule: Rule) -> set[Value]:
    """Values computed, directly or indirectly, from a layer that matches `rule`, except those that it only passes on."""
    derived: set[Value] = set()
    for node in nodes:
        named, reads = rule(node.op), [value in derived for value in node.inputs]
        if named and node.op.passes_first and not reads[0]:
            derived.update(node.outputs[1:])
        elif named or any(reads):
            derived.update(node.outputs)
    return derived


def _learned(nodes: Sequence[Node]) -> set[Value]:
    """Values computed, directly or indirectly, from a layer with weights."""
    learned: set[Value] = set()
    for node in nodes:
        if node.weights or not learned.isdisjoint(node.inputs):
            learned.update(node.outputs)
    return learned


def _needed(nodes: Sequence[Node], results: Sequence[Value]) -> list[Node]:
    """Nodes that `results` depend on; sources are reduced to the tops that are needed."""
    live = set(results)
    kept = []
    for node in reversed(nodes):
        if not live.isdisjoint(node.outputs):
            live.update(node.inputs)
            kept.append(_with_tops(node, [i for i, value in enumerate(node.outputs) if value in live]))
    return kept[::-1]


def _with_tops(node: Node, indices: list[int]) -> Node:
    """A source reduced to some of its tops; any other layer keeps all of them."""
    message = node.op.with_tops(indices) if len(indices) < len(node.outputs) else None
    if message is None:
        return node
    outputs = [node.outputs[i] for i in indices]
    message.set("top", [node.op.layer.tops[i] for i in indices])
    layer = Layer(message)
    layer_class = class_for(layer)
    assert layer_class is not None
    return replace(node, op=layer_class(layer, [], node.op.phase, node.op.rules), outputs=outputs)
