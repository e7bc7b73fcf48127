"""Which input of another model is which of the net's, in which layout and type."""

from __future__ import annotations

import numpy as np
import pytest

from protogen import ProtogenError
from protogen.backends.other_model import ModelInput
from protogen.verification.other_inputs import feedings, suited


def plan(shapes: dict[str, tuple[int, ...]], *inputs: tuple[str, tuple[int | None, ...]], **rename: str) -> dict[str, str]:
    """Names of the net's inputs, in the layout fed, by names of the model's."""
    model = [ModelInput(name, "float32", shape) for name, shape in inputs]
    return {
        each.input.name: each.blob + " transposed" * each.transposed + f" {each.how}".rstrip()
        for each in feedings(shapes, model, rename, "m.onnx")
    }


IMAGE = (1, 3, 8, 9)


def test_by_name_then_by_shape_then_by_position() -> None:
    shapes = {"data": IMAGE, "info": (1, 3), "rois": (5, 5)}
    assert plan(shapes, ("rois", (None, 5)), ("data", IMAGE), ("info", (1, 3))) == {
        "rois": "rois", "data": "data", "info": "info",
    }  # fmt: skip
    assert plan(shapes, ("a", (1, 3)), ("b", (None, 5)), ("c", (1, 3, None, None))) == {
        "a": "info by its shape", "b": "rois by its shape", "c": "data by its shape",
    }  # fmt: skip
    pair = {"left": IMAGE, "right": IMAGE}
    assert plan(pair, ("x", IMAGE), ("y", IMAGE)) == {"x": "left by position", "y": "right by position"}
    assert plan(pair, ("right", IMAGE), ("y", IMAGE)) == {"right": "right", "y": "left by its shape"}
    assert plan(pair, ("x", IMAGE), ("y", IMAGE), left="y") == {"y": "left", "x": "right by its shape"}


def test_labels_that_the_model_lacks_need_no_counterpart() -> None:
    assert plan({"data": IMAGE, "label": (1,)}, ("x", IMAGE)) == {"x": "data by its shape"}


@pytest.mark.parametrize("shape", [(1, 8, 9, 3), (None, None, None, 3), ("N", 8, 9, 3)])
def test_channels_last(shape: tuple[int | None, ...]) -> None:
    dims = tuple(dim if isinstance(dim, int) else None for dim in shape)
    assert plan({"data": IMAGE}, ("data", dims)) == {"data": "data transposed"}


def test_dimensions_that_may_be_either_are_taken_as_caffe_has_them() -> None:
    assert plan({"data": IMAGE}, ("data", (None, None, None, None))) == {"data": "data"}
    assert plan({"data": (1, 3, 3, 3)}, ("data", (1, 3, 3, 3))) == {"data": "data"}


@pytest.mark.parametrize(
    ("shapes", "inputs", "message"),
    [
        ({"data": IMAGE}, [("data", (1, 3, 8, 10))], r"'data' has shape \(1, 3, 8, 10\), the net's input 'data' \(1, 3, 8, 9\)"),
        ({"data": IMAGE}, [("data", (None, 3))], r"has shape \(\?, 3\)"),
        ({"data": IMAGE}, [("data", IMAGE), ("scale", (2,))], r"its input 'scale' \(2\) is none of the net's \('data'\)"),
        ({"a": IMAGE, "b": IMAGE, "c": IMAGE}, [("x", IMAGE), ("y", IMAGE)], "say which with --rename NAME=x"),
    ],
)
def test_inputs_without_counterpart(
    shapes: dict[str, tuple[int, ...]], inputs: list[tuple[str, tuple[int | None, ...]]], message: str
) -> None:
    with pytest.raises(ProtogenError, match=message):
        plan(shapes, *inputs)


def values(dtype: str, value: np.ndarray, given: bool = False) -> np.ndarray:
    fed = feedings({"x": value.shape}, [ModelInput("x", dtype, value.shape)], {}, "m.onnx")
    return suited({"x": value}, fed, {"x": value} if given else {}, 0, "m.onnx")["x"]


def test_values_are_those_that_the_type_holds() -> None:
    third = np.full(3, 1 / 3, np.float32)
    np.testing.assert_array_equal(values("float32", third), third)
    np.testing.assert_array_equal(values("float16", third), third.astype(np.float16).astype(np.float32))
    labels = np.float32([0, 2, 1])
    np.testing.assert_array_equal(values("int64", labels), labels)
    image = values("uint8", np.zeros((100,), np.float32) + 0.5)
    assert set(image) <= set(range(256))
    assert len(set(image)) > 50
    assert values("int8", third).max() < 128


@pytest.mark.parametrize(("dtype", "value"), [("uint8", 0.5), ("uint8", -1), ("uint8", 256), ("int32", 0.5), ("int8", 200)])
def test_values_that_it_does_not_hold(dtype: str, value: float) -> None:
    with pytest.raises(ProtogenError, match=f"its input 'x' takes {dtype}; 'x' has other values"):
        values(dtype, np.full(2, value, np.float32), given=True)
