"""Results as text, JSON and files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from protogen.errors import ProtogenError
from protogen.pictures.result import Result
from protogen.pictures.show import as_dict, tables, write_pictures, write_values

PICTURE = np.zeros((10, 20, 3), np.float32)
FOUND = np.array([[[[0, 1, 0.9, 0, 0, 0.5, 1]]]], np.float32)
MAPS = np.zeros((1, 2, 2, 2), np.float32)
MAPS[0, 1, 0] = 1
RESULT = Result(
    {"prob": np.array([[0.25, 0.75]]), "boxes": FOUND, "score": MAPS, "edge": MAPS[:, 1:], "code": np.array([[1.0, 3.0, 5.0]])},
    {"prob": "classes", "boxes": "detections", "score": "maps", "edge": "maps", "code": "numbers"},
    PICTURE,
    {0: "cat", 1: "dog, hound"},
)


def test_text() -> None:
    shown = [(line, str(table).split() if table is not None else []) for line, table in tables(RESULT)]
    assert [line for line, _ in shown] == [
        "prob: the best of 2 classes", "boxes: 1 detection with a score of at least 0.5",
        "score: 1x2x2x2, the classes with the highest value at the most positions", "edge: 1x1x2x2, from 0 to 1, mean 0.5",
        "code: 1x3, from 1 to 5, mean 3",
    ]  # fmt: skip
    assert shown[0][1][-7:] == ["0.7500", "1", "dog,", "hound", "0.2500", "0", "cat"]
    assert shown[1][1][-8:] == ["0.9000", "1", "dog,", "hound", "0", "0", "10", "10"]
    assert shown[2][1][-7:] == ["50.0%", "0", "cat", "50.0%", "1", "dog,", "hound"]


def test_a_vector_with_as_many_names_is_of_classes() -> None:
    logits = Result({"fc": np.array([[1.0, 2.0]])}, {"fc": "numbers"}, PICTURE, {0: "a", 1: "b"})
    assert [line for line, _ in tables(logits)] == ["fc: the best of 2 classes"]


def test_data_for_machines() -> None:
    data = json.loads(json.dumps(as_dict(RESULT, top=1)))
    assert data["picture"] == {"height": 10, "width": 20}
    assert data["outputs"]["prob"]["classes"] == [{"number": 1, "score": 0.75, "label": "dog, hound"}]
    assert data["outputs"]["boxes"]["detections"][0]["right"] == 10
    assert data["outputs"]["code"] == {"kind": "numbers", "shape": [1, 3], "min": 1.0, "mean": 3.0, "max": 5.0}
    infinite = Result({"y": np.array([[np.inf]])}, {"y": "numbers"}, PICTURE)
    assert as_dict(infinite)["outputs"]["y"]["max"] is None


def test_json_has_no_nan_and_no_infinity() -> None:
    values = {
        "prob": np.array([[np.nan, np.inf]]), "boxes": np.array([[[[0, 1, np.inf, np.nan, 0, -np.inf, 1]]]]),
        "code": np.array([[np.nan, 1.0]]),
    }  # fmt: skip
    result = Result(values, {"prob": "classes", "boxes": "detections", "code": "numbers"}, PICTURE)
    outputs = json.loads(json.dumps(as_dict(result), allow_nan=False))["outputs"]
    assert [row["score"] for row in outputs["prob"]["classes"]] == [None, None]
    box = outputs["boxes"]["detections"][0]
    assert (box["score"], box["left"], box["top"], box["right"], box["bottom"]) == (None, None, 0, None, 10)
    assert outputs["code"]["max"] is None


def test_positions_that_are_nan_have_no_class() -> None:
    maps = MAPS.copy()
    maps[0, 0, 1, 1] = np.nan
    ((line, table),) = tables(Result({"y": maps}, {"y": "maps"}, PICTURE))
    assert line.endswith("at the most positions, leaving out 1 of 4, whose values are NaN")
    assert str(table).split()[-4:] == ["66.7%", "1", "33.3%", "0"]
    ((line, table),) = tables(Result({"y": maps * np.nan}, {"y": "maps"}, PICTURE))
    assert (line, table) == ("y: 1x2x2x2, values are NaN at all positions: no classes", None)


def test_files_of_several_pictures(tmp_path: Path) -> None:
    written = write_pictures(RESULT, str(tmp_path / "out.png"))
    assert [Path(name).name for name in written] == ["out-boxes.png", "out-score.png", "out-edge.png"]
    assert Image.open(written[1]).size == (2, 2)
    only = Result({"a/b": MAPS}, {"a/b": "maps"}, PICTURE)
    assert write_pictures(only, str(tmp_path / "one.png")) == [str(tmp_path / "one.png")]
    alike = Result({"a/b": MAPS, "a:b": MAPS}, {"a/b": "maps", "a:b": "maps"}, PICTURE)
    assert [Path(name).name for name in write_pictures(alike, str(tmp_path / "x.png"))] == ["x-0.png", "x-1.png"]
    with pytest.raises(ProtogenError, match=r"nothing to draw .'p': classes."):
        write_pictures(Result({"p": MAPS}, {"p": "classes"}, PICTURE), str(tmp_path / "no.png"))
    assert not (tmp_path / "no.png").exists()


def test_values_under_any_name(tmp_path: Path) -> None:
    values = {"file": np.ones(2), "a/b": np.zeros((1, 2), np.float32), "é": np.arange(3)}
    write_values(values, str(tmp_path / "out.npz"))
    with np.load(tmp_path / "out.npz", allow_pickle=False) as archive:
        assert set(archive.files) == set(values)
        assert all(np.array_equal(archive[name], value) for name, value in values.items())
