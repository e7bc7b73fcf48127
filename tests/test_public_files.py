"""Kinds of public files that other tools refuse: read as far as they go, converted where nothing that matters is missing."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest

import protogen
from protogen.errors import LayerError, NetError, ProtogenWarning
from tests.commands import Capture, run_command
from tests.running import names_of

IMAGE = 'input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 } '
CONV = """layer { name: "c" type: "Convolution" bottom: "%s" top: "c"
          convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } } """
TRAIN = (
    'layer { name: "data" type: "Data" top: "data" top: "label" transform_param { crop_size: 8 } data_param { batch_size: 2 } } '
)
PREDICT = """layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
             inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
             layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" } """


# ---- data layers of forks


def test_a_data_layer_of_a_fork_is_an_input_whose_shape_is_given() -> None:
    text = 'layer { name: "src" type: "CPMData" top: "image" top: "label" } ' + CONV % "image"
    with pytest.raises(NetError, match=r"the shape of input 'image' is not in the file; set it with"):
        protogen.loads(text).to_torch()
    net = protogen.loads(text, inputs={"image": (1, 3, 8, 8)})
    assert (net.inputs, net.shapes["c"]) == (["image"], (1, 4, 6, 6))
    assert names_of(net.to_onnx()) == (["image"], ["c"])
    with pytest.warns(ProtogenWarning, match="input shapes are not written for layer 'src'"):
        assert 'type: "CPMData"' in net.to_prototxt()


@pytest.mark.parametrize("type", ["ImageGtData", "LabelData"])
def test_a_forks_data_layer_may_be_called_like_a_known_one(type: str) -> None:
    net = protogen.loads(f'layer {{ name: "in" type: "{type}" top: "image" }} ' + CONV % "image", inputs={"image": (1, 3, 8, 8)})
    assert net.shapes["c"] == (1, 4, 6, 6)


def test_a_misspelt_source_stays_an_unknown_type() -> None:
    with pytest.raises(NetError, match="unknown layer type 'Inptu'; did you mean 'Input'"):
        protogen.loads('layer { name: "x" type: "Inptu" top: "x" } ' + CONV % "x").to_torch()


def test_an_input_named_beside_the_layer_that_makes_it_is_read_as_in_caffe() -> None:
    text = 'input: "data" layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } } '
    net = protogen.loads(text + CONV % "data")
    assert [layer.name for layer in net.layers] == ["in", "c"]


# ---- ends that a deploy net does not need


def test_losses_without_labels_are_left_out_with_a_warning() -> None:
    text = IMAGE + PREDICT + 'layer { name: "acc" type: "Accuracy" bottom: "fc" bottom: "label" top: "acc" }'
    with pytest.warns(ProtogenWarning, match="layer 'acc' .*left out, because nothing makes its bottom 'label'"):
        net = protogen.loads(text)
    assert net.outputs == ["prob"]


def test_a_misspelt_bottom_of_a_loss_is_still_an_error() -> None:
    text = IMAGE + PREDICT + 'layer { name: "acc" type: "Accuracy" bottom: "prbo" bottom: "label" top: "acc" }'
    with pytest.raises(NetError, match="no layer before it makes its bottom 'prbo'; did you mean 'prob'"):
        protogen.loads(text)


def test_a_forks_loss_beside_the_predictions_is_left_out_of_an_onnx_model() -> None:
    net = protogen.loads(
        TRAIN + PREDICT + 'layer { name: "center" type: "CenterLoss" bottom: "fc" bottom: "label" top: "l" }'
    ).fill()
    with pytest.warns(ProtogenWarning, match=r"left out, as nothing that is kept needs them: .*layer 'center' \(CenterLoss\)"):
        model = net.to_onnx()
    assert names_of(model) == (["data"], ["prob"])
    with pytest.raises(NetError, match="unknown layer type 'CenterLoss'"):
        net.to_torch()  # it would train without that loss


def test_a_net_with_a_forks_loss_asks_only_for_the_shapes_it_lacks() -> None:
    text = 'layer { name: "in" type: "PoseData" top: "data" top: "label" } ' + PREDICT
    text += 'layer { name: "end" type: "HeatmapLoss" bottom: "fc" bottom: "label" top: "end" }'
    with (
        pytest.warns(ProtogenWarning, match=r"left out, .*\(HeatmapLoss\)"),
        pytest.raises(NetError, match=r"^<text>: the shape of input 'data' is not in the file; set it with"),
    ):
        protogen.loads(text).to_onnx()
    with pytest.warns(ProtogenWarning, match=r"left out, .*\(HeatmapLoss\)"):
        model = protogen.loads(text, inputs={"data": (1, 3, 4, 4)}).fill().to_onnx()
    assert names_of(model) == (["data"], ["prob"])


def test_a_saved_onnx_model_leaves_out_what_to_onnx_leaves_out(tmp_path: Path) -> None:
    net = protogen.loads(IMAGE + CONV % "data" + 'layer { name: "boxes" type: "EvalDetection" bottom: "c" top: "b" }').fill()
    with pytest.raises(NetError, match="unknown layer type"):
        net.save(tmp_path / "net.onnx")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        net.save(tmp_path / "net.onnx", postprocess=False)
    assert any("left out, as nothing that is kept needs them" in str(warning.message) for warning in caught)
    assert names_of(onnx.load(tmp_path / "net.onnx")) == (["data"], ["c"])


