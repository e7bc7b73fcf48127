"""Shapes as an ONNX model states them, and whether a net's form is the same for images of every size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..errors import ConversionError, LayerError, ProtogenError

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from ..layers.base import Shape
    from ..net import Net
    from .onnx import Emitted, Emitter
    from .onnx_options import OnnxOptions

Dimension = int | str | None
LARGER = (32, 64)  # rows and columns; nets that halve and double the image again want multiples of up to 32
ODD = ((1, 2), (5, 3), (14, 27))  # nets that take any size must be the same at these, too
_NAMED = 3  # layers that a message lists


def dimensions(net: Net, options: OnnxOptions) -> dict[str, list[Dimension]]:
    """Blob shapes as the model states them: None where a size follows from the data (boxes found, say).

    With an open batch or size, "N", "H" and "W" where a dimension is that of the inputs, and None where it only follows it.

    Raises:
        ConversionError: the net does not work with another batch, or another size.
    """
    grown = {"rows": net.shapes, "N": net.shapes, "H": net.shapes}
    if any(op.dynamic_rows is not None for op in net.ops):
        grown["rows"] = _grown(net, rows=1)
    if options.dynamic_batch:
        grown["N"] = _tried("batch", "--dynamic-batch", lambda: _grown(net, batch=1))
    if options.dynamic_size:
        grown["H"] = _tried("size", "--dynamic-size", lambda: _grown(net, size=LARGER))
    symbols = _symbols(net)

    def stated(a: int, rows: int, items: int, sized: int) -> Dimension:
        if a == rows == items == sized:
            return a
        grew = {"N": (1, 0), "H": (0, LARGER[0]), "W": (0, LARGER[1])}
        for name, size in symbols.items():
            if a == rows == size and (items - a, sized - a) == grew[name]:
                return name
        return None

    return {
        blob: [stated(*sizes) for sizes in zip(shape, *(shapes[blob] for shapes in grown.values()))]
        for blob, shape in net.shapes.items()
    }


def _tried(what: str, flag: str, grow: Callable[[], dict[str, Shape]]) -> dict[str, Shape]:
    try:
        return grow()
    except ProtogenError as error:
        raise ConversionError(f"the {what} cannot be left open ({flag}): with another {what} {_kind(what)}{error}") from error


def _kind(what: str) -> str:
    return "size, " if what == "batch" else "of the image, "


def _symbols(net: Net) -> dict[str, int]:
    """Names of open dimensions that are the same for all inputs, with their size as given."""
    shapes = [net.shapes[name] for name in net.inputs if net.shapes[name]]
    images = [shape for shape in shapes if len(shape) == 4]
    sizes = {"N": {shape[0] for shape in shapes}, "H": {shape[2] for shape in images}, "W": {shape[3] for shape in images}}
    return {name: min(found) for name, found in sizes.items() if len(found) == 1}


def _grown(net: Net, batch: int = 0, rows: int = 0, size: Sequence[int] = (0, 0)) -> dict[str, Shape]:
    """Blob shapes with so many items more in each input, so many rows and columns more in each image, and so many rows more
    where the data tell how many there are."""
    shapes: dict[str, Shape] = {}
    for op in net.ops:
        if op.is_input:
            larger = enlarged(net, size)
            shapes.update({top: tuple(dim + batch * (i == 0) for i, dim in enumerate(larger[top])) for top in op.layer.tops})
            continue
        tops = type(op)(op.layer, [shapes[bottom] for bottom in op.layer.bottoms], net.phase).tops
        axis = op.dynamic_rows
        if axis is not None:
            tops = [(*top[:axis], top[axis] + rows, *top[axis + 1 :]) for top in tops]
        shapes.update(zip(op.layer.tops, tops))
    return shapes


def enlarged(net: Net, by: Sequence[int]) -> dict[str, Shape]:
    """Shapes of the inputs, those with 4 axes with so many rows and columns more."""
    shapes = {name: net.shapes[name] for name in net.inputs}
    return {
        name: (*shape[:2], shape[2] + by[0], shape[3] + by[1]) if len(shape) == 4 else shape for name, shape in shapes.items()
    }


def require_size_free(net: Net, emitter: Emitter) -> None:
    """Check that a net's ONNX form does not depend on the size of its images, by comparing it with that for other sizes.

    Args:
        net: the net that was emitted.
        emitter: what it was emitted with.

    Raises:
        ConversionError: it does; the first layers that differ are named.
    """
    if not any(len(net.shapes[name]) == 4 for name in net.inputs):
        raise ConversionError("the size cannot be left open (--dynamic-size): no input has height and width (4 axes)")
    for by in (LARGER, *ODD):
        try:
            twin = _resized(net, enlarged(net, by))
        except LayerError:
            if by == LARGER:
                raise
            continue  # a size that this net cannot take
        different = [
            f"layer {a.layer.name!r} ({a.layer.type}): its weights depend on the size"
            for a, b in zip(net.ops, twin.ops)
            if [blob.shape for blob in a.blobs] != [blob.shape for blob in b.blobs]
        ] or _different(emitter, _emitted_like(emitter, twin))
        if different:
            more = len(different) - _NAMED
            listed = "\n  ".join([*different[:_NAMED], *([f"and {more} more"] if more > 0 else [])])
            raise ConversionError(f"the size cannot be left open (--dynamic-size):\n  {listed}")


def _resized(net: Net, shapes: dict[str, Shape]) -> Net:
    from ..net import Net

    state = net.state
    return Net(net.definition, phase=net.phase, level=state.level, stages=state.stages, inputs=shapes, source=net.source)


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
