"""Whether weights fit a net: everything that does not, at once, before anything is converted."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import ProtogenError, ProtogenWarning, nearest, printable
from ..graph.store import core_shape
from ..weights.content import Content, read_content
from .diff import Change, field_changes, number_text, quoted, shape_text

if TYPE_CHECKING:
    from pathlib import Path

    from ..net import Net
    from ..prototxt.message import Message

Shape = tuple[int, ...]
# What a net that trains and the same net to deploy differ in, without effect on what the latter computes.
_TRAINING = ("name", "type", "bottom", "top", "blobs", "param", "include", "exclude", "phase", "loss_weight", "propagate_down")
_TRAINING_PATHS = (
    "dropout_param.",
    "batch_norm_param.use_global_stats",
    "batch_norm_param.moving_average_fraction",
    "transform_param.",
)


@dataclass(frozen=True)
class Misfit:
    """A layer of both whose blobs do not fit.

    Attributes:
        layer, type: of the net.
        net: shapes of its blobs in the net.
        file: shapes of its blobs in the file.
    """

    layer: str
    type: str
    net: list[Shape]
    file: list[Shape]

    def __str__(self) -> str:
        if len(self.net) != len(self.file):
            return f"{len(self.net)} blobs {_shapes(self.net)} -> {len(self.file)} {_shapes(self.file)}"
        pairs = [(i, a, b) for i, (a, b) in enumerate(zip(self.net, self.file)) if core_shape(a) != core_shape(b)]
        return "; ".join(f"blob {i}: {shape_text(a)} -> {shape_text(b)}" for i, a, b in pairs)


@dataclass
class Fit:
    """Result of `fit`: `equal`, and lists of what differs between a net and a weights file.

    Attributes:
        misfits: layers whose number of blobs, or some blob's shape, differs.
        types: layers whose type differs.
        parameters: changed parameters by layer, where the file is a `.caffemodel` that holds a definition; what only matters to
            training is not compared.
        without_weights: (name, type) of layers of the net that need weights and have none in the file.
        unused: (name, type) of layers of the file with weights that the net does not have.
        renamed: layers of `unused`, and the layer of `without_weights` of the same shapes that each may be.
    """

    misfits: list[Misfit] = field(default_factory=list)
    types: list[tuple[str, Change]] = field(default_factory=list)
    parameters: list[tuple[str, list[Change]]] = field(default_factory=list)
    without_weights: list[tuple[str, str]] = field(default_factory=list)
    unused: list[tuple[str, str]] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not (self.misfits or self.types or self.parameters or self.without_weights or self.unused)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "equal": self.equal,
            "misfits": [asdict(misfit) for misfit in self.misfits],
            "types": [{"name": name, "net": change.before, "file": change.after} for name, change in self.types],
            "parameters": [
                {"name": name, "changes": [{"what": c.what, "net": str(c.before), "file": str(c.after)} for c in changes]}
                for name, changes in self.parameters
            ],
            "without_weights": [{"name": name, "type": kind} for name, kind in self.without_weights],
            "unused": [{"name": name, "type": kind, "renamed": self.renamed.get(name)} for name, kind in self.unused],
        }

    def lines(self) -> Iterator[str]:
        """Yield the differences line by line: "-" without weights, "+" only in the file, "~" in both."""
        for name, kind in self.without_weights:
            yield f"- layer {quoted(name)} ({printable(kind)}): no weights in the file"
        for name, kind in self.unused:
            other = self.renamed.get(name)
            hint = f"; has the shapes of the net's {quoted(other)}: renamed?" if other else ""
            yield f"+ layer {quoted(name)} ({printable(kind) or 'unknown type'}): only in the file{hint}"
        for misfit in self.misfits:
            yield f"~ layer {quoted(misfit.layer)} ({printable(misfit.type)}): {misfit}"
        for name, change in self.types:
            yield f"~ layer {quoted(name)}: {change}"
        for name, changes in self.parameters:
            yield f"~ layer {quoted(name)}"
            yield from (f"    {change}" for change in changes)

    def summary(self) -> str:
        """Return the number of differences of each kind, in one line.

        >>> Fit(unused=[("fc9", "InnerProduct")]).summary()
        '0 layers without weights, 1 only in the file, 0 do not fit, 0 of another type or with other parameters'
        """
        others = {name for name, _ in self.types} | {name for name, _ in self.parameters}
        return (
            f"{number_text(self.without_weights, 'layer')} without weights, {len(self.unused)} only in the file, "
            f"{len(self.misfits)} do not fit, {len(others)} of another type or with other parameters"
        )

    def __str__(self) -> str:
        return "\n".join(self.lines())


def fit(net: Net, path: str | Path) -> Fit:
    """Compare a net with the weights in a file, and with the definition there if it is a `.caffemodel`.

    Args:
        net: the net; its own weights do not matter.
        path: a `.caffemodel`, `.caffemodel.h5`, `.pth` or `.safetensors`.

    Raises:
        NetError: shapes of the net are unknown.
        WeightsError: the file is damaged.
    """
    net.require_shapes()
    content = read_content(path)
    result = Fit()
    ops = {op.layer.name: op for op in net.ops}
    shapes = {name: [blob.shape for blob in op.blobs] for name, op in ops.items() if op.blobs}
    entries, unused = _entries(net, content)
    for name, kind, blobs in entries:
        if name not in ops:
            result.unused.append((name, kind))
            continue
        expected = shapes.get(name, [])
        shared = [(name, i) in net.shared_blobs for i in range(len(expected))]
        count = len(blobs) if not all(shared[len(blobs) :]) else len(expected)
        if count != len(expected) or any(core_shape(a) != core_shape(b) for a, b in zip(expected, blobs)):
            result.misfits.append(Misfit(name, ops[name].layer.type, expected, blobs))
        if kind and kind != ops[name].layer.type:
            result.types.append((name, Change("type", ops[name].layer.type, kind)))
    result.unused += [(key, "") for key in unused]
    held = {name for name, _, _ in entries}
    own = {name for name in shapes if all((name, i) in net.shared_blobs for i in range(len(shapes[name])))}
    result.without_weights = [(name, ops[name].layer.type) for name in shapes if name not in held | own]
    result.renamed = _renamed(result, shapes, {name: blobs for name, _, blobs in entries})
    if content.state is None:
        result.parameters = _parameters(net, path)
    return result


def _entries(net: Net, content: Content) -> tuple[list[tuple[str, str, list[Shape]]], list[str]]:
    """Name, type and shapes of the layers with weights in a file, and the keys of a state dict that are not the net's."""
    layers, unused = content.layers, list[str]()
    if content.state is not None:
        from ..graph.state_dict import match

        layers, unused = match(content.state, net.ops, net.shared_blobs, content.source)
    return [
        (entry.name, entry.type, [tuple(blob.shape) for blob in entry.blobs if blob is not None])
        for entry in layers
        if entry.blobs
    ], list(unused)


