"""What is computed while a model is written: constants, to the bits that the model would make."""

from __future__ import annotations

import numpy as np
import pytest

from protogen.layers.forms.onnx_graph import OnnxGraph
from tests.running import NEWEST, model_of, run_model, session


def graph_of(opset: int = 17) -> OnnxGraph:
    graph = OnnxGraph(opset)
    graph.layer = "layer"
    return graph


def several(graph: OnnxGraph, x: str, y: str) -> list[str]:
    """One of every op that is computed with constants at once."""
    ops = [graph.add(op, x, other) for op in ("Add", "Sub", "Mul", "Div") for other in (y, graph.scalar(0.1))]
    cut = graph.slice(x, [1, -1], [2**62, -(2**62)], [0, 2], [2, -1])
    return [
        *ops, graph.add("Div", y, graph.scalar(0.0)), graph.add("Concat", x, x, axis=2), graph.transpose(x, [2, 0, 1]),
        *graph.split(x, [1, 3], 2), graph.split(x, [5], 0)[0], cut, graph.slice(x, [-4], [3], [0]),
    ]  # fmt: skip


@pytest.mark.parametrize("opset", [11, 13, NEWEST])
def test_constants_are_computed_to_the_bits_that_the_model_would_make(opset: int) -> None:
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(shape).astype(np.float32) * scale for shape, scale in (((5, 3, 4), 1e20), ((3, 1), 1e-25)))
    at_once, later = graph_of(opset), graph_of(opset)
    made = several(at_once, at_once.constant(x), at_once.constant(y))
    assert at_once.nodes == []
    model = model_of(later, {"x": None, "y": None}, dict.fromkeys(several(later, "x", "y")))
    for name, expected in zip(made, run_model(session(model, optimized=False), x, y).values()):
        array = at_once.initializers[name]
        assert array.dtype == expected.dtype
        assert array.flags.c_contiguous
        np.testing.assert_array_equal(array, expected)


def test_what_is_not_computed_at_once() -> None:
    graph = graph_of()
    constant, weight = graph.constant([1.0, 2.0]), graph.weight("other.weight", np.ones((2, 2), np.float32))
    numbers = graph.constant([-7], "int64")
    graph.transpose(weight, [1, 0])  # weights keep their name
    graph.add("Mul", weight, constant)
    graph.transpose(graph.reshape(weight, [4, 1]), [1, 0])
    graph.add("Exp", constant)  # its last bits differ
    graph.add("Div", numbers, graph.constant([2], "int64"))  # rounded to zero in ONNX
    graph.add("Add", constant, "x")
    assert [node.op_type for node in graph.nodes] == ["Transpose", "Mul", "Transpose", "Exp", "Div", "Add"]