@pytest.mark.parametrize("tail", ['type: "EvalDetection"', 'type: "Python" python_param { module: "eval" layer: "Boxes" }'])
def test_an_unknown_tail_is_cut_off_without_postprocessing(tail: str) -> None:
    net = protogen.loads(IMAGE + CONV % "data" + f'layer {{ name: "boxes" {tail} bottom: "c" top: "boxes" }}').fill()
    with pytest.raises(NetError, match="unknown layer type") as error:
        net.to_onnx()
    assert "to stop before them, use --outputs c or outputs=['c']" in str(error.value)
    assert names_of(net.cut(outputs=["c"]).to_onnx()) == (["data"], ["c"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = net.to_onnx(postprocess=False)
    assert any("left out, as nothing that is kept needs them" in str(warning.message) for warning in caught)
    assert not any("no postprocessing to cut off" in str(warning.message) for warning in caught), "it was just cut off"
    assert names_of(model) == (["data"], ["c"])


def test_an_unknown_layer_that_others_read_is_not_left_out() -> None:
    text = IMAGE + 'layer { name: "odd" type: "OddLoss" bottom: "data" top: "odd" } ' + CONV % "odd"
    with pytest.raises(NetError, match="unknown layer type 'OddLoss'") as error:
        protogen.loads(text).to_onnx(postprocess=False)
    assert "--outputs" not in str(error.value)


def test_weights_load_beside_an_unknown_tail(tmp_path: Path) -> None:
    whole = protogen.loads(IMAGE + CONV % "data").fill(4)
    whole.save_caffemodel(tmp_path / "a.caffemodel")
    (tmp_path / "a.prototxt").write_text(IMAGE + CONV % "data" + 'layer { name: "t" type: "Tail" bottom: "c" top: "t" }')
    net = protogen.load(tmp_path / "a.prototxt", tmp_path / "a.caffemodel")
    np.testing.assert_array_equal(net.weights["c"][0], whole.weights["c"][0])


# ---- layers that do not fit


def test_a_layer_that_does_not_fit_stops_converting_but_not_the_summary(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = TRAIN + PREDICT + 'layer { name: "cut" type: "Slice" bottom: "label" top: "x" top: "y" slice_param { slice_dim: 1 } }'
    (tmp_path / "a.prototxt").write_text(text)
    with pytest.raises(LayerError, match="layer 'cut'"):
        protogen.load(tmp_path / "a.prototxt")
    result = run_command(capsys, "summary", tmp_path / "a.prototxt")
    assert result.code == 0
    assert "Warning" in result.err
    assert "layer 'cut' (Slice)" in result.err
    assert "2x3" in result.out
    assert protogen.load(tmp_path / "a.prototxt", outputs=["prob"]).outputs == ["prob"]


BAD_LOSS = """
    layer { name: "d" type: "HDF5Data" top: "data" top: "label" hdf5_data_param { batch_size: 2 } }
    layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 1 kernel_size: 3 } }
    layer { name: "loss" type: "EuclideanLoss" bottom: "c" bottom: "label" top: "loss" }"""


def test_labels_need_no_shape_where_only_a_loss_reads_them(capsys: Capture, tmp_path: Path) -> None:
    """A train file of which only the images' size is known: HDF5Data states no shapes."""
    path, out = tmp_path / "train.prototxt", tmp_path / "net.onnx"
    path.write_text(BAD_LOSS)
    done = run_command(capsys, "convert", path, "-o", out, "--input", "data=2,3,8,8")
    assert done.code == 0
    assert "left out, as nothing that is kept needs them" in done.err
    assert [value.name for value in onnx.load(out).graph.input] == ["data"]
    assert run_command(capsys, "verify", path, "--input", "data=2,3,8,8").code == 0
    done = run_command(capsys, "convert", path, "-o", out)
    assert (done.code, "the shape of input 'data', 'label' is not in the file" in done.err) == (1, True)
    assert "left out" not in done.err, "that is beside the point"


def test_a_loss_that_caffe_would_reject_is_left_out_with_its_reason(capsys: Capture, tmp_path: Path) -> None:
    path, out = tmp_path / "train.prototxt", tmp_path / "net.onnx"
    path.write_text(BAD_LOSS)
    shapes = ("--input", "data=2,3,8,8", "--input", "label=2,5")
    done = run_command(capsys, "convert", path, "-o", out, *shapes)
    assert done.code == 0
    assert "left out, although Caffe would reject it: " in done.err
    assert "needs two bottoms of the same size, not (2, 1, 6, 6) and (2, 5)" in done.err
    for command in (("convert", path, "-o", tmp_path / "net.pth"), ("deploy", path)):
        done = run_command(capsys, *command, *shapes)
        assert (done.code, "needs two bottoms of the same size" in done.err) == (1, True)


def test_a_layer_that_caffe_would_reject_is_not_left_out_if_it_is_needed(capsys: Capture, tmp_path: Path) -> None:
    path, out = tmp_path / "train.prototxt", tmp_path / "net.onnx"
    path.write_text(BAD_LOSS.replace("kernel_size: 3", "kernel_size: 30"))
    done = run_command(capsys, "convert", path, "-o", out, "--input", "data=2,3,8,8", "--input", "label=2,5")
    assert (done.code, out.exists()) == (1, False)
    assert done.err.startswith("Error: ")
    assert "layer 'c' (Convolution)" in done.err
