"""Pictures of results: where boxes are, and what colours mean."""

from __future__ import annotations

import numpy as np
import pytest

from protogen.errors import ProtogenNote
from protogen.pictures.draw import colour, drawn_detections, drawn_map
from protogen.pictures.result import Result


def test_colours_are_those_of_pascal_voc() -> None:
    assert [colour(number) for number in (0, 1, 2, 8, 15, 20)] == [
        (0, 0, 0), (128, 0, 0), (0, 128, 0), (64, 0, 0), (192, 128, 128), (0, 64, 128),
    ]  # fmt: skip
    assert len({colour(number) for number in range(256)}) == 256


def test_boxes_lie_on_their_objects() -> None:
    grey = np.full((100, 200, 3), 200.0, np.float32)
    found = np.array([[[[0, 1, 0.9, 0.5, 0.4, 0.9, 0.9], [0, 2, 0.2, 0, 0, 1, 1]]]], np.float32)
    for picture in (grey, grey[..., :1]):
        drawn = np.asarray(drawn_detections(Result({"out": found}, {"out": "detections"}, picture, {1: "cät, 猫", 2: "b"})))
        assert drawn.shape == (100, 200, 3)
        red = (drawn == (128, 0, 0)).all(2)
        assert red[60, 100] and red[60, 180] and red[90, 140] and not red[60, 140], "sides, but not the middle"
        assert (drawn[:, :90] == 200).all(), "nothing is drawn elsewhere"


def test_boxes_beyond_the_picture_and_upside_down_are_drawn_within() -> None:
    found = np.array([[[[0, 1, 0.9, 3.0, -1.0, -2.0, 9.0], [0, 1, 0.8, 0.9, 0.9, 0.2, 0.2]]]], np.float32)
    result = Result({"out": found}, {"out": "detections"}, np.zeros((20, 30, 3), np.float32))
    drawn = np.asarray(drawn_detections(result))
    assert (drawn[19, 10:20] == (128, 0, 0)).all()


def test_boxes_without_a_place_are_not_drawn_and_huge_ones_are_clipped() -> None:
    nan, inf = np.nan, np.inf
    rows = [[0, 1, 0.9, nan, 0, 1, 1], [0, 1, 0.8, 0, 0, inf, 1], [0, 1, 0.7, 0, -inf, 1, 1]]
    rows.append([0, 1, 0.6, -3e38, -3e38, 3e38, 0.5])
    picture = np.zeros((20, 30, 3), np.float32)
    result = Result({"out": np.array(rows, np.float32)}, {"out": "detections"}, picture)
    with pytest.warns(ProtogenNote, match="^3 of 4 detections are not drawn: sides of a box are infinite or NaN$") as caught:
        drawn = np.asarray(drawn_detections(result))
    assert len(caught) == 1
    assert (drawn[0, 29] == (128, 0, 0)).all() and (drawn[10, [0, 29]] == (128, 0, 0)).all()


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([-2.0, 0.0, 2.0], [0, 128, 255]),
        ([3.0, 3.0, 3.0], [0, 0, 0]),
        ([0, 0.2, 0.2], [0, 51, 51]),
    ],
)
def test_one_channel_is_grey(values: list[float], shown: list[int]) -> None:
    maps = np.array(values, np.float32).reshape(1, 1, 1, 3)
    assert np.asarray(drawn_map(Result({"y": maps}, {"y": "maps"}, np.zeros((1, 1, 3))), "y")).tolist() == [shown]


def test_several_channels_are_classes() -> None:
    maps = np.eye(3, dtype=np.float32).reshape(1, 3, 1, 3)
    drawn = drawn_map(Result({"y": maps}, {"y": "maps"}, np.zeros((1, 1, 3))), "y")
    assert np.asarray(drawn).tolist() == [[list(colour(number)) for number in range(3)]]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_map_of_nan_is_drawn_with_a_note(channels: int) -> None:
    maps = np.full((1, channels, 1, 3), np.nan, np.float32)
    with pytest.warns(ProtogenNote, match="at 3 of 3 positions of a map values are NaN"):
        drawn = np.asarray(drawn_map(Result({"y": maps}, {"y": "maps"}, np.zeros((1, 1, 3))), "y"))
    assert not drawn.any()


def test_infinite_values_are_as_grey_as_the_extremes() -> None:
    maps = np.array([-np.inf, -2, 0, 2, np.inf], np.float32).reshape(1, 1, 1, 5)
    assert np.asarray(drawn_map(Result({"y": maps}, {"y": "maps"}, np.zeros((1, 1, 3))), "y")).tolist() == [[0, 0, 128, 255, 255]]
