"""Misspelt names, and names that forks chose on purpose."""

from __future__ import annotations

import pytest

import protogen
from protogen.errors import NetError, ProtogenWarning
from protogen.prototxt.slips import distance, misspelling, misspelt
from protogen.schema import message_type

LAYER = message_type("LayerParameter")


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("botom", "bottom"),
        ("convolutoin_param", "convolution_param"),
        ("inner_product_parm", "inner_product_param"),
        ("tpo", "top"),
    ],
)
def test_a_letter_or_two_off_is_a_slip(name: str, field: str) -> None:
    assert misspelt(name, LAYER) == field


@pytest.mark.parametrize(
    "name",
    [
        "cpm_transform_param",
        "rescale_param",
        "distortion_param",
        "my_param",
        "fork_param",
        "relu6_param",
        "batch_reduction_param",
        "pooling_nd_param",
    ],
)
def test_names_of_forks_are_none(name: str) -> None:
    assert misspelt(name, LAYER) is None


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [("", "", 0), ("abc", "acb", 1), ("abc", "ab", 1), ("kitten", "sitting", 3), ("ab", "xyz", 3), ("top", "tops", 1)],
)
def test_distance_counts_letters(a: str, b: str, expected: int) -> None:
    assert distance(a, b, 3) == distance(b, a, 3) == expected


def test_distance_stops_at_its_limit() -> None:
    assert distance("a" * 3, "b" * 1_000_000, 2) == 3


def test_suggestions_for_layer_types_are_a_letter_or_two_away() -> None:
    assert misspelling("Resample", ["Reshape", "Scale", "Upsample"]) is None
    assert misspelling("Uspample", ["Reshape", "Upsample"]) == "Upsample"
    assert misspelling("Covolution", ["Convolution"]) == "Convolution"


V1 = 'layers { name: "a" type: %s bottom: "x" top: "x" } input: "x" input_dim: 1 input_dim: 1 input_dim: 2 input_dim: 2'


@pytest.mark.parametrize(
    ("word", "type"), [("VIDEO_DATA", "VideoData"), ("CONVOLUTION3D", "Convolution3D"), ("MY_LOSS", "MyLoss")]
)
def test_a_v1_type_of_a_fork_is_an_unknown_layer_type(word: str, type: str) -> None:
    assert protogen.loads(V1 % word).unknown_types == [type]


def test_a_misspelt_v1_type_is_a_slip() -> None:
    with pytest.raises(protogen.ParseError, match="field 'type' has no value 'RELUU'; did you mean 'RELU'"):
        protogen.loads(V1 % "RELUU")


@pytest.mark.parametrize("field", ["richness: 1000", "mem_param { optimize: true }", "optimize_mem: TRAIN_OPTIM"])
def test_top_level_fields_of_forks_are_kept(field: str) -> None:
    text = f'{field} layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 1 }} }} }}'
    with pytest.warns(ProtogenWarning, match="unknown field .* in NetParameter; kept as written"):
        net = protogen.loads(text)
    assert field.split()[0].rstrip(":") in net.to_prototxt()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('name: "n" op { type: "Conv" } external_input: "x"', "this is a net of Caffe2"),
        ('node { name: "x" op: "Placeholder" } versions { producer: 1 }', "this is a graph of TensorFlow"),
        ("model { ssd { } } train_config { batch_size: 1 }", "this configures TensorFlow's Object Detection API"),
        ("ir_version: 8 graph { }", "this is an ONNX model as text"),
    ],
)
def test_other_frameworks_files_are_named(text: str, kind: str) -> None:
    with pytest.raises(NetError, match=kind):
        protogen.loads(text)
