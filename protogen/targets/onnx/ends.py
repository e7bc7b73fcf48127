"""Inputs and outputs of a written ONNX file, read without its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...weights.files import map_file
from ...weights.wire import Wire

_MODEL_GRAPH, _GRAPH_INPUT, _GRAPH_OUTPUT = 7, 11, 12  # field numbers: onnx/onnx.proto


def ends_of(path: Path) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Return the shapes of a model's inputs and of its outputs, by name; open axes are names ("N").

    Args:
        path: the file, which may be larger than memory: only these entries are read.

    Raises:
        WeightsError: the file cannot be read, or is not an ONNX model.
    """
    from onnx import ValueInfoProto

    wire = Wire(map_file(path), str(path))
    ends: dict[int, dict[str, list[Any]]] = {_GRAPH_INPUT: {}, _GRAPH_OUTPUT: {}}
    for graph in (field for field in wire.fields() if field.number == _MODEL_GRAPH):
        for field in wire.fields(graph.start, graph.end):
            if field.number in ends:
                info = ValueInfoProto.FromString(wire.buffer[field.start : field.end])
                dims = info.type.tensor_type.shape.dim
                ends[field.number][info.name] = [dim.dim_param or dim.dim_value for dim in dims]
    return ends[_GRAPH_INPUT], ends[_GRAPH_OUTPUT]
