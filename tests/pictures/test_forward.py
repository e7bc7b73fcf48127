"""A picture through a net: preprocessing as pycaffe has it, and what the net must be like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import protogen
from protogen.errors import ProtogenError
from protogen.net import Net
from protogen.pictures.forward import picture_values, run
from protogen.pictures.picture import resized
from tests.pictures.files import colours


def same(shape: tuple[int, ...] = (1, 3, 24, 32), more: str = "") -> Net:
    """A net that returns its input."""
    dims = " ".join(f"dim: {size}" for size in shape)
    return protogen.loads(f"""layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {dims} }} }} }}
        layer {{ name: "y" type: "Power" bottom: "data" top: "y" }} {more}""")


def transformed(image: np.ndarray, raw_scale: float, mean: np.ndarray, input_scale: float, swap: tuple[int, ...]) -> np.ndarray:
    """`caffe.io.Transformer.preprocess` of an image as `caffe.io.load_image` returns it: RGB, from 0 to 1."""
    x = image.transpose(2, 0, 1)[list(swap)] * raw_scale
    return (x - mean.reshape(-1, 1, 1)) * input_scale


MEAN = np.array([104.0, 117.0, 123.0])


@pytest.mark.parametrize("size", [None, (40, 50)])
def test_values_are_those_of_pycaffe(size: tuple[int, int] | None) -> None:
    unit = colours().astype(np.float64) / 255
    image = unit if size is None else resized(unit, *size)[8:32, 9:41]
    expected = transformed(image, 255, MEAN, 0.017, (2, 1, 0))
    steps = protogen.Preprocess(mean=MEAN.tolist(), scale=0.017)
    swapped = protogen.Preprocess(mean=MEAN.tolist(), scale=0.017, swap_rb=True)
    for result in (
        run(same(), colours(), swapped, size=size),
        run(same(), colours(), steps, channel_swap=(2, 1, 0), size=size),
        run(same(), colours(), swapped, size=size, backend="onnxruntime"),
    ):
        np.testing.assert_allclose(result.outputs["y"][0], expected, atol=1e-5)


def test_raw_scale_and_any_order_of_channels() -> None:
    expected = transformed(colours() / 255, 2, np.array([0.5, 1, 2]), 3, (1, 2, 0))
    steps = protogen.Preprocess(mean=(0.5, 1, 2), scale=3)
    found = run(same(), colours(), steps, raw_scale=2, channel_swap=(1, 2, 0)).outputs["y"][0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_options_mean_what_they_mean_for_onnx(tmp_path: Path) -> None:
    import onnxruntime

    steps = protogen.Preprocess(mean=(1, 2, 3), scale=(0.5, 0.25, 2), swap_rb=True, nhwc=True)
    model = same().to_onnx(preprocess=steps).SerializeToString()
    (expected,) = onnxruntime.InferenceSession(model).run(None, {"data": colours()[None].astype(np.float32)})
    np.testing.assert_allclose(run(same(), colours(), steps).outputs["y"], expected, rtol=1e-6)


DATA_LAYER = """
layer { name: "data" type: "ImageData" top: "data" top: "label" image_data_param { batch_size: 4 new_height: 30 new_width: 40 }
        transform_param { crop_size: 20 mean_value: 10 mean_value: 20 mean_value: 30 scale: 0.5 } }
