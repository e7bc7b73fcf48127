"""Write a graph's PyTorch module to a file, as a `torch.export` program or a state dict."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import torch

from ...errors import ConversionError, ProtogenError, ProtogenNote
from ...files import replacing
from ...graph.cut import ends_in_detections, warn_without_postprocess, without_postprocess
from ...graph.fold import folded
from ...graph.transforms import lost
from .convert import to_torch
from .options import ExportOptions, StateDictOptions

if TYPE_CHECKING:
    from ...graph.graph import Graph


def save_exported(graph: Graph, path: Path, options: ExportOptions) -> None:
    """Write a program for `torch.export.load`.

    Args:
        graph: the graph.
        path: the file to write.
        options: of the conversion.

    Raises:
        ConversionError: layers without a PyTorch form, or that `torch.export` cannot follow, or a net that does not support
            another batch size.
    """
    graph = _written_part(graph, options.postprocess)
    _require_exportable(graph)
    for transform in lost(graph):
        warnings.warn(f"{transform}: not part of the program", ProtogenNote, stacklevel=4)
    open_batch = _open_batch(graph) if options.dynamic_batch else None
    module = to_torch(folded(graph) if options.fold and graph.phase == "TEST" else graph)
    example = tuple(torch.zeros(_example_shape(value.shape, options.dynamic_batch)) for value in graph.inputs)
    try:
        program = torch.export.export(module, example, dynamic_shapes=open_batch)
    except Exception as error:  # of any kind, with pages of text
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConversionError(f"torch.export cannot follow this net: {reason}") from error
    # A file object, because torch.export requires file names to end in .pt2.
    with _writing(path) as file:
        torch.export.save(program, file)


def _written_part(graph: Graph, postprocess: bool) -> Graph:
    """Return the graph to write: without the detection layers at its end unless `postprocess`."""
    if postprocess:
        return graph
    warn_without_postprocess(graph)
    return without_postprocess(graph)


def _require_exportable(graph: Graph) -> None:
    """Refuse layers that `torch.export` is known not to follow, whose own report of that is a thousand lines long."""
    for op in (node.op for node in graph.nodes):
        if not op.is_exportable:
            can_be_cut = op.is_postprocess and ends_in_detections(graph)
            advice = "; --no-postprocess (postprocess=False) cuts it off" if can_be_cut else ""
            raise ConversionError(f"{op.label}: torch.export cannot follow it, as its steps depend on the data{advice}")


def _example_shape(shape: Sequence[int], dynamic_batch: bool) -> tuple[int, ...]:
    """Return the shape of an example input; with a dynamic batch at least 2, because torch.export specialises on 1."""
    return (max(2, shape[0]), *shape[1:]) if dynamic_batch and shape else tuple(shape)


def _open_batch(graph: Graph) -> tuple[tuple[dict[int, object], ...]]:
    try:
        graph.at({value: (value.shape[0] + 1, *value.shape[1:]) for value in graph.inputs if value.shape})
    except ProtogenError as error:
        raise ConversionError(f"the batch cannot be dynamic (--dynamic-batch): with another batch size, {error}") from error
    batch = torch.export.Dim("batch", min=1)
    return (tuple({0: batch} for _ in graph.inputs),)


def save_state_dict(graph: Graph, path: Path, options: StateDictOptions) -> None:
    """Write the module's state dict, for `torch.load(path, weights_only=True)`.

    Args:
        graph: the graph.
        path: the file to write.
        options: of the conversion.

    Raises:
        ConversionError: layers without a PyTorch form.
    """
    graph = _written_part(graph, options.postprocess)
    state = to_torch(folded(graph) if options.fold else graph).state_dict()
    with _writing(path) as file:
        torch.save(state, file)


class _Sink(io.BufferedWriter):
    """A file whose first error is kept for later: PyTorch's writers abort the process if `write` raises (disk full)."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write bytes, unless a write has failed."""
        if self.error is None:
            try:
                return super().write(data)
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes


@contextmanager
def _writing(path: Path) -> Iterator[BinaryIO]:
    """Yield a file object for PyTorch that becomes `path` if everything is written.

    Raises:
        ProtogenError: as `replacing`.
    """
    with replacing(path) as temporary, _Sink(io.FileIO(temporary, "w")) as file:
        yield file
        if file.error is not None:
            raise file.error
