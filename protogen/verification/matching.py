"""Which blob a tensor of another converter's model is, by their names.

Converters name tensors after blobs, after layers, or number them and name only the nodes after layers. Where layers work in place
a blob has several values, and a converter that merges layers leaves only the last one's: so a tensor may be one of several
values, of which the numbers select one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ProtogenError, did_you_mean
from .other_inputs import NHWC

if TYPE_CHECKING:
    import numpy as np

    from ..graph.graph import Graph, Node, Value


@dataclass(frozen=True)
class Match:
    """A tensor, and the values of the net that it may be.

    Attributes:
        tensor: its name in the model.
        named: the value that the name stands for.
        values: all that it may be, in the order of preference.
        how: how an output that no name identifies was identified; else "".
    """

    tensor: str
    named: Value
    values: list[Value]
    how: str = ""


def matches(graph: Graph, tensors: Mapping[str, str], rename: Mapping[str, str]) -> list[Match]:
    """Find the tensors that are named after blobs or layers.

    Args:
        graph: the graph, whose in-place layers make values of the same name.
        tensors: names of the nodes by the names of the tensors that they compute.
        rename: names of tensors by blob, as the user gave them.

    Raises:
        ProtogenError: `rename` has an unknown blob or tensor.
    """
    known = _by_name(graph)
    renamed = _renamed(graph, tensors, rename)
    names = {tensor: renamed.get(tensor, tensor) for tensor in tensors}
    exact = {tensor: name for tensor, name in names.items() if name in known and (tensor in renamed or name not in rename)}
    covered = {known[name][0] for name in exact.values()}
    similar = {tensor: name for tensor, name in _similar(known, tensors).items() if known[name][0] not in covered}
    return [Match(tensor, *known[name]) for tensor in tensors if (name := exact.get(tensor) or similar.get(tensor))]


def matching_outputs(graph: Graph, named: Sequence[Match], outputs: Mapping[str, Sequence[int]]) -> list[Match]:
    """Match outputs that no name identifies: by position if all their shapes suit, else the only one of its shape.

    Args:
        graph: the graph.
        named: the tensors that names identify.
        outputs: shapes of the model's outputs.
    """
    tensors = [name for name in outputs if name not in {match.tensor for match in named}]
    covered = {match.named.name for match in named}
    blobs = [value for value in graph.outputs if value.name not in covered and value not in graph.inputs]
    if len(blobs) == len(tensors) and all(_suits(outputs[name], blob.shape) for name, blob in zip(tensors, blobs)):
        return [Match(name, blob, [blob], "by position") for name, blob in zip(tensors, blobs)]
    result = []
    for blob in blobs:
        suiting = [name for name in tensors if _suits(outputs[name], blob.shape)]
        rivals = [other for other in blobs if any(_suits(outputs[name], other.shape) for name in suiting)]
        if len(suiting) == len(rivals) == 1:
            result.append(Match(suiting[0], blob, [blob], "by its shape"))
    return result


def aligned(value: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return a tensor in a blob's shape if it only lacks axes of 1 or is (N, H, W, C); else as it is."""
    if _without_ones(value.shape) == _without_ones(shape):
        return value.reshape(shape)
    return value.transpose(0, 3, 1, 2) if _suits(value.shape, shape) else value


def _suits(other: Sequence[int], shape: Sequence[int]) -> bool:
    transposed = len(shape) == 4 and tuple(other) == tuple(shape[axis] for axis in NHWC)
    return transposed or _without_ones(other) == _without_ones(shape)


def _without_ones(shape: Sequence[int]) -> list[int]:
    return [dim for dim in shape if dim != 1]


def _renamed(graph: Graph, tensors: Mapping[str, str], rename: Mapping[str, str]) -> dict[str, str]:
    """Return the blobs by the names that the user gave them, without the inputs."""
    fed = {value.name for value in graph.inputs}
    blobs = {value.name for value in graph.values}
    for blob, tensor in rename.items():
        if blob not in blobs:
            raise ProtogenError(f"cannot rename {blob!r}: no such blob{did_you_mean(blob, blobs)}")
        if blob not in fed and tensor not in tensors:
            raise ProtogenError(f"cannot rename {blob!r}: the model has no tensor {tensor!r}{did_you_mean(tensor, tensors)}")
    return {tensor: blob for blob, tensor in rename.items() if tensor in tensors}


def _by_name(graph: Graph) -> dict[str, tuple[Value, list[Value]]]:
    """Return what a tensor of each name is named after, and all it may be; "blob/layer" is a name in protogen's own models."""
    versions: dict[str, list[Value]] = {}
    for value in graph.values:
        if value not in graph.inputs:
            versions.setdefault(value.name, []).append(value)
    followers = _Followers(graph)
    known: dict[str, tuple[Value, list[Value]]] = {}

    def add(name: str, named: Value, values: list[Value]) -> None:
        before = known[name][1] if name in known else []
        known[name] = (named, list(dict.fromkeys([*before, *values, *followers.of(named)])))

    for blob, values in versions.items():
        add(blob, values[-1], [values[-1], *values[:-1]])
    for node in graph.nodes:
        if len(node.made) == 1:
            (value,) = node.made
            add(node.op.layer.name, value, [value])
            add(f"{value.name}/{node.op.layer.name}", value, [value])
    known.pop("", None)
    return known


class _Followers:
    """Values that layers which converters merge with the one before make of a value, and nothing else reads."""

    def __init__(self, graph: Graph) -> None:
        self._readers: dict[Value, list[Node]] = {}
        for node in graph.nodes:
            for value in node.inputs:
                self._readers.setdefault(value, []).append(node)

    def of(self, value: Value) -> Iterator[Value]:
        """Yield them in order."""
        while len(self._readers.get(value, ())) == 1:
            (node,) = self._readers[value]
            merges = node.op.keeps_place or node.op.is_identity
            if not merges or len(node.inputs) != 1 or [made.shape for made in node.made] != [value.shape]:
                return
            (value,) = node.made
            yield value


def _similar(known: Collection[str], tensors: Mapping[str, str]) -> dict[str, str]:
    """Return known names by tensors that only resemble them: numbered ones by their nodes, the others by letters and digits.

    A node counts if it is the only one of its layer: of nodes "fc" and "fc/add", the first is only a part of layer "fc".
    """
    nodes = Counter(tensors.values())
    parts = {node[: end.start()] for node in nodes if node not in known for end in re.finditer(r"\W|_", node)}
    spellings = Counter(map(_letters, known))
    by_letters = {_letters(name): name for name in known if spellings[_letters(name)] == 1}
    similar: dict[str, str] = {}
    for tensor, node in tensors.items():
        if node in known and nodes[node] == 1 and node not in parts:
            similar[tensor] = node
        elif _letters(tensor) in by_letters:
            similar[tensor] = by_letters[_letters(tensor)]
    return similar


def _letters(name: str) -> str:
    """Return a name as converters spell it for languages that allow only letters, digits and underscores."""
    return re.sub(r"\W", "_", name)
