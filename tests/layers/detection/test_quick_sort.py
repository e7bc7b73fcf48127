"""The quick sort of the C++ layer Proposal, swap by swap as its `sort_box` is written, against the forms that swap in one go."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from protogen.layers.detection.quick_sort import onnx_quick_order, quick_order
from protogen.layers.forms.onnx_graph import OnnxGraph
from tests.running import NEWEST, model_of, session

List = list[tuple[float, int]]


def sort_box(boxes: List, start: int, end: int, top: int) -> None:
    """proposal_layer.cpp, on (score, where it was)."""
    pivot, left, right = boxes[start][0], start + 1, end
    while left <= right:
        while left <= end and boxes[left][0] >= pivot:
            left += 1
        while right > start and boxes[right][0] <= pivot:
            right -= 1
        if left <= right:
            boxes[left], boxes[right] = boxes[right], boxes[left]
            left, right = left + 1, right - 1
    if right > start:
        boxes[start], boxes[right] = boxes[right], boxes[start]
    if start < right - 1:
        sort_box(boxes, start, right - 1, top)
    if right + 1 < top and right + 1 < end:
        sort_box(boxes, right + 1, end, top)


def sorted_by_caffe(scores: np.ndarray, count: int) -> np.ndarray:
    """Where the best of each row are."""
    rows = []
    for row in scores:
        boxes = [(float(score), place) for place, score in enumerate(row)]
        sort_box(boxes, 0, len(boxes) - 1, count)
        rows.append([place for _, place in boxes[:count]])
    return np.array(rows)


def model(count: int, opset: int, total: int | None = None) -> onnxruntime.InferenceSession:
    """From scores (N, total) to the places of the best; `total` may be open."""
    graph = OnnxGraph(opset, dynamic_batch=True, dynamic_size=total is None)
    graph.layer = "op"
    graph.reserve(["scores"])
    # Sizes are open from axis 2 on.
    size = total if total is not None else graph.dim(graph.unsqueeze("scores", [1]), 2, 0)
    order = onnx_quick_order(graph, "scores", size, graph.at_most(size, count))
    made = model_of(graph, {"scores": [None, total]}, {order: [None, None]}, np.int64)
    onnx.checker.check_model(made, full_check=True)
    return session(made)


def lists(rng: np.random.Generator, rows: int, total: int) -> list[np.ndarray]:
    """Scores of which few or many are equal, all of them, or none."""
    different = rng.random((rows, total))
    made = [rng.integers(0, n, (rows, total)) / 8 for n in (1, 2, 5, 20)]
    made += [different * (rng.random((rows, total)) < share) for share in (0.2, 0.7, 0.95)]
    made += [
        different,
        np.sort(different),
        np.sort(rng.integers(0, 9, (rows, total)))[:, ::-1],
        different - 0.5 * (different < 0.3),
    ]
    return [scores.astype(np.float32) for scores in made]


@pytest.mark.parametrize("total", [1, 2, 3, 17, 60])
@pytest.mark.parametrize("count", [1, 2, 9, 25, 100])
def test_the_order_is_that_of_caffes_swaps(total: int, count: int) -> None:
    rng, any_size = np.random.default_rng(total * count), model(count, 17)
    fixed = model(min(total, count), 11, total)
    for scores in lists(rng, 3, total):
        expected = sorted_by_caffe(scores, count)
        np.testing.assert_array_equal(quick_order(torch.tensor(scores), count), expected)
        for made in (fixed, any_size):
            np.testing.assert_array_equal(made.run(None, {"scores": scores})[0] - np.arange(3)[:, None] * total, expected)


@pytest.mark.parametrize("opset", [11, 13, 18, NEWEST])
def test_other_opsets(opset: int) -> None:
    scores = np.random.default_rng(0).integers(0, 6, (2, 40)).astype(np.float32)
    made = model(30, opset, 40).run(None, {"scores": scores})[0]
    np.testing.assert_array_equal(made - np.arange(2)[:, None] * 40, sorted_by_caffe(scores, 30))


def test_equal_scores_do_change_places() -> None:
    """The reason for all this: a sort that keeps them in order gives other boxes."""
    scores = np.float32([[0.5, 0, 0.9, 0, 0.7, 0]])
    assert sorted_by_caffe(scores, 6).tolist() == [[2, 4, 0, 3, 1, 5]]
    assert np.argsort(-scores, kind="stable").tolist() == [[2, 4, 0, 1, 3, 5]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types(dtype: torch.dtype) -> None:
    scores = torch.tensor(np.random.default_rng(1).random((2, 50)) * 0.01).to(dtype)
    np.testing.assert_array_equal(quick_order(scores, 20), sorted_by_caffe(scores.double().numpy(), 20))


def test_what_is_no_number_ends_nowhere_but_ends() -> None:
    scores = np.float32([[0.5, np.nan, 0.5, 0, 0.2, 0, np.nan, 0.7]])
    for order in (model(8, 17, 8).run(None, {"scores": scores})[0], quick_order(torch.tensor(scores), 8).numpy()):
        assert sorted(order[0]) == list(range(8))