def _renamed(result: Fit, shapes: dict[str, list[Shape]], held: dict[str, list[Shape]]) -> dict[str, str]:
    renamed: dict[str, str] = {}
    for name, _ in result.unused:
        blobs = [core_shape(shape) for shape in held.get(name, [])]
        free = [layer for layer, _ in result.without_weights if layer not in renamed.values()]
        fitting = [layer for layer in free if blobs == [core_shape(shape) for shape in shapes[layer]]]
        match = nearest(name, fitting, cutoff=0) if blobs else None
        if match is not None:
            renamed[name] = match
    return renamed


def _parameters(net: Net, path: str | Path) -> list[tuple[str, list[Change]]]:
    """Parameters that layers of one name have otherwise in the definition in a file, if it holds one."""
    from ..weights import definition

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProtogenWarning)
        try:
            there = {layer.get("name", ""): layer for layer in definition.read(os.fspath(path)).layer}
        except ProtogenError:
            return []
    result = []
    for layer in net.layers:
        other = there.get(layer.name)
        if other is not None and layer.bottoms and layer.type == other.get("type", ""):
            changes = _matter(layer.message, other)
            if changes:
                result.append((layer.name, changes))
    return result


def _matter(message: Message, other: Message) -> list[Change]:
    changes: Sequence[Change] = list(field_changes(message, other, "", _TRAINING))
    return [
        change
        for change in changes
        if not change.what.startswith(_TRAINING_PATHS) and "filler" not in change.what and not change.what.endswith(".engine")
    ]


def _shapes(shapes: Sequence[Shape]) -> str:
    return f"[{', '.join(map(shape_text, shapes))}]"
