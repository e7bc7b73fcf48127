"""What layers emit into: names, constants, and helpers that hide the differences of opsets."""

from __future__ import annotations

import numpy as np
import pytest

from protogen.layers.forms.onnx_graph import MAX_COMPARED, OnnxGraph
from tests.running import NEWEST, model_of, run_model

X = np.array([[-2.5, -1.5, -0.5, 0.0], [0.5, 1.5, 2.4, 2.6]], np.float32)


def graph(opset: int = 17) -> OnnxGraph:
    made = OnnxGraph(opset)
    made.layer = "op"
    return made


def test_names_are_unique_across_nodes_and_values() -> None:
    g = graph()
    first, second = g.add("Relu", "x"), g.add("Relu", "x")
    assert first != second
    assert len({node.name for node in g.nodes}) == 2


def test_outputs_are_a_list_as_soon_as_their_number_is_given() -> None:
    g = graph()
    assert isinstance(g.add("TopK", "x", "k", outputs=2), list)
    assert [type(g.add("Loop", "x", outputs=1)), type(g.add("Relu", "x"))] == [list, str]


def test_equal_small_constants_are_stored_once_and_large_ones_as_they_come() -> None:
    g = graph()
    assert g.constant([1.0, 2.0]) == g.constant((1, 2))
    assert g.constant([1.0, 2.0]) != g.constant([1, 2], "int64")
    large = np.zeros(MAX_COMPARED + 1, np.float32)
    assert g.constant(large) != g.constant(large)


def test_weights_are_no_constants() -> None:
    g = graph()
    own, weight = g.own_array("boxes", X), g.weight("fc.weight", X)
    assert (own in g.constants, weight in g.constants) == (True, False)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_cast_to_every_type(dtype: str) -> None:
    g = graph()
    model = model_of(g, {"x": (2, 4)}, {g.cast("x", dtype): (2, 4)}, np.dtype(dtype).type)
    (y,) = run_model(model, X).values()
    assert y.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(y, X.astype(dtype))


def test_rounding_takes_halves_away_from_zero() -> None:
    g = graph()
    (y,) = run_model(model_of(g, {"x": (2, 4)}, {g.round_away("x"): (2, 4)}), X).values()
    np.testing.assert_array_equal(y, np.trunc(X + np.copysign(0.5, X)))


def test_positions_and_counts() -> None:
    g = graph()
    outputs = {g.positions("x"): (None,), g.count("x"): (None,)}
    places, numbers = run_model(model_of(g, {"x": (2, 4)}, outputs, np.int64), X).values()
    np.testing.assert_array_equal(places, np.flatnonzero(X))
    np.testing.assert_array_equal(numbers, [0, 1])


@pytest.mark.parametrize("opset", [11, 13, 18, NEWEST])
@pytest.mark.parametrize("kind", ["Sum", "Mean", "Max"])
def test_reductions_in_every_opset(opset: int, kind: str) -> None:
    g = graph(opset)
    (y,) = run_model(model_of(g, {"x": (2, 4)}, {g.reduce(kind, "x", [1]): (2, 1)}), X).values()
    np.testing.assert_allclose(y, getattr(X, kind.lower())(1, keepdims=True), rtol=1e-6)