layer { name: "y" type: "Power" bottom: "data" top: "y" }
"""


def test_the_data_layers_own_preprocessing() -> None:
    """As Caffe: blue, green, red; resize, crop the centre, subtract, multiply."""
    expected = resized(colours().astype(np.float32), 30, 40)[5:25, 10:30, ::-1]
    expected = ((expected - [10, 20, 30]) * 0.5).transpose(2, 0, 1)
    for steps in (None, protogen.Preprocess(swap_rb=True)):
        found = run(protogen.loads(DATA_LAYER), colours(), steps, from_data=True).outputs["y"]
        np.testing.assert_allclose(found[0], expected, atol=1e-4)
        assert found.shape == (1, 3, 20, 20)


def test_batches_of_nets_are_one_picture() -> None:
    assert run(same((10, 3, 24, 32)), colours()).outputs["y"].shape == (1, 3, 24, 32)
    fixed = same(
        (2, 3, 8, 8), 'layer { name: "r" type: "Reshape" bottom: "y" top: "r" reshape_param { shape { dim: 2 dim: 192 } } }'
    )
    result = run(fixed, colours())
    expected = resized(colours().astype(np.float32), 8, 8).transpose(2, 0, 1).reshape(1, -1)
    np.testing.assert_allclose(result.outputs["r"], expected, rtol=1e-5)


def test_grey_nets_and_grey_pictures(tmp_path: Path) -> None:
    Image.fromarray(colours()).save(tmp_path / "colours.png")
    Image.fromarray(colours()[..., 0]).save(tmp_path / "grey.png")
    grey = run(same((1, 1, 24, 32)), tmp_path / "colours.png").outputs["y"][0, 0]
    np.testing.assert_allclose(grey, colours() @ [0.299, 0.587, 0.114], atol=0.51)
    coloured = run(same(), tmp_path / "grey.png").outputs["y"][0]
    np.testing.assert_array_equal(coloured, np.broadcast_to(colours()[..., 0], (3, 24, 32)))


def test_further_inputs() -> None:
    info = 'layer { name: "i" type: "Input" top: "info" input_param { shape { dim: 1 dim: 3 } } } '
    net = same(more=info + 'layer { name: "z" type: "Power" bottom: "info" top: "z" }')
    result = run(net, colours(), inputs={"info": np.ones((1, 3))})
    assert result.outputs["z"].tolist() == [[1, 1, 1]]
    for inputs, message in (
        ({}, "needs values of 'info': --input info=values.npy"),
        ({"inf": np.ones((1, 3))}, "no other input 'inf'; did you mean 'info'"),
        ({"info": np.ones(3)}, r"has shape \(1, 3\), but its value has shape \(3,\)"),
    ):
        with pytest.raises(ProtogenError, match=message):
            run(net, colours(), inputs=inputs)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: run(same((1, 4, 8, 8)), colours()), "images of 4 channels"),
        (lambda: run(same((1, 3)), colours()), "needs one image input"),
        (lambda: run(same(), colours()[..., :2]), r"\(height, width, 3\), not \(24, 32, 2\)"),
        (lambda: run(same(), colours(), backend="torhc"), "unknown backend 'torhc'; did you mean 'torch'"),
        (lambda: run(same(), colours(), channel_swap=(0, 0, 1)), "no order of the picture's 3 channels"),
        (lambda: run(same(), colours(), protogen.Preprocess(swap_rb=True), channel_swap=(2, 1, 0)), "leave out swap_rb"),
        (lambda: run(same(), colours(), from_data=True), "needs one data layer"),
        (lambda: run(same(), colours(), size=(8, 8)), "is smaller than the net's input, 24x32"),
        (lambda: run(same(), colours(), raw_scale=float("nan")), "a finite number above 0 such as 255, not nan"),
    ],
)
def test_refused(call: object, message: str) -> None:
    assert callable(call)
    with pytest.raises(ProtogenError, match=message):
        call()


def test_pictures_as_values_of_an_input(tmp_path: Path) -> None:
    Image.fromarray(colours()).save(tmp_path / "x.png")
    image = colours().astype(np.float32)
    np.testing.assert_array_equal(picture_values(tmp_path / "x.png", (2, 3, 24, 32), False, True)[1], image)
    np.testing.assert_array_equal(
        picture_values(tmp_path / "x.png", (1, 3, 24, 32), True, False)[0], image[..., ::-1].transpose(2, 0, 1)
    )
    with pytest.raises(ProtogenError, match="takes no picture"):
        picture_values(tmp_path / "x.png", (1, 5), False, False)
