"""A graph's PyTorch module as a file: a `torch.export` program, or a state dict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ...errors import ConversionError, ProtogenError
from ...files import replacing
from ...graph.fold import folded
from .convert import to_torch
from .options import ExportOptions, StateDictOptions

if TYPE_CHECKING:
    from ...graph.graph import Graph


def save_exported(graph: Graph, path: Path, options: ExportOptions) -> None:
    """Write the program that `torch.export.load` reads.

    Raises:
        ConversionError: layers without a PyTorch form, or a batch that cannot be left open.
    """
    open_batch = _open_batch(graph) if options.dynamic_batch else None
    module = to_torch(folded(graph) if options.fold and graph.phase == "TEST" else graph)
    example = tuple(torch.zeros(_example_shape(value.shape, options.dynamic_batch)) for value in graph.inputs)
    program = torch.export.export(module, example, dynamic_shapes=open_batch)
    # A file object: torch.export wants names to end in .pt2.
    with replacing(path) as temporary, open(temporary, "wb") as file:
        torch.export.save(program, file)


def _example_shape(shape: Sequence[int], dynamic_batch: bool) -> tuple[int, ...]:
    """Shape of an example input: torch.export takes a size of 1 for a constant, which an open batch is not."""
    return (max(2, shape[0]), *shape[1:]) if dynamic_batch and shape else tuple(shape)


def _open_batch(graph: Graph) -> tuple[tuple[dict[int, object], ...]]:
    try:
        graph.at({value: (value.shape[0] + 1, *value.shape[1:]) for value in graph.inputs if value.shape})
    except ProtogenError as error:
        raise ConversionError(f"the batch cannot be left open (--dynamic-batch): with another batch size, {error}") from error
    batch = torch.export.Dim("batch", min=1)
    return (tuple({0: batch} for _ in graph.inputs),)


def save_state_dict(graph: Graph, path: Path, options: StateDictOptions) -> None:
    """Write the module's state dict, as `torch.load(path, weights_only=True)` reads it.

    Raises:
        ConversionError: layers without a PyTorch form.
    """
    state = to_torch(folded(graph) if options.fold else graph).state_dict()
    with replacing(path) as temporary:
        torch.save(state, temporary)
