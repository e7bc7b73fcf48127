"""verify(against=...): another converter's model is compared blob by blob, and its fault is found where it was made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import protogen
from protogen import ProtogenError, verify
from protogen.targets.onnx.options import Preprocess
from tests.nets import SMALL, SSD
from tests.verification import other_models as faults
from tests.verification.other_models import FCN, constant, maker, renamed, saved, weighted


def test_a_faithful_model_agrees(tmp_path: Path) -> None:
    net = weighted(FCN)
    report = verify(net, against=saved(net, tmp_path / "theirs.onnx"))
    assert report.ok, report.verdict
    assert report.comparisons == ["theirs.onnx / torch"]
    assert [row.blob for row in report.rows] == [
        "conv", "bn", "scale before relu", "scale", "norm", "pool", "up", "crop", "score", "all",
    ]  # fmt: skip
    assert report.notes == ["not compared, because the model has no tensor of that name: 'drop' (1 of 10 blobs)"]


@pytest.mark.parametrize(
    ("fault", "blob", "layer"),
    [
        (faults.another_epsilon, "bn", "'bn' (BatchNorm)"),
        (faults.lrn_divides_alpha_twice, "norm", "'norm' (LRN)"),
        (faults.lrn_is_wider, "norm", "'norm' (LRN)"),
        (faults.pooling_rounds_down, "pool", "'pool' (Pooling)"),
        (faults.dropout_scales, "drop", "'drop' (Dropout)"),
        (faults.crop_is_centred, "crop", "'crop' (Crop)"),
        (lambda model: constant(model, "conv.bias", np.zeros_like), "conv", "'conv' (Convolution)"),
        (lambda model: constant(model, "score.weight", lambda w: w * np.float32(1.001)), "score", "'score' (Convolution)"),
    ],
)  # fmt: skip
def test_the_layer_that_a_converter_got_wrong_is_named(
    fault: Callable[[onnx.ModelProto], None], blob: str, layer: str, tmp_path: Path
) -> None:
    net = weighted(FCN)
    report = verify(net, against=saved(net, tmp_path / "theirs.onnx", fault))
    row = report.first_difference
    assert row is not None
    assert row.blob == blob
    assert list(row.layers) == [layer]
    assert f"theirs.onnx / torch: blob {blob!r}" in report.verdict
    assert f"is the first that differs, made by layer {layer}: " in report.verdict


def test_another_shape_is_told(tmp_path: Path) -> None:
    net = weighted(FCN)
    report = verify(net, against=saved(net, tmp_path / "theirs.onnx", faults.pooling_rounds_down))
    assert (
        "blob 'pool' (1, 6, 11, 11) is the first that differs, made by layer 'pool' (Pooling): its shape is (1, 6, 10, 10)"
        in report.verdict
    )
    assert "differs: 1x6x10x10".upper() in str(report)


def test_layers_without_tensors_of_their_own_share_the_blame(tmp_path: Path) -> None:
    """A model whose inner tensors are numbered: the last blobs that agree, and the first that does not, enclose the fault."""
    net = weighted(FCN)

    def numbered(model: onnx.ModelProto) -> None:
        faults.lrn_is_wider(model)
        inner = [name for node in model.graph.node for name in node.output if name not in ("bn", "pool", "all")]
        renamed(model, {name: str(number) for number, name in enumerate(inner)})
        for node in model.graph.node:
            node.name = ""

    row = verify(net, against=saved(net, tmp_path / "theirs.onnx", numbered)).first_difference
    assert row is not None
    assert row.blob == "pool"
    assert list(row.layers) == ["'scale' (Scale)", "'relu' (ReLU)", "'norm' (LRN)", "'pool' (Pooling)"]


@pytest.mark.parametrize("fold", [False, True])
def test_a_blob_overwritten_in_place_is_compared_with_the_value_that_it_is(fold: bool, tmp_path: Path) -> None:
    """Here "conv" holds what follows the convolution, the BatchNorm, the Scale and the ReLU, one after the other."""
    net = weighted(SMALL)

    def conv_first(model: onnx.ModelProto) -> None:
        """As converters do that name tensors after layers: "conv" is what the convolution makes."""
        renamed(model, {"conv": "relu", "conv/conv": "conv", "conv/scale": "scale"})

    report = verify(net, against=saved(net, tmp_path / "theirs.onnx", conv_first, fold=fold))
    assert report.ok, report.verdict
    tensors = {row.display_name for row in report.rows if row.blob.startswith("conv")}
    if fold:
        assert tensors == {"conv before relu", "conv (relu)"}, "the convolution does the work of all three"
    else:
        assert tensors == {"conv before bn", "conv before scale (conv/bn)", "conv before relu (scale)", "conv (relu)"}


def test_layers_that_a_converter_merged_are_compared_where_they_end(tmp_path: Path) -> None:
    """A BatchNorm with the Scale behind it, under the BatchNorm's name."""
    net = weighted(FCN)

    def merged(model: onnx.ModelProto) -> None:
        renamed(model, {"bn": "1", "scale/Mul": "2", "scale/scale": "bn"})

    report = verify(net, against=saved(net, tmp_path / "theirs.onnx", merged))
    assert report.ok, report.verdict
    assert "scale before relu (bn)" in {row.display_name for row in report.rows}
    report = verify(net, against=saved(net, tmp_path / "theirs.onnx", lambda model: attribute_of_bn(model, merged)))
    row = report.first_difference
    assert row is not None
    assert row.display_name == "scale before relu (bn)"
    assert list(row.layers) == ["'bn' (BatchNorm)", "'scale' (Scale)"]


