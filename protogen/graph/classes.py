"""Which layers decide a net's number of classes: those with weights before its Softmax, loss or detections.

From each layer that reads scores of classes, the search goes back to the layers that compute them. What it does not recognise on
the way, or could recognise as two things, it refuses by name: the user then says which layers are meant.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import NetError, some
from ..prototxt.message import Message
from .graph import Graph, Node, Value

Changes = dict[str, dict[str, Any]]
"""New fields, by layer."""

# What reads scores: the bottom they are, and whether `num_classes` counts the classes (otherwise an axis of the bottom does).
_READERS: Mapping[str, tuple[int, bool]] = {
    **dict.fromkeys(("Softmax", "SoftmaxWithLoss", "SoftmaxWithLossOHEM", "Accuracy", "SegAccuracy"), (0, False)),
    **dict.fromkeys(("HingeLoss", "MultinomialLogisticLoss", "InfogainLoss", "SigmoidCrossEntropyLoss"), (0, False)),
    **dict.fromkeys(("MultiBoxLoss", "DetectionOutput"), (1, True)),
}
# Layers that scores pass on their way, and how many of their bottoms are scores; None: all.
_ON_THE_WAY: Mapping[str, int | None] = {
    **dict.fromkeys(("ReLU", "ReLU6", "PReLU", "ELU", "Sigmoid", "TanH", "Swish", "Power", "Dropout", "Split", "Softmax"), 1),
    **dict.fromkeys(("Pooling", "Flatten", "Permute", "Reshape", "Crop", "Interp", "Upsample", "BatchNorm", "Scale", "Bias"), 1),
    **dict.fromkeys(("Concat", "Eltwise"), None),
}
_MOVING = ("Pooling", "Flatten", "Reshape", "Crop", "Interp", "Dropout")  # behind which a net may end in scores
_COUNTING = ("DetectionEvaluate", "SegmentationEvaluate")  # state `num_classes`, but read no scores of them
_WITH_NUM_OUTPUT = ("InnerProduct", "Convolution", "DepthwiseConvolution", "Deconvolution")
_SAY = "say which layers are meant: with_classes(layers={{{example}}}), or --classes LAYER=N"


@dataclass(frozen=True)
class Reader:
    """A layer that reads scores of classes.

    Attributes:
        node: the layer, None for the end of a net.
        scores: what it reads.
        classes: how many there are.
        axis: the axis of the scores that counts the classes, None if several scores are joined in one.
    """

    node: Node | None
    scores: Value
    classes: int
    axis: int | None

    @property
    def label(self) -> str:
        """Names it in messages."""
        return f"output {self.scores.name!r}" if self.node is None else self.node.op.label


def class_changes(graphs: Sequence[Graph], classes: int) -> Changes:
    """Return the fields that give a net another number of classes.

    Args:
        graphs: the net in each of its phases.
        classes: the new number, with the background if the net counts one.

    Raises:
        NetError: it cannot be told which layers decide the number; the message names what stands in the way.
    """
    changes: Changes = {}
    readers = [list(_readers(graph)) for graph in graphs]
    if not any(readers):
        readers[0] = list(_ends(graphs[0]))
    numbers = {reader.classes for each in readers for reader in each}
    if len(numbers) != 1:
        why = "; ".join(dict.fromkeys(f"{reader.label} has {reader.classes}" for each in readers for reader in each))
        why = why or "no layer of this net reads scores of classes"
        raise NetError(f"which number of classes is meant cannot be told: {why}; {_hint(graphs[0])}")
    searches = [_Search(graph, next(iter(numbers)), classes) for graph in graphs]
    for search, each in zip(searches, readers):
        for reader in each:
            search.start(reader)
        search.count()
        for name, fields in search.changes.items():
            changes.setdefault(name, {}).update(fields)
    for search, each in zip(searches, readers):
        search.check_other_outputs(each, changes)
    return changes


def check_classes(graphs: Sequence[Graph], classes: int) -> None:
    """Check that a net has a number of classes.

    Raises:
        NetError: a layer reads scores of another number.
    """
    for graph in graphs:
        for reader in list(_readers(graph)) or list(_ends(graph)):
            if reader.classes != classes:
                raise NetError(f"{reader.label} would have {reader.classes} classes, not {classes}; {_hint(graph)}")


def _hint(graph: Graph) -> str:
    names = [node.op.layer.name for node in graph.nodes if node.op.layer.type in _WITH_NUM_OUTPUT]
    return _SAY.format(example=f"{names[-1]!r}: N" if names else "")


def _readers(graph: Graph) -> Iterator[Reader]:
    """Layers that read scores of classes at the end of the net: what computes on with a Softmax reads no classes."""
    followers: dict[Value, list[Node]] = {}
    for node in graph.nodes:
        for value in node.inputs:
            followers.setdefault(value, []).append(node)
    for node in graph.nodes:
        index, is_stated = _READERS.get(node.op.layer.type, (-1, False))
        after = [other for value in node.outputs for other in followers.get(value, ())]
        if index < 0 or not all(other.op.only_trains or other.op.layer.type in ("ArgMax", "Silence") for other in after):
            continue
        scores = node.inputs[index]
        if is_stated:
            _check_locations(graph, node)
            yield Reader(node, scores, int(node.op.param.num_classes), None)
        else:
            axis = getattr(node.op, "over", 1)
            if axis < len(scores.shape):
                yield Reader(node, scores, scores.shape[axis], axis)


def _check_locations(graph: Graph, node: Node) -> None:
    if not node.op.param.share_location:
        text = "has share_location: false, so that its locations depend on the classes, too"
        raise NetError(f"{node.op.label}: {text}; {_hint(graph)}")


def _ends(graph: Graph) -> Iterator[Reader]:
    """The output of a net without any such layer, if it is the only one and a layer with `num_output` makes its values."""
    outputs = [value for value in graph.outputs if len(value.shape) > 1]
    makers = {value: node for node in graph.nodes for value in node.outputs}
    node = makers[outputs[0]] if len(outputs) == 1 else None
    while node is not None and node.op.layer.type in _MOVING:
        node = makers[node.inputs[0]]
    if node is not None and node.op.layer.type in _WITH_NUM_OUTPUT:
        yield Reader(None, outputs[0], outputs[0].shape[1], 1)


class _Search:
    """Goes from scores back to the layers that compute them, and collects what is to change."""

    def __init__(self, graph: Graph, old: int, new: int) -> None:
        self.graph, self.old, self.new = graph, old, new
        self.makers = {value: node for node in graph.nodes for value in node.outputs}
        self.changes: Changes = {}
        self._seen: set[Value] = set()

    def start(self, reader: Reader) -> None:
        """Follow the scores that a layer reads."""
        if reader.axis is None and reader.node is not None:
            self._change(reader.node, num_classes=self.new)
        self._follow(reader.scores, reader.axis, reader)

    def count(self) -> None:
        """Change what states the number of classes without reading scores; refuse what may do so in another way.

        Raises:
            NetError: names the layer.
        """
        for node in self.graph.nodes:
            name = node.op.layer.name
            parameters = [value for _, value in node.op.layer.message.fields() if isinstance(value, Message)]
            stated = {field: message.get(field) for message in parameters for field in ("num_classes", "classes", "num_class")}
            fields = [field for field, number in stated.items() if number == self.old]
            if fields and name not in self.changes:
                if node.op.layer.type not in _COUNTING:
                    raise NetError(f"{node.op.label} states {fields[0]}: {self.old}; what depends on it cannot be told; "
                                   f"change it and the others with changed(), or {_hint(self.graph)}")  # fmt: skip
                self._change(node, **{fields[0]: self.new})

    def _follow(self, value: Value, axis: int | None, reader: Reader) -> None:
        if value in self._seen:
            return
        self._seen.add(value)
        node = self.makers[value]
        type = node.op.layer.type
        if type in _WITH_NUM_OUTPUT:
            self._resize(node, value, axis, reader)
        elif type in _ON_THE_WAY:
            self._check_parts(node, axis, reader)
            if type == "Reshape":
                self._reshape(node, value, axis, reader)
            for bottom in node.inputs[: _ON_THE_WAY[type]]:
                self._follow(bottom, self._axis_before(node, bottom, axis), reader)
        else:
            self._refuse(node, reader, "protogen cannot tell how it changes the scores")

    def _axis_before(self, node: Node, bottom: Value, axis: int | None) -> int | None:
        """The axis of a layer's bottom that counts the classes alone, None if there is none."""
        if node.op.layer.type not in ("Flatten", "Permute", "Reshape"):
            return axis
        sizes = [i for i, size in enumerate(bottom.shape) if size == self.old]
        rest = [size for size in bottom.shape[1:] if size != 1]
        return sizes[0] if axis is not None and rest == [self.old] else None

    def _check_parts(self, node: Node, axis: int | None, reader: Reader) -> None:
        """Check that each part of a Concat has scores of all classes."""
        if node.op.layer.type != "Concat":
            return
        along = next((i for i, size in enumerate(node.outputs[0].shape) if size != node.inputs[0].shape[i]), None)
        if along is not None and (axis is None or along == axis) and any(v.shape[along] % self.old for v in node.inputs):
            self._refuse(node, reader, f"its parts have not all of the {self.old} classes")

    def _reshape(self, node: Node, value: Value, axis: int | None, reader: Reader) -> None:
        """Change the size that a Reshape states for the classes."""
        dims, start = list(node.op.param.shape.dim), getattr(node.op, "start", 0)
        places = [axis - start] if axis is not None else [i for i, dim in enumerate(dims) if dim > 0 and dim % self.old == 0]
        stated = [i for i in places if 0 <= i < len(dims) and dims[i] > 0]
        if len(stated) > 1:
            self._refuse(node, reader, f"several of its sizes {dims} could be those of the classes")
        if stated:
            dims[stated[0]] = dims[stated[0]] // self.old * self.new
            self._change(node, shape={"dim": dims})

    def _resize(self, node: Node, value: Value, axis: int | None, reader: Reader) -> None:
        outputs = int(node.op.param.num_output)
        if outputs % self.old or (axis is not None and outputs != self.old):
            self._refuse(node, reader, f"its num_output {outputs} is no multiple of the {self.old} classes")
        group, inputs = int(node.op.param.get("group", 1)), node.inputs[0]
        is_upsampling = node.op.layer.type == "Deconvolution" and len(inputs.shape) > 1 and inputs.shape[1] == outputs
        if group not in (1, outputs) or (group > 1 and not is_upsampling):
            self._refuse(node, reader, f"it has {group} groups")
        fields = {"num_output": outputs // self.old * self.new}
        self._change(node, **fields, **({"group": fields["num_output"]} if group > 1 else {}))
        if is_upsampling:  # from scores to scores, as in FCN
            self._follow(inputs, 1, reader)

    def _change(self, node: Node, **fields: Any) -> None:
        self.changes.setdefault(node.op.layer.name, {}).update(fields)

    def _refuse(self, node: Node, reader: Reader, why: str) -> None:
        raise NetError(f"which layers decide the {self.old} classes of {reader.label} cannot be told at {node.op.label}: {why}; "
                       f"{_hint(self.graph)}")  # fmt: skip

    def check_other_outputs(self, readers: Sequence[Reader], changes: Changes) -> None:
        """Refuse a net with further outputs that may have values for each class, such as the boxes of a Faster R-CNN.

        Args:
            readers: of this phase.
            changes: of all phases.

        Raises:
            NetError: names the layers.
        """
        read = {value for reader in readers if reader.node is not None for value in reader.node.inputs}
        ends = [*self.graph.outputs, *(v for node in self.graph.nodes if node.op.only_trains for v in node.inputs[:1])]
        doubtful = {}
        for value in dict.fromkeys(ends):
            node = self.makers[value]
            while node.op.layer.type in _ON_THE_WAY and node.op.layer.name not in changes:
                node = self.makers[node.inputs[0]]
            if value in read or node.op.layer.name in changes or node.op.layer.type not in _WITH_NUM_OUTPUT:
                continue
            factor, rest = divmod(int(node.op.param.num_output), self.old)
            if not rest:
                doubtful[node.op.layer.name] = f"{factor} * N" if factor > 1 else "N"
        if doubtful:
            sure = {name: fields for name, fields in changes.items() if "num_output" in fields or "num_classes" in fields}
            example = ", ".join(f"{name!r}: {number}" for name, number in {**dict.fromkeys(sure, "N"), **doubtful}.items())
            raise NetError(f"whether {some(list(doubtful))} has values for each of the {self.old} classes cannot be told; "
                           + _SAY.format(example=example))  # fmt: skip
