"""The graph that passes and targets work on: layers set up for their shapes, and values that are written once.

In Caffe a layer may overwrite the blob it reads. Here it makes a value of its own, so that a pass that takes layers out or puts
others in need not care who else reads a blob, and when. A value carries its blob's name for display and for outputs; only where
prototxt and caffemodel are written (targets/caffe) do layers that work in place share one again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from ..layers.base import LayerType, Shape


@dataclass(frozen=True, eq=False)
class Value:
    """What one layer makes, or what is fed to the net; written once.

    Attributes:
        name: its blob's name, for display, outputs and Caffe's files; "" for a value that has none.
        shape: its shape.
        place: where its blob stands among those of the net, in the order they are first made: outputs are listed in it.
    """

    name: str
    shape: Shape
    place: int = 0


@dataclass(frozen=True, eq=False)
class Weight:
    """A learnable blob with its values; layers that share one (`param { name }`) hold the same object.

    Attributes:
        values: float32, of the shape that the layer which owns it gives it.
        drawn: whether a filler made the values, as there were no weights.
    """

    values: np.ndarray
    drawn: bool = False


@dataclass(frozen=True, eq=False)
class Node:
    """One layer of the graph.

    Attributes:
        op: the layer set up for its shapes.
        inputs: the values it reads, one for each bottom.
        outputs: the values it makes or, for a source, is fed: one for each top.
        weights: its learnable blobs, in Caffe's order.
    """

    op: LayerType
    inputs: Sequence[Value]
    outputs: Sequence[Value]
    weights: Sequence[Weight] = ()

    @property
    def fed(self) -> list[Value]:
        """Outputs that are inputs of the graph."""
        fed = self.op.fed_tops
        return [value for value, top in zip(self.outputs, self.op.layer.tops) if top in fed] if fed else []

    @property
    def made(self) -> list[Value]:
        """Outputs that the layer makes itself: all but those fed."""
        fed = self.fed
        return [value for value in self.outputs if value not in fed]

    @property
    def arrays(self) -> list[np.ndarray]:
        """Values of its learnable blobs, each in the shape that this layer gives it."""
        return [weight.values.reshape(blob.shape) for weight, blob in zip(self.weights, self.op.blobs)]


@dataclass(frozen=True, eq=False)
class Graph:
    """Layers in an order in which each comes after those it reads from.

    Attributes:
        nodes: the layers, sources included.
        outputs: values that are results.
        name: the net's name, "" if it has none.
        phase: "TEST" or "TRAIN".
        strict: as the net was read: with False, fields that no layer type computes are left out with a warning.
        origins: names of the files that definition and weights came from, "" where there is none.
    """

    nodes: Sequence[Node]
    outputs: Sequence[Value]
    name: str = ""
    phase: str = "TEST"
    strict: bool | None = None
    origins: Sequence[str] = ()

    @classmethod
    def of(
        cls, ops: Iterable[LayerType], outputs: Iterable[str], weights: Mapping[tuple[str, int], Weight], **attributes: Any
    ) -> Graph:
        """The graph of layers that name their blobs.

        Args:
            ops: the layers set up, in order.
            outputs: names of the blobs that are results.
            weights: learnable blobs by layer name and index.
            attributes: the graph's others.
        """
        current: dict[str, Value] = {}
        places: dict[str, int] = {}
        nodes = []
        for op in ops:
            inputs = [current[blob] for blob in op.layer.bottoms]
            tops = [Value(top, shape, places.setdefault(top, len(places))) for top, shape in zip(op.layer.tops, op.tops)]
            current.update(zip(op.layer.tops, tops))
            nodes.append(Node(op, inputs, tops, [weights[op.layer.name, i] for i in range(len(op.blobs))]))
        return cls(nodes, [current[name] for name in outputs], **attributes)

    @cached_property
    def inputs(self) -> list[Value]:
        """Values that are fed from outside, in order."""
        return [value for node in self.nodes for value in node.fed]

    @cached_property
    def values(self) -> list[Value]:
        """All values in the order they are made."""
        return [value for node in self.nodes for value in node.outputs]

    @cached_property
    def blobs(self) -> list[Value]:
        """The last value of each name, in the order of the net's blobs: what Caffe's blobs hold after a pass."""
        last = {value.name: value for value in self.values if value.name}
        return sorted(last.values(), key=lambda value: value.place)

    def readers(self) -> Counter[Value]:
        """How often layers read each value."""
        return Counter(value for node in self.nodes for value in node.inputs)

    def owners(self) -> Counter[Weight]:
        """How many layers hold each learnable blob; more than one share it."""
        return Counter(weight for node in self.nodes for weight in node.weights)

    def at(self, shapes: Mapping[Value, Shape]) -> Graph:
        """The graph set up for other shapes of its inputs; weights stay, and layers whose bottoms do.

        Args:
            shapes: of inputs; the others stay as they are.

        Raises:
            LayerError: a layer does not work with these shapes.
        """
        twins: dict[Value, Value] = {}
        nodes = []
        for node in self.nodes:
            bottoms = [twins[value].shape for value in node.inputs]
            op = node.op if bottoms == node.op.bottoms else node.op.at(bottoms)
            tops = op.tops if bottoms else [shapes.get(value, value.shape) for value in node.outputs]
            twins.update((value, replace(value, shape=tuple(top))) for value, top in zip(node.outputs, tops))
            nodes.append(replace(node, op=op, inputs=[twins[v] for v in node.inputs], outputs=[twins[v] for v in node.outputs]))
        return replace(self, nodes=nodes, outputs=[twins[value] for value in self.outputs])