def attribute_of_bn(model: onnx.ModelProto, then: Callable[[onnx.ModelProto], None]) -> None:
    faults.another_epsilon(model)
    then(model)


# ---- inputs and outputs of other names, layouts and types


def test_inputs_and_outputs_by_position(tmp_path: Path) -> None:
    net = weighted(FCN)

    def exported(model: onnx.ModelProto) -> None:
        renamed(model, {"data": "input.1", "all": "output"})
        maker(model, "output").name = "GlobalAveragePool_17"

    path = saved(net, tmp_path / "theirs.onnx", exported)
    report = verify(net, against=path)
    assert report.ok, report.verdict
    assert report.notes[:2] == ["input 'data' is its 'input.1' (by its shape)", "output 'all' is its 'output' (by position)"]
    report = verify(net, against=path, rename={"data": "input.1", "all": "output"})
    assert report.ok
    assert len(report.notes) == 1, "only that of the Dropout"


def transposed(model: onnx.ModelProto) -> None:
    """As from TensorFlow: the image is (N, H, W, C), and so is "score"."""
    renamed(model, {"data": "nchw", "score": "score_nchw"})
    (image,) = model.graph.input
    image.CopyFrom(helper.make_tensor_value_info("data", TensorProto.FLOAT, [None, 24, 24, 3]))
    model.graph.node.insert(0, helper.make_node("Transpose", ["data"], ["nchw"], perm=[0, 3, 1, 2]))
    model.graph.node.append(helper.make_node("Transpose", ["score_nchw"], ["score"], perm=[0, 2, 3, 1]))


def test_images_with_channels_last(tmp_path: Path) -> None:
    net = weighted(FCN)
    report = verify(net, against=saved(net, tmp_path / "theirs.onnx", transposed))
    assert report.ok, report.verdict
    assert "input 'data' is transposed to (N, H, W, C) for it" in report.notes
    assert "blob 'score' has shape (1, 24, 24, 2) there" in report.notes


