"""`preprocess_from_data`: the model takes pixels, and computes what Caffe's data layer and net compute of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import protogen
from protogen import ConversionError, Net, Preprocess, ProtogenNote, WeightsError, verify
from tests.running import metadata_of, run_model

pytestmark = pytest.mark.filterwarnings("ignore:left out of the ONNX model")

DATA = """layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TRAIN }
    transform_param { crop_size: 4 scale: 9 mean_value: 1 } data_param { batch_size: 2 } }
layer { name: "data" type: "Data" top: "data" top: "label" include { phase: TEST }
    transform_param { crop_size: 4 %s } data_param { batch_size: 2 } }
"""
NET = """layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
    inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
"""
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4)).astype(np.float32)


def net(transform: str) -> Net:
    return protogen.loads(DATA % transform + NET).fill(2)


def scores(net: Net, values: np.ndarray) -> np.ndarray:
    """What the bare net makes of its input."""
    weight, bias = net.weights["fc"]
    return np.asarray(values.reshape(2, -1) @ weight.T + bias)


def of_pixels(net: Net, pixels: np.ndarray = PIXELS, **options: object) -> np.ndarray:
    return run_model(net.to_onnx(preprocess_from_data=True, **options), pixels)["fc"]


MEANS = "mean_value: 104 mean_value: 117 mean_value: 123 "


@pytest.mark.parametrize(
    ("transform", "mean", "scale"),
    [
        (MEANS, (104, 117, 123), 1),
        ("scale: 0.00390625", (0, 0, 0), 0.00390625),
        (MEANS + "scale: 0.017 mirror: true", (104, 117, 123), 0.017),
    ],
)
def test_pixels_less_the_mean_times_the_scale(transform: str, mean: tuple[float, ...], scale: float) -> None:
    values = (PIXELS - np.array(mean, np.float32).reshape(3, 1, 1)) * np.float32(scale)
    np.testing.assert_allclose(of_pixels(net(transform)), scores(net(transform), values), rtol=1e-4, atol=1e-4)


def test_images_in_red_green_blue_and_channels_last() -> None:
    plain = of_pixels(net(MEANS))
    turned = np.ascontiguousarray(PIXELS[:, ::-1].transpose(0, 2, 3, 1))
    own = Preprocess(swap_rb=True, nhwc=True)
    np.testing.assert_allclose(of_pixels(net(MEANS), turned, preprocess=own), plain, rtol=1e-5, atol=1e-4)


def test_metadata_and_verification_know_it() -> None:
    model = net(MEANS + "scale: 0.5").to_onnx(preprocess_from_data=True)
    assert metadata_of(model)["preprocessing"] == "data: float32 image, NCHW; minus (104, 117, 123); times (0.5)"
    report = verify(net(MEANS + "scale: 0.5"), preprocess_from_data=True, preprocess=Preprocess(nhwc=True), dynamic_batch=True)
    assert report.ok, report.verdict


def test_without_the_option_a_note_says_what_is_missing() -> None:
    with pytest.warns(
        ProtogenNote, match="data layer 'data' crops .*104,117,123 .*: not part of the model; --preprocess-from-data"
    ):
        model = net(MEANS).to_onnx()
    np.testing.assert_allclose(run_model(model, PIXELS)["fc"], scores(net(MEANS), PIXELS), rtol=1e-4, atol=1e-3)


# ---- mean images


def write_mean(path: Path, image: np.ndarray) -> None:
    _, channels, height, width = image.shape
    message = protogen.schema.message_class("BlobProto")(
        num=1, channels=channels, height=height, width=width, data=image.ravel().tolist()
    )
    path.write_bytes(message.SerializeToString())


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """nets/train_val.prototxt and nets/mean.binaryproto, seen from the folder above."""
    monkeypatch.chdir(tmp_path)
    Path("nets").mkdir()
    Path("nets/train_val.prototxt").write_text(DATA % 'mean_file: "mean.binaryproto" scale: 0.5' + NET)
    mean = np.random.default_rng(1).uniform(0, 255, (1, 3, 7, 6)).astype(np.float32)
    write_mean(Path("nets/mean.binaryproto"), mean)
    return mean


def load(inputs: dict[str, tuple[int, ...]] | None = None) -> Net:
    return protogen.load("nets/train_val.prototxt", inputs=inputs).fill(2)


def test_the_centre_of_a_larger_mean_image_counts(image: np.ndarray) -> None:
    values = (PIXELS - image[:, :, 1:5, 1:5]) * np.float32(0.5)
    np.testing.assert_allclose(of_pixels(load()), scores(load(), values), rtol=1e-4, atol=1e-3)
    assert "minus a mean image of 3x4x4" in metadata_of(load().to_onnx(preprocess_from_data=True))["preprocessing"]
    report = verify(load(), preprocess_from_data=True, preprocess=Preprocess(swap_rb=True, nhwc=True), dynamic_batch=True)
    assert report.ok, report.verdict


@pytest.mark.usefixtures("image")
def test_the_file_is_looked_for_here_first() -> None:
    beside = of_pixels(load())
    write_mean(Path("mean.binaryproto"), np.zeros((1, 3, 4, 4), np.float32))
    here = of_pixels(load())
    np.testing.assert_allclose(here, scores(load(), PIXELS * 0.5), rtol=1e-4, atol=1e-3)
    assert np.abs(here - beside).max() > 1


@pytest.mark.usefixtures("image")
def test_a_mean_image_that_is_not_there_or_does_not_fit() -> None:
    with pytest.raises(ConversionError, match=r"holds a mean of shape \(1, 3, 7, 6\), .* the images, \(3, 9, 4\)"):
        load({"data": (2, 3, 9, 4)}).to_onnx(preprocess_from_data=True)
    with pytest.raises(ConversionError, match="a mean image fits one size only"):
        load().to_onnx(preprocess_from_data=True, dynamic_size=True)
    Path("nets/mean.binaryproto").write_bytes(b"no mean")
    with pytest.raises(WeightsError, match=r"mean\.binaryproto"):
        load().to_onnx(preprocess_from_data=True)
    Path("nets/mean.binaryproto").unlink()
    with pytest.raises(
        ConversionError, match=r"mean image 'mean.binaryproto' is not here; .*--mean FILE.binaryproto --scale 0.5"
    ):
        load().to_onnx("x.onnx", preprocess_from_data=True)
    assert not Path("x.onnx").exists()


# ---- what cannot be


def test_what_cannot_be_built_in() -> None:
    with pytest.raises(ConversionError, match="give none with preprocess"):
        net(MEANS).to_onnx(preprocess_from_data=True, preprocess=Preprocess(1.0))
    with pytest.raises(ConversionError, match="none of this net's inputs comes from a data layer"):
        protogen.models.lenet().to_onnx(preprocess_from_data=True)
    with pytest.raises(ConversionError, match=r"transform_param.bgr2rgb is not computed; give --mean and --scale"):
        net(MEANS + "bgr2rgb: true").to_onnx(preprocess_from_data=True)
    with pytest.raises(ConversionError, match="both mean_value and mean_file"):
        net(MEANS + "mean_file: 'x'").to_onnx(preprocess_from_data=True)
    with pytest.raises(ConversionError, match="mean has 2 numbers, but 'data' 3 channels"):
        protogen.loads(DATA % "mean_value: 1 mean_value: 2", inputs={"data": (2, 3, 4, 4)}).to_onnx(preprocess_from_data=True)
    second = """layer { name: "more" type: "Data" top: "more" transform_param { crop_size: 4 scale: 2 }
            data_param { batch_size: 2 } }
        layer { name: "mean" type: "Eltwise" bottom: "data" bottom: "more" top: "both" }"""
    with pytest.raises(ConversionError, match=r"there are several: data layer 'data' .*, data layer 'more'"):
        protogen.loads(DATA % MEANS + second).to_onnx(preprocess_from_data=True)


def test_a_data_layer_that_only_crops_needs_nothing() -> None:
    np.testing.assert_allclose(of_pixels(net("")), scores(net(""), PIXELS), rtol=1e-4, atol=1e-3)


def test_labels_with_as_many_axes_as_images_do_not_matter() -> None:
    boxes = """layer { name: "data" type: "AnnotatedData" top: "data" top: "label" data_param { batch_size: 2 }
        transform_param { crop_size: 4 scale: 0.5 } }
    layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 8 } }
    layer { name: "loss" type: "EuclideanLoss" bottom: "fc" bottom: "label" top: "loss" }"""
    text = boxes.replace("data_param", "annotated_data_param { yolo_data_type: 0 } data_param")
    whole = protogen.loads(text, inputs={"label": (2, 1, 1, 8)}).fill(2)
    assert verify(whole, preprocess_from_data=True).ok
