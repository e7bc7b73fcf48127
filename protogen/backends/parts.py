"""ONNX models cut into parts that run one after the other, so that not all blobs need to be in memory at once.

ONNX Runtime returns all outputs of a run together. To look at every blob of a net, each would have to be an output, and all of
them in memory. Parts hold what a run returns within a limit, and each holds only its own weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..targets.onnx.file import OnnxModel

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Part:
    """Some consecutive nodes of a model.

    Attributes:
        model: a model of them alone.
        inputs: names of the values that it reads: inputs of the whole, and results of parts before.
        outputs: names of its results: outputs of the whole, and what later parts read.
        spent: those of both that no later part reads.
    """

    model: OnnxModel
    inputs: Sequence[str]
    outputs: Sequence[str]
    spent: Sequence[str]


def parts(model: OnnxModel, sizes: Mapping[str, int], limit: int) -> Iterator[Part]:
    """Cut a model, between layers, so that the outputs and weights of each part take no more than a limit if possible.

    It is cut only where all that later nodes read are values of a known type, as those between layers are.

    Args:
        model: the model.
        sizes: of its outputs, in bytes.
        limit: for each part, in bytes.
    """
    cutter = _Cutter(model, sizes)
    for start, end in cutter.ranges(limit):
        yield cutter.part(start, end)


@dataclass
class _Cutter:
    """What cutting a model needs to know of it.

    Attributes:
        known: descriptions of all values of a known type, by name.
        constants: nodes that read only weights (weights in half precision are cast); each part computes those that it reads.
        nodes: the other nodes.
        reads: what each of them reads, without weights and constants.
        last: the last of them that reads a value, by its name.
    """

    model: OnnxModel
    sizes: Mapping[str, int]
    known: dict[str, onnx.ValueInfoProto] = field(init=False)
    constants: list[onnx.NodeProto] = field(init=False, default_factory=list)
    nodes: list[onnx.NodeProto] = field(init=False, default_factory=list)
    reads: list[set[str]] = field(init=False, default_factory=list)
    last: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        graph, constant = self.model.skeleton.graph, set(self.model.arrays)
        self.known = {value.name: value for value in (*graph.input, *graph.value_info, *graph.output)}
        for node in graph.node:
            read = _reads(node) - constant
            if not read and self.sizes.keys().isdisjoint(node.output):
                self.constants.append(node)
                constant.update(node.output)
            else:
                self.nodes.append(node)
                self.reads.append(read)
        self.last = {name: at for at, names in enumerate(self.reads) for name in names}

    def ranges(self, limit: int) -> list[tuple[int, int]]:
        """Return the first node of each part, and the one after its last."""
        ranges: list[tuple[int, int]] = []
        unknown: set[str] = set()  # values of unknown type that a later node reads
        start, cut, taken, since = 0, 0, 0, 0  # the part's first node, where it may end, the bytes until there and since then
        for at, node in enumerate(self.nodes):
            size = self._size(node)
            if taken + since + size > limit and cut > start:
                ranges.append((start, cut))
                start, taken = cut, 0
            since += size
            unknown = {name for name in (*unknown, *node.output) if name not in self.known and self.last.get(name, -1) > at}
            if not unknown:
                cut, taken, since = at + 1, taken + since, 0
        return [*ranges, (start, len(self.nodes))]

    def part(self, start: int, end: int) -> Part:
        """Return the part of some nodes."""
        if end - start == len(self.nodes):
            graph = self.model.skeleton.graph
            inputs, outputs = ([value.name for value in values] for values in (graph.input, graph.output))
            return Part(self.model, inputs, outputs, [*inputs, *outputs])
        made = {name for node in self.nodes[start:end] for name in node.output}
        read = set[str]().union(*self.reads[start:end]) - made
        outputs = [name for name in self.known if name in made and (name in self.sizes or self.last.get(name, -1) >= end)]
        inputs = [name for name in self.known if name in read]
        spent = [name for name in (*inputs, *outputs) if self.last.get(name, -1) < end]
        return Part(self._model(start, end, inputs, outputs), inputs, outputs, spent)

    def _model(self, start: int, end: int, inputs: Sequence[str], outputs: Sequence[str]) -> OnnxModel:
        from onnx import helper

        nodes, skeleton = self.nodes[start:end], self.model.skeleton
        read = set[str]().union(*map(_reads, nodes))
        for node in reversed(self.constants):
            if not read.isdisjoint(node.output):
                nodes.insert(0, node)
                read |= _reads(node)
        read_values, results = ([self.known[name] for name in names] for names in (inputs, outputs))
        graph = helper.make_graph(nodes, skeleton.graph.name, read_values, results)
        model = helper.make_model(graph, opset_imports=skeleton.opset_import)
        model.ir_version = skeleton.ir_version
        return OnnxModel(model, {name: array for name, array in self.model.arrays.items() if name in read})

    def _size(self, node: onnx.NodeProto) -> int:
        """Return the bytes that a node adds to a part: its outputs that are the model's, and its weights."""
        arrays = self.model.arrays
        weights = sum(arrays[name].nbytes for name in _reads(node) if name in arrays)
        return weights + sum(self.sizes.get(name, 0) for name in node.output)


def _reads(node: onnx.NodeProto) -> set[str]:
    """Return the names that a node reads, and those that the graphs inside it read."""
    inner = [graph for attribute in node.attribute for graph in (attribute.g, *attribute.graphs)]
    return {name for name in node.input if name}.union(*(_reads(each) for graph in inner for each in graph.node))
