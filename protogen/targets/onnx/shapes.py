"""Dynamic dimensions of ONNX models, and the check that a graph's ONNX form does not depend on the image size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from ...errors import ConversionError, LayerError, ProtogenError

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from ...graph.graph import Graph, Value
    from ...layers.base import Shape
    from .emit import Emitted, Emitter
    from .options import OnnxOptions

T = TypeVar("T")
Dimension = int | str | None
Shapes = dict["Value", "Shape"]
LARGER = (32, 64)  # rows and columns added; nets that downsample and upsample need multiples of up to 32
SQUARE = (64, 64)  # for nets that only take square images (YOLO)
FURTHER = (4, 32)  # multiples of these, because the last maps of a detector hardly grow with the image
ODD = ((1, 2), (5, 3), (14, 27))  # for nets that take any size
_MAX_LISTED = 3  # layers in a message


def dimensions(graph: Graph, options: OnnxOptions) -> dict[Value, list[Dimension]]:
    """Return the shapes of values in the model; a data-dependent dimension (such as the number of detections) is None.

    With a dynamic batch or size, a dimension equal to the inputs' is "N", "H" or "W", and one that merely depends on it is None.
    For a net that only takes square images, both height and width are "H".

    Raises:
        ConversionError: the net does not support another batch, or another size.
    """
    same = {"N": 0, "H": 0, "W": 0}
    # Shapes at different input sizes, with the growth of the inputs' dimensions.
    variants: list[tuple[dict[str, int], Shapes]] = [(same, {value: value.shape for value in graph.values})]
    if any(node.op.dynamic_rows is not None for node in graph.nodes):
        variants.append((same, _grown(graph, rows=1)))
    if options.dynamic_batch:
        variants.append(({**same, "N": 1}, _tried("batch", "--dynamic-batch", lambda: _grown(graph, batch=1))))
    if options.dynamic_size:
        sizes = _tried("size", "--dynamic-size", lambda: _other_sizes(graph))
        variants += [({"N": 0, "H": by[0], "W": by[1]}, shapes) for by, shapes in sizes.items()]
    symbols = _symbols(graph)

    def dimension(*sizes: int) -> Dimension:
        if len(set(sizes)) == 1:
            return sizes[0]
        for name, size in symbols.items():
            if list(sizes) == [size + grew[name] for grew, _ in variants]:
                return name
        return None

    return {value: [dimension(*sizes) for sizes in zip(*(shapes[value] for _, shapes in variants))] for value in graph.values}


def _tried(what: str, flag: str, grow: Callable[[], T]) -> T:
    try:
        return grow()
    except ProtogenError as error:
        raise ConversionError(f"the {what} cannot be dynamic ({flag}): with another {what} {_kind(what)}{error}") from error


def _kind(what: str) -> str:
    return "size, " if what == "batch" else "of the image, "


def _symbols(graph: Graph) -> dict[str, int]:
    """Return the dynamic dimensions that all inputs share, by name, with their current size."""
    shapes = [value.shape for value in graph.inputs if value.shape]
    images = [value.shape for value in _images(graph)]
    sizes = {"N": {shape[0] for shape in shapes}, "H": {shape[2] for shape in images}, "W": {shape[3] for shape in images}}
    return {name: min(different) for name, different in sizes.items() if len(different) == 1}


def _grown(graph: Graph, batch: int = 0, rows: int = 0, size: Sequence[int] = (0, 0)) -> Shapes:
    """Return the shapes of all values at larger inputs.

    Args:
        graph: the graph.
        batch: items added to each input.
        rows: rows added to values with data-dependent rows.
        size: rows and columns added to each image.

    Raises:
        ConversionError: with another batch, a layer has other weights.
    """
    larger = {value: (shape[0] + batch, *shape[1:]) if shape else shape for value, shape in enlarged(graph, size).items()}
    shapes: Shapes = {}
    for node in graph.nodes:
        if not node.inputs:
            shapes.update((value, larger.get(value, value.shape)) for value in node.outputs)
            continue
        op = node.op.at([shapes[value] for value in node.inputs])
        if batch and [blob.shape for blob in op.blobs] != [blob.shape for blob in node.op.blobs]:
            raise ConversionError(f"layer {op.layer.name!r} ({op.layer.type}) has weights of other shapes")
        axis = op.dynamic_rows
        tops = op.tops if axis is None else [(*top[:axis], top[axis] + rows, *top[axis + 1 :]) for top in op.tops]
        shapes.update(zip(node.outputs, tops))
    return shapes


def _other_sizes(graph: Graph) -> dict[tuple[int, int], Shapes]:
    """Return the shapes of all values at larger images, by the rows and columns added, for the sizes that the net supports."""
    first = growth(graph)
    sizes = {first: _grown(graph, size=first)}
    for by in (*((first[0] * times, first[1] * times) for times in FURTHER), *ODD):
        with suppress(ProtogenError):
            sizes[by] = _grown(graph, size=by)
    return sizes


def growth(graph: Graph) -> tuple[int, int]:
    """Return the rows and columns to add to images for a trial: `LARGER`, or `SQUARE` if the net does not support that."""
    for by in (LARGER, SQUARE):
        with suppress(ProtogenError):
            _grown(graph, size=by)
            return by
    return LARGER


def enlarged(graph: Graph, by: Sequence[int]) -> Shapes:
    """Return the shapes of the inputs with `by` rows and columns added to the images."""
    images = _images(graph)
    return {
        value: (*value.shape[:2], value.shape[2] + by[0], value.shape[3] + by[1]) if value in images else value.shape
        for value in graph.inputs
    }


def _images(graph: Graph) -> list[Value]:
    """Return the inputs with height and width; (N, C, 1, 1), such as regions (R, 5, 1, 1), only if there are no others."""
    four = [value for value in graph.inputs if len(value.shape) == 4]
    return [value for value in four if value.shape[2:] != (1, 1)] or four


def require_size_free(emitter: Emitter) -> None:
    """Check that a graph's ONNX form does not depend on the image size, by comparing the forms at several sizes.

    Args:
        emitter: the emitter of the graph.

    Raises:
        ConversionError: names the first layers that differ.
    """
    graph = emitter.graph
    if not _images(graph):
        raise ConversionError("the size cannot be dynamic (--dynamic-size): no input has height and width (4 axes)")
    first = growth(graph)
    for by in (first, *ODD):
        try:
            twin = graph.at(enlarged(graph, by))
        except LayerError:
            if by == first:
                raise
            continue  # the net does not support this size
        different = [
            f"layer {a.op.layer.name!r} ({a.op.layer.type}): its weights depend on the size"
            for a, b in zip(graph.nodes, twin.nodes)
            if [blob.shape for blob in a.op.blobs] != [blob.shape for blob in b.op.blobs]
        ] or _different(emitter, emitter.like(twin))
        if different:
            more = len(different) - _MAX_LISTED
            listed = [*different[:_MAX_LISTED], *([f"and {more} more"] if more > 0 else [])]
            raise ConversionError("the size cannot be dynamic (--dynamic-size):", *(f"  {line}" for line in listed))


def _different(a: Emitter, b: Emitter) -> list[str]:
    used = {name for node in a.onnx.nodes for name in node.input} | set(a.names.values())
    return [
        f"layer {one.op.layer.name!r} ({one.op.layer.type}): its ONNX form depends on the size"
        for one, other in zip(a.emitted, b.emitted)
        if not (_same_nodes(a, one, b, other) and _same_constants(a, one, b, other, used))
    ]


def _same_nodes(a: Emitter, one: Emitted, b: Emitter, other: Emitted) -> bool:
    def serialized(nodes: Sequence[onnx.NodeProto]) -> list[bytes]:
        return [node.SerializeToString(deterministic=True) for node in nodes]

    return serialized(a.onnx.nodes[one.nodes]) == serialized(b.onnx.nodes[other.nodes])


def _same_constants(a: Emitter, one: Emitted, b: Emitter, other: Emitted, used: set[str]) -> bool:
    names = [name for name in one.initializers if name in used]
    if any(name not in other.initializers for name in names):
        return False
    return all(_equal(a.onnx.initializers[name], b.onnx.initializers[name]) for name in names)


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    import numpy as np

    return a.shape == b.shape and a.dtype == b.dtype and (np.shares_memory(a, b) or a.tobytes() == b.tobytes())
