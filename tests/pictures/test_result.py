"""What outputs are taken for, and what is read from them."""

from __future__ import annotations

import numpy as np
import pytest

import protogen
from protogen.errors import ProtogenError
from protogen.pictures.forward import run
from protogen.pictures.result import Result
from tests.pictures.files import colours

DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }\n'


def step(name: str, kind: str, bottom: str, more: str = "") -> str:
    return f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{name}" {more} }}\n'


FC = step("fc", "InnerProduct", "data", 'inner_product_param { num_output: 4 weight_filler { type: "xavier" } }')


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        (FC + step("prob", "Softmax", "fc"), {"prob": "classes"}),
        (FC + step("p", "Softmax", "fc") + step("flat", "Flatten", "p"), {"flat": "classes"}),
        (FC + step("embedding", "ReLU", "fc"), {"embedding": "numbers"}),
        (
            step("r", "Reshape", "data", "reshape_param { shape { dim: 64 dim: 3 } }") + step("p", "Softmax", "r"),
            {"p": "numbers"},
        ),
        (step("edges", "Sigmoid", "data"), {"edges": "maps"}),
        (step("p", "Softmax", "data"), {"p": "maps"}),
        (step("gap", "Pooling", "data", "pooling_param { global_pooling: true }"), {"gap": "numbers"}),
        (FC + step("prob", "Softmax", "fc") + step("edges", "Sigmoid", "data"), {"prob": "classes", "edges": "maps"}),
    ],
)
def test_kinds(text: str, kinds: dict[str, str]) -> None:
    assert run(protogen.loads(DATA + text).fill(), colours()).kinds == kinds


def test_classes_are_those_of_the_highest_scores() -> None:
    scores = np.array([[0.1, 0.4, 0.1, 0.3, 0.1]], np.float32)
    result = Result({"prob": scores}, {"prob": "classes"}, colours(), dict(enumerate("abcde")))
    assert [(row.number, row.label) for row in result.classes(3)] == [(1, "b"), (3, "d"), (0, "a")]
    assert result.classes(1)[0].score == pytest.approx(0.4)
    assert len(result.classes(100)) == 5
    with pytest.raises(ProtogenError, match=r"no output has detections .'prob': classes."):
        result.detections()
    with pytest.raises(ProtogenError, match="no output 'prb'; did you mean 'prob'"):
        result.classes(name="prb")


def rows(*values: tuple[float, ...]) -> np.ndarray:
    return np.array(values, np.float32).reshape(1, 1, -1, 7)


def test_detections_are_in_pixels_of_the_whole_picture() -> None:
    found = rows((0, 2, 0.5, 0, 0, 1, 1), (0, 1, 0.9, 0.25, 0.5, 0.5, 1.0), (0, 1, 0.1, 0, 0, 1, 1), (1, 1, 0.8, 0, 0, 1, 1))
    result = Result({"out": found}, {"out": "detections"}, colours(24, 32), {1: "cat", 2: "dog"})
    best, second = result.detections(0.3)
    assert (best.label, best[2:6]) == ("cat", (8, 12, 16, 24))
    assert (second.label, second[2:6]) == ("dog", (0, 0, 32, 24))
    cropped = Result({"out": found}, {"out": "detections"}, colours(24, 32), seen=(0.25, 0.0, 0.5, 1.0))
    assert cropped.detections(0.6)[0][2:6] == (12, 12, 16, 24), "the net saw the middle half of the width"
    with pytest.raises(ProtogenError, match="name 1 classes, but output 'out' has class 2"):
        Result({"out": found}, {"out": "detections"}, colours(), {1: "cat"}).detections()


def test_no_detections() -> None:
    nothing = rows((0, -1, -1, -1, -1, -1, -1), (0, 1, float("nan"), 0, 0, 1, 1))
    assert Result({"out": nothing}, {"out": "detections"}, colours()).detections() == []


def test_class_maps() -> None:
    maps = np.zeros((1, 3, 2, 2), np.float32)
    maps[0, 2, 0, 1] = maps[0, 1, 1, 0] = 1
    result = Result({"score": maps, "fc": np.zeros((1, 5))}, {"score": "maps", "fc": "numbers"}, colours())
    assert result.class_map().tolist() == [[0, 2], [1, 0]]
    with pytest.raises(ProtogenError, match="is no map"):
        result.maps("fc")


@pytest.mark.parametrize("label", [np.nan, np.inf])
def test_a_class_that_is_no_number_is_refused(label: float) -> None:
    rows = np.array([[0, label, 0.9, 0, 0, 1, 1]], np.float32)
    with pytest.raises(ProtogenError, match=f"'out' has a detection whose class is {label}"):
        Result({"out": rows}, {"out": "detections"}, np.zeros((2, 2, 3))).detections()