def fed_as(kind: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        (image,) = model.graph.input
        renamed(model, {"data": "data32"})
        image.CopyFrom(helper.make_tensor_value_info("data", kind, ["N", 3, 8, 8]))
        model.graph.node.insert(0, helper.make_node("Cast", ["data"], ["data32"], to=TensorProto.FLOAT))

    return change


@pytest.mark.parametrize(
    ("kind", "name"), [(TensorProto.FLOAT16, "float16"), (TensorProto.UINT8, "uint8"), (TensorProto.DOUBLE, "float64")]
)
def test_both_are_fed_numbers_that_the_models_type_holds(kind: int, name: str, tmp_path: Path) -> None:
    net = weighted(SMALL)
    path = saved(net, tmp_path / "theirs.onnx", fed_as(kind))
    report = verify(net, against=path)
    assert report.ok, report.verdict
    assert f"input 'data' is fed as {name}" in report.notes
    if name == "uint8":
        with pytest.raises(ProtogenError, match="its input 'data' takes uint8; 'data' has other values"):
            verify(net, against=path, inputs={"data": np.full((2, 3, 8, 8), 0.5)})


def test_a_model_that_prepares_its_image(tmp_path: Path) -> None:
    net = weighted(FCN)
    preprocess = Preprocess(mean=(104, 117, 123), scale=0.017, swap_rb=True, nhwc=True)
    net.to_onnx(tmp_path / "theirs.onnx", preprocess=preprocess)
    assert verify(net, against=tmp_path / "theirs.onnx", preprocess=preprocess).ok
    report = verify(net, against=tmp_path / "theirs.onnx", preprocess=Preprocess(scale=0.017, nhwc=True))
    assert report.first_difference is not None


def test_an_image_that_the_net_overwrites_in_place(tmp_path: Path) -> None:
    """Its value before that is the input; the model calls what comes after "data_out"."""
    net = weighted("""
        layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 6 dim: 6 } } }
        layer { name: "half" type: "Power" bottom: "data" top: "data" power_param { scale: 0.5 shift: 1 } }
        layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 2 } }""")
    preprocess = Preprocess(mean=10, nhwc=True, input="data")
    net.to_onnx(tmp_path / "theirs.onnx", preprocess=preprocess)
    report = verify(net, against=tmp_path / "theirs.onnx", preprocess=preprocess, rename={"data": "data_out"})
    assert report.ok, report.verdict
    assert [row.blob for row in report.rows] == ["data", "fc"]


def test_a_model_in_float16_has_that_types_tolerance(tmp_path: Path) -> None:
    b = protogen.NetBuilder("wide")
    b.conv(b.input("data", (1, 64, 6, 6)), 64, 3, name="conv")
    net = b.build().fill()
    net.to_onnx(tmp_path / "theirs.onnx", fp16=True)
    report = verify(net, against=tmp_path / "theirs.onnx")
    assert report.ok
    assert report.rows[0].max_rel > 1e-5
    assert "its weights are float16, so the tolerance is 0.01 (--tolerance)" in report.notes
    assert not verify(net, against=tmp_path / "theirs.onnx", tolerance=1e-5).ok


def test_detections_are_compared(tmp_path: Path) -> None:
    net = weighted(SSD)
    net.to_onnx(tmp_path / "whole.onnx")
    report = verify(net, against=tmp_path / "whole.onnx")
    assert report.ok, report.verdict
    assert "detection_out" in {row.blob for row in report.rows}
    net.to_onnx(tmp_path / "heads.onnx", postprocess=False)
    assert verify(net, against=tmp_path / "heads.onnx", postprocess=False).ok


# ---- what cannot be compared


def unlike(model: onnx.ModelProto) -> None:
    renamed(model, {name: f"t{i}" for i, node in enumerate(model.graph.node) for name in node.output})
    for node in model.graph.node:
        node.name = ""
    output = model.graph.output[0].name
    model.graph.node.append(helper.make_node("Concat", [output, output], ["twice"], axis=1))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("twice", TensorProto.FLOAT, None))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (unlike, {}, r"theirs.onnx: nothing to compare: none of its tensors is named"),
        (None, {"rename": {"dat": "x"}}, "cannot rename 'dat': no such blob; did you mean 'data'"),
        (None, {"rename": {"data": "x"}}, r"cannot rename 'data': the model has no input 'x' \(its inputs: 'data'\)"),
        (None, {"rename": {"all": "alll"}}, "cannot rename 'all': the model has no tensor 'alll'; did you mean 'all'"),
        (None, {"dtype": "float16"}, "`dtype` and other `backends` do not apply"),
        (None, {"backends": ("torch", "opencv")}, "`dtype` and other `backends` do not apply"),
        (None, {"tolerance": 1e-5, "opset": 13}, "opset does not apply with `against`"),
        (None, {"dynamic_size": True}, "dynamic_size does not apply with `against`"),
        (None, {"fp16": True}, "fp16 does not apply with `against`"),
    ],
)
def test_requests_that_make_no_sense(change: Any, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    net = weighted(FCN)
    path = saved(net, tmp_path / "theirs.onnx", *filter(None, [change]))
    with pytest.raises(ProtogenError, match=message):
        verify(net, against=path, **options)


def test_a_net_without_weights_is_no_reference(tmp_path: Path) -> None:
    path = saved(weighted(FCN), tmp_path / "theirs.onnx")
    with pytest.raises(ProtogenError, match="needs the net's weights; there are none for 'conv', 'bn', 'scale', 'up', 'score'"):
        verify(protogen.loads(FCN), against=path)


def test_inputs_of_another_shape(tmp_path: Path) -> None:
    net = weighted(FCN)
    path = saved(net, tmp_path / "theirs.onnx")
    other = protogen.loads(FCN, inputs={"data": (2, 3, 32, 32)})
    for layer, arrays in net.weights.items():
        other.weights[layer] = arrays
    message = r"its input 'data' has shape \(1, 3, 24, 24\), the net's input 'data' \(2, 3, 32, 32\); .*--input data=1,3,24,24"
    with pytest.raises(ProtogenError, match=message):
        verify(other, against=path)
