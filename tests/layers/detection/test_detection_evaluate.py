"""DetectionEvaluate: which detections are true, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import LayerError
from tests.layers.alone import Alone
from tests.layers.nets import net_of

EVALUATE = 'type: "DetectionEvaluate" bottom: "a" bottom: "b" top: "y" detection_evaluate_param { %s }'


def evaluate(param: str, found: list[list[float]], truth: list[list[float]]) -> list[list[float]]:
    net = net_of(EVALUATE % param, (1, 1, len(found), 7), (1, 1, len(truth), 8))
    assert net.shapes["y"] == (1, 1, net.ops[-1].param.num_classes - 1 + len(found), 5)
    y = net.to_torch()(torch.tensor([[found]]), torch.tensor([[truth]]))
    return [[round(value, 3) for value in row] for row in y[0, 0].tolist()]


def test_detections_are_true_once_and_false_otherwise() -> None:
    box, near, far = [0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.55], [0.6, 0.6, 0.9, 0.9]
    found = [[0, 1, 0.5, *near], [0, 1, 0.75, *box], [0, 1, 0.25, *far], [0, 2, 0.5, *box], [1, 1, 0.5, *box]]
    found.append([-1, -1, 0, 0, 0, 0, 0])
    truth = [[0, 1, 0, *box, 0], [1, 1, 0, *far, 0], [-1, 0, 0, 0, 0, 0, 0, 0]]
    assert evaluate("num_classes: 3", found, truth) == [
        [-1, 1, 2, -1, -1],
        [-1, 2, 0, -1, -1],
        [0, 1, 0.75, 1, 0],  # the higher score takes the box
        [0, 1, 0.5, 0, 1],
        [0, 1, 0.25, 0, 1],
        [0, 2, 0.5, 0, 1],  # no box of this class
        [1, 1, 0.5, 0, 1],  # no overlap
    ]


def test_difficult_boxes_count_neither_way_if_asked() -> None:
    box = [0.1, 0.1, 0.5, 0.5]
    found, truth = [[0, 1, 0.5, *box]], [[0, 1, 0, *box, 1]]
    assert evaluate("num_classes: 2 evaluate_difficult_gt: false", found, truth) == [[-1, 1, 0, -1, -1], [0, 1, 0.5, 0, 0]]
    assert evaluate("num_classes: 2", found, truth)[1] == [0, 1, 0.5, 1, 0]


@pytest.mark.parametrize(
    ("param", "shape", "message"),
    [
        ("", (1, 1, 4, 7), "num_classes"),
        ("num_classes: 2 overlap_threshold: 0", (1, 1, 4, 7), "overlap_threshold"),
        ("num_classes: 2", (1, 1, 4, 6), r"detections must have the shape \(1, 1, rows, 7\)"),
    ],
)
def test_detection_evaluate_refuses(param: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(LayerError, match=message):
        net_of(EVALUATE % param, shape, (1, 1, 3, 8))


@pytest.mark.parametrize(("background", "labels"), [(0, [1, 2]), (1, [0, 2])])
def test_the_background_has_no_boxes_to_find(background: int, labels: list[int]) -> None:
    rows = evaluate(f"num_classes: 3 background_label_id: {background}", [[-1] * 7], [[-1] * 8])
    assert [row[1] for row in rows[:2]] == labels


@pytest.mark.parametrize(("threshold", "hit"), [(0.6, 1), (0.9, 0)])
def test_overlap_threshold_decides_what_is_true(threshold: float, hit: int) -> None:
    found, truth = [[0, 1, 0.5, 0.1, 0.1, 0.5, 0.5]], [[0, 1, 0, 0.1, 0.1, 0.5, 0.6, 0]]  # they overlap by 0.8
    assert evaluate(f"num_classes: 2 overlap_threshold: {threshold}", found, truth)[1][3:] == [hit, 1 - hit]


def test_comparing_pixels_is_refused() -> None:
    net = net_of(EVALUATE % 'num_classes: 2 name_size_file: "sizes.txt"', (1, 1, 1, 7), (1, 1, 1, 8))
    with pytest.raises(protogen.ProtogenError, match=r"name_size_file is not computed"):
        net.to_torch()


# Two detections, of classes 1 and 2: the first overlaps a difficult box by 0.8, the second is one that is not difficult.
SEEN = [[0, 1, 0.75, 0.1, 0.1, 0.5, 0.5], [0, 2, 0.5, 0.6, 0.6, 0.9, 0.9]]
TRUTH = [[0, 1, 0, 0.1, 0.1, 0.5, 0.6, 1], [0, 2, 0, 0.6, 0.6, 0.9, 0.9, 0]]


def row(field: str, value: float, others: str, per_class: list[list[int]], first: list[int]) -> Alone:
    """Boxes to find of each class, and whether the first detection is true and false; the second is always true."""
    rows = [[-1, label, number, -1, -1] for label, number in per_class] + [[0, 1, 0.75, *first], [0, 2, 0.5, 1, 0]]
    text = f'bottom: "a" bottom: "b" top: "y" detection_evaluate_param {{ {others} }}'
    return Alone(
        "DetectionEvaluate", f"detection_evaluate_param.{field}", value, text, [(1, 1, 2, 7), (1, 1, 2, 8)],
        lambda net, values: [np.float32([[rows]])], lambda: [np.float32([[SEEN]]), np.float32([[TRUTH]])],
    )  # fmt: skip


ALONE = [
    row("num_classes", 4, "num_classes: 3", [[1, 1], [2, 1], [3, 0]], [1, 0]),
    row("background_label_id", 3, "num_classes: 4", [[0, 0], [1, 1], [2, 1]], [1, 0]),
    row("overlap_threshold", 0.875, "num_classes: 3", [[1, 1], [2, 1]], [0, 1]),
    row("evaluate_difficult_gt", False, "num_classes: 3", [[1, 0], [2, 1]], [0, 0]),
]
