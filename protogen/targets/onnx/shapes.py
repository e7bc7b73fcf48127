"""Shapes as an ONNX model states them, and whether a net's form is the same for images of every size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from ...errors import ConversionError, LayerError, ProtogenError

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from ...layers.base import Shape
    from ...net import Net
    from .emit import Emitted, Emitter
    from .options import OnnxOptions

T = TypeVar("T")
Dimension = int | str | None
LARGER = (32, 64)  # rows and columns; nets that halve and double the image again want multiples of up to 32
SQUARE = (64, 64)  # for nets that take square images only (YOLO)
FURTHER = (4, 32)  # times as many rows and columns: the last maps of a detector hardly grow with the image
ODD = ((1, 2), (5, 3), (14, 27))  # nets that take any size must be the same at these, too
_NAMED = 3  # layers that a message lists


def dimensions(net: Net, options: OnnxOptions) -> dict[str, list[Dimension]]:
    """Blob shapes as the model states them: None where a size follows from the data (boxes found, say).

    With an open batch or size, "N", "H" and "W" where a dimension is that of the inputs, and None where it only follows it. Of a
    net that takes square images only, both height and width are "H".

    Raises:
        ConversionError: the net does not work with another batch, or another size.
    """
    same = {"N": 0, "H": 0, "W": 0}
    variants = [(same, net.shapes)]  # shapes, and by how much the inputs' dimensions were made larger for them
    if any(op.dynamic_rows is not None for op in net.ops):
        variants.append((same, _grown(net, rows=1)))
    if options.dynamic_batch:
        variants.append(({**same, "N": 1}, _tried("batch", "--dynamic-batch", lambda: _grown(net, batch=1))))
    if options.dynamic_size:
        sizes = _tried("size", "--dynamic-size", lambda: _other_sizes(net))
        variants += [({"N": 0, "H": by[0], "W": by[1]}, shapes) for by, shapes in sizes.items()]
    symbols = _symbols(net)

    def stated(*sizes: int) -> Dimension:
        if len(set(sizes)) == 1:
            return sizes[0]
        for name, size in symbols.items():
            if list(sizes) == [size + grew[name] for grew, _ in variants]:
                return name
        return None

    return {blob: [stated(*sizes) for sizes in zip(*(shapes[blob] for _, shapes in variants))] for blob in net.shapes}


def _tried(what: str, flag: str, grow: Callable[[], T]) -> T:
    try:
        return grow()
    except ProtogenError as error:
        raise ConversionError(f"the {what} cannot be left open ({flag}): with another {what} {_kind(what)}{error}") from error


def _kind(what: str) -> str:
    return "size, " if what == "batch" else "of the image, "


def _symbols(net: Net) -> dict[str, int]:
    """Names of open dimensions that are the same for all inputs, with their size as given."""
    shapes = [net.shapes[name] for name in net.inputs if net.shapes[name]]
    images = [net.shapes[name] for name in _images(net)]
    sizes = {"N": {shape[0] for shape in shapes}, "H": {shape[2] for shape in images}, "W": {shape[3] for shape in images}}
    return {name: min(found) for name, found in sizes.items() if len(found) == 1}


def _grown(net: Net, batch: int = 0, rows: int = 0, size: Sequence[int] = (0, 0)) -> dict[str, Shape]:
    """Blob shapes with so many items more in each input, so many rows and columns more in each image, and so many rows more
    where the data tell how many there are."""
    shapes: dict[str, Shape] = {}
    for op in net.ops:
        if op.fed_tops:
            larger = enlarged(net, size)
            fed = {top: tuple(dim + batch * (i == 0) for i, dim in enumerate(larger[top])) for top in op.fed_tops}
            shapes.update({**dict(zip(op.layer.tops, op.tops)), **fed})
            continue
        tops = type(op)(op.layer, [shapes[bottom] for bottom in op.layer.bottoms], net.phase).tops
        axis = op.dynamic_rows
        if axis is not None:
            tops = [(*top[:axis], top[axis] + rows, *top[axis + 1 :]) for top in tops]
        shapes.update(zip(op.layer.tops, tops))
    return shapes


def _other_sizes(net: Net) -> dict[tuple[int, int], dict[str, Shape]]:
    """Blob shapes for larger images, by how many rows and columns they have more: as many as the net takes of those to try."""
    first = growth(net)
    made = {first: _grown(net, size=first)}
    for by in (*((first[0] * times, first[1] * times) for times in FURTHER), *ODD):
        with suppress(ProtogenError):
            made[by] = _grown(net, size=by)
    return made


def growth(net: Net) -> tuple[int, int]:
    """By how many rows and columns images are made larger to try it: `LARGER`, or `SQUARE` where the net does not take that."""
    for by in (LARGER, SQUARE):
        with suppress(ProtogenError):
            _grown(net, size=by)
            return by
    return LARGER


def enlarged(net: Net, by: Sequence[int]) -> dict[str, Shape]:
    """Shapes of the inputs, the images with so many rows and columns more."""
    shapes, images = {name: net.shapes[name] for name in net.inputs}, _images(net)
    return {name: (*s[:2], s[2] + by[0], s[3] + by[1]) if name in images else s for name, s in shapes.items()}


def _images(net: Net) -> list[str]:
    """Inputs with height and width. Beside larger ones (N, C, 1, 1) is none: regions (R, 5, 1, 1), say."""
    found = [name for name in net.inputs if len(net.shapes[name]) == 4]
    return [name for name in found if net.shapes[name][2:] != (1, 1)] or found


def require_size_free(net: Net, emitter: Emitter) -> None:
    """Check that a net's ONNX form does not depend on the size of its images, by comparing it with that for other sizes.

    Args:
        net: the net that was emitted.
        emitter: what it was emitted with.

    Raises:
        ConversionError: it does; the first layers that differ are named.
    """
    if not _images(net):
        raise ConversionError("the size cannot be left open (--dynamic-size): no input has height and width (4 axes)")
    first = growth(net)
    for by in (first, *ODD):
        try:
            twin = net.at(inputs=enlarged(net, by), weights=False)
        except LayerError:
            if by == first:
                raise
            continue  # a size that this net cannot take
        different = [
            f"layer {a.layer.name!r} ({a.layer.type}): its weights depend on the size"
            for a, b in zip(net.ops, twin.ops)
            if [blob.shape for blob in a.blobs] != [blob.shape for blob in b.blobs]
        ] or _different(emitter, _emitted_like(emitter, twin))
        if different:
            more = len(different) - _NAMED
            listed = [*different[:_NAMED], *([f"and {more} more"] if more > 0 else [])]
            raise ConversionError("the size cannot be left open (--dynamic-size):", *(f"  {line}" for line in listed))


def _emitted_like(emitter: Emitter, twin: Net) -> Emitter:
    other = type(emitter)(twin, emitter.options, emitter.weights, emitter.dims)
    other.emit()
    return other


def _different(a: Emitter, b: Emitter) -> list[str]:
    used = {name for node in a.graph.nodes for name in node.input} | set(a.current.values())
    return [
        f"layer {one.op.layer.name!r} ({one.op.layer.type}): its form depends on the size"
        for one, other in zip(a.emitted, b.emitted)
        if not (_same_nodes(a, one, b, other) and _same_constants(a, one, b, other, used))
    ]


def _same_nodes(a: Emitter, one: Emitted, b: Emitter, other: Emitted) -> bool:
    def written(nodes: Sequence[onnx.NodeProto]) -> list[bytes]:
        return [node.SerializeToString(deterministic=True) for node in nodes]

    return written(a.graph.nodes[one.nodes]) == written(b.graph.nodes[other.nodes])


def _same_constants(a: Emitter, one: Emitted, b: Emitter, other: Emitted, used: set[str]) -> bool:
    names = [name for name in one.initializers if name in used]
    if any(name not in other.initializers for name in names):
        return False
    return all(_equal(a.graph.initializers[name], b.graph.initializers[name]) for name in names)


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    import numpy as np

    return a.shape == b.shape and a.dtype == b.dtype and (np.shares_memory(a, b) or a.tobytes() == b.tobytes())
