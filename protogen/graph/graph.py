"""The graph that passes and targets work on: layers set up for their shapes, and values in single-assignment form.

In Caffe a layer may overwrite the blob it reads. Here it makes a new value instead, so that a pass that removes or inserts layers
need not care who else reads a blob, and when. A value carries its blob's name for display and for outputs; only when a prototxt
and a caffemodel are written (targets/caffe) do in-place layers share a blob again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .layer_names import top_names

if TYPE_CHECKING:
    import numpy as np

    from ..layers.base import LayerType, Shape


@dataclass(frozen=True, eq=False)
class Value:
    """An output of one layer, or an input of the net; written once.

    Attributes:
        name: the blob's name, for display, outputs and Caffe's files; "" for a value without one.
        shape: its shape.
        place: rank of the blob in the order in which the net first makes its blobs: outputs are listed in this order.
        layer_name: what OpenCV 4 called it, after the layer of the net that makes it: see `top_names`.
    """

    name: str
    shape: Shape
    place: int = 0
    layer_name: str = ""


@dataclass(frozen=True, eq=False)
class Weight:
    """A learnable blob with its values; layers that share one (`param { name }`) hold the same object.

    Attributes:
        values: float32, in the shape that the owning layer declares.
        drawn: whether a filler produced the values, for lack of weights.
    """

    values: np.ndarray
    drawn: bool = False


@dataclass(frozen=True, eq=False)
class Node:
    """One layer of the graph.

    Attributes:
        op: the layer, set up for its shapes.
        inputs: the values it reads, one per bottom.
        outputs: the values it makes or, for a source, is fed: one per top.
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
        """Outputs that the layer computes: all but those fed."""
        fed = self.fed
        return [value for value in self.outputs if value not in fed]

    @property
    def arrays(self) -> list[np.ndarray]:
        """Values of its learnable blobs, each in the shape that this layer declares."""
        return [weight.values.reshape(blob.shape) for weight, blob in zip(self.weights, self.op.blobs)]


@dataclass(frozen=True, eq=False)
class Graph:
    """Layers in topological order: each comes after those it reads from.

    Attributes:
        nodes: the layers, sources included.
        outputs: the values that are results.
        name: the net's name, "" if it has none.
        phase: "TEST" or "TRAIN".
        strict: as for the net: if False, fields that no layer type computes are ignored with a warning.
        origins: names of the files of the definition and of the weights, "" where there is none.
        has_trimmed_end: layers of unknown types at the end are left out already.
        has_chosen_outputs: the outputs, and their order, are those that the user asked for.
    """

    nodes: Sequence[Node]
    outputs: Sequence[Value]
    name: str = ""
    phase: str = "TEST"
    strict: bool | None = None
    origins: Sequence[str] = ()
    has_trimmed_end: bool = False
    has_chosen_outputs: bool = False

    @classmethod
    def of(
        cls, ops: Iterable[LayerType], outputs: Iterable[str], weights: Mapping[tuple[str, int], Weight], **attributes: Any
    ) -> Graph:
        """Build the graph of layers that refer to blobs by name.

        Args:
            ops: the layers set up, in order.
            outputs: names of the blobs that are results.
            weights: learnable blobs by layer name and index.
            attributes: the other attributes of the graph.
        """
        current: dict[str, Value] = {}
        places: dict[str, int] = {}
        nodes = []
        ops = list(ops)
        for op, names in zip(ops, top_names(ops)):
            inputs = [current[blob] for blob in op.layer.bottoms]
            tops = [
                Value(top, shape, places.setdefault(top, len(places)), name)
                for top, shape, name in zip(op.layer.tops, op.tops, names)
            ]
            current.update(zip(op.layer.tops, tops))
            nodes.append(Node(op, inputs, tops, [weights[op.layer.name, i] for i in range(len(op.blobs))]))
        return cls(nodes, [current[name] for name in outputs], **attributes)

    @cached_property
    def inputs(self) -> list[Value]:
        """Values fed from outside, in order."""
        return [value for node in self.nodes for value in node.fed]

    @cached_property
    def values(self) -> list[Value]:
        """All values in the order they are made."""
        return [value for node in self.nodes for value in node.outputs]

    @cached_property
    def blobs(self) -> list[Value]:
        """The last value of each name, in blob order: what Caffe's blobs hold after a forward pass."""
        last = {value.name: value for value in self.values if value.name}
        return sorted(last.values(), key=lambda value: value.place)

    def readers(self) -> Counter[Value]:
        """Number of times layers read each value."""
        return Counter(value for node in self.nodes for value in node.inputs)

    def owners(self) -> Counter[Weight]:
        """Number of layers that hold each learnable blob; above one, the blob is shared."""
        return Counter(weight for node in self.nodes for weight in node.weights)

    def at(self, shapes: Mapping[Value, Shape]) -> Graph:
        """The graph set up for other input shapes; weights are kept, and so are layers whose bottoms keep their shapes.

        Args:
            shapes: new shapes of inputs; the others keep theirs.

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
