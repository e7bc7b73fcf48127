"""Weights inside a prototxt: `blobs` of layers, as Caffe's `Layer` constructor and `Blob::FromProto` take them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import protogen
from protogen.errors import ProtogenWarning, WeightsError
from protogen.weights import caffemodel
from tests.commands import exit_code, fresh_python
from tests.running import metadata_of

HEAD = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 } } }\n'
FC = 'layer {{ name: "{0}" type: "InnerProduct" bottom: "{1}" top: "{0}" inner_product_param {{ num_output: {2} }} {3} }}\n'
FOUR = "blobs { shape { dim: 2 dim: 4 } data: [1, 2, 3, 4, 5, 6, 7, 8] } blobs { shape { dim: 2 } data: 10 data: 20 }"
TEXT = HEAD + FC.format("fc", "x", 2, FOUR)
WEIGHT, BIAS = np.arange(1, 9, dtype=np.float32).reshape(2, 4), np.array([10, 20], np.float32)


def outputs(net: protogen.Net) -> list[float]:
    """The net's output for an input of ones."""
    return net.to_torch()(torch.ones(1, 4)).flatten().tolist()


def test_they_are_the_nets_weights(tmp_path: Path) -> None:
    net = protogen.loads(TEXT)
    np.testing.assert_array_equal(net.weights["fc"][0], WEIGHT)
    np.testing.assert_array_equal(net.weights["fc"][1], BIAS)
    assert net.weights["fc"][0].dtype == np.float32
    assert not net.weights.missing
    assert outputs(net) == [20, 46]
    net.save_caffemodel(tmp_path / "a.caffemodel")
    _, stored = caffemodel.read(tmp_path / "a.caffemodel")
    np.testing.assert_array_equal(stored.blobs[0], WEIGHT)


@pytest.mark.parametrize(
    ("blob", "expected"),
    [
        ("shape { dim: 2 dim: 4 } data: 1 data: 2 data: 3 data: 4 data: 5 data: 6 data: 7 data: 8", WEIGHT),
        ("num: 1 channels: 1 height: 2 width: 4 data: [1, 2, 3, 4, 5, 6, 7, 8]", WEIGHT),
        ("height: 2 width: 4 num: 1 channels: 1 shape { dim: 9 } data: [1, 2, 3, 4, 5, 6, 7, 8]", WEIGHT),
        ("shape { dim: [2, 4] } double_data: [1, 2, 3, 4, 5, 6, 7, 8] data: 9", WEIGHT),
        ("shape { dim: [2, 4] } double_data: [1e300, 0, 0, 0, 0, 0, 0, 0.1]", np.array([[np.inf, 0, 0, 0], [0, 0, 0, 0.1]])),
        (r'shape { dim: [2, 4] } raw_data_type: FLOAT16 raw_data: "\000<\000\300\000\000\377\173" "\000B\000D\000E\000F"',
         np.array([[1, -2, 0, 65504], [3, 4, 5, 6]])),
        (r'shape { dim: [2, 4] } raw_data_type: FLOAT raw_data: "' + r"\000\000\200\077" * 7 + r'\000\000\000\300"',
         np.array([[1, 1, 1, 1], [1, 1, 1, -2]])),
    ],
    ids=["shape", "old extents", "old extents go before a shape", "doubles go before floats", "beyond float32", "half", "raw"],
)  # fmt: skip
def test_every_way_to_state_a_blob(blob: str, expected: np.ndarray) -> None:
    net = protogen.loads(HEAD + FC.format("fc", "x", 2, f"blobs {{ {blob} }} blobs {{ shape {{ dim: 2 }} data: [0, 0] }}"))
    np.testing.assert_array_equal(net.weights["fc"][0], expected.astype(np.float32))


def test_a_blob_without_a_shape_is_one_value() -> None:
    net = protogen.loads(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 dim: 1 dim: 1 } } }'
        'layer { name: "n" type: "Normalize" bottom: "x" top: "y" norm_param { } blobs { data: 10 } }'
    )
    assert net.weights["n"][0].shape == ()
    np.testing.assert_allclose(net.to_torch()(torch.tensor([[[[3.0]], [[4.0]]]])).flatten().tolist(), [6, 8], rtol=1e-6)


@pytest.mark.parametrize(
    ("blobs", "message"),
    [
        ("blobs { shape { dim: 2 dim: 4 } data: [1, 2] }", r"blob 0: shape \(2, 4\) has 8 elements, but there are 2 values"),
        ("blobs { data: [1, 2] }", r"blob 0: shape \(\) has 1 elements, but there are 2 values"),
        ("blobs { shape { dim: 2 dim: 4 } }", "but there are 0 values"),
        ("blobs { shape { dim: -1 } }", "is not a valid shape"),
        ("blobs { shape { dim: 2147483647 dim: 2147483647 } }", "is not a valid shape"),
        ("blobs { shape { dim: 8 } data: [1, 2, 3, 4, 5, 6, 7, 8] } blobs { shape { dim: 2 } data: [1, 2] }",
         r"blob 0: the net's shape is \(2, 4\), the weights' \(8,\)"),
        ("blobs { shape { dim: 2 dim: 4 } data: [1, 2, 3, 4, 5, 6, 7, 8] }", r"has 2 blobs .* not 1 \[\(2, 4\)\]"),
        ('blobs { shape { dim: 1 } raw_data: "abcd" }', "raw_data needs a raw_data_type"),
        ('blobs { shape { dim: 1 } raw_data: "abcd" raw_data_type: INT }', "of DOUBLE, FLOAT, FLOAT16, not INT"),
        ('blobs { shape { dim: 1 } raw_data: "abc" raw_data_type: FLOAT }', "3 bytes of raw_data"),
    ],
)  # fmt: skip
def test_those_that_do_not_fit_are_refused_with_their_place(blobs: str, message: str) -> None:
    with pytest.raises(WeightsError, match=rf"<text>:2:7: layer 'fc' \(InnerProduct\).*{message}"):
        protogen.loads(HEAD + FC.format("fc", "x", 2, blobs))


def test_a_layer_without_learnable_blobs_takes_none() -> None:
    with pytest.raises(WeightsError, match=r":1:\d+: layer 'r' \(ReLU\): its type has no learnable blobs, but the prototxt has"):
        protogen.loads(HEAD.strip() + 'layer { name: "r" type: "ReLU" bottom: "x" top: "y" blobs { data: 1 } }')


V1 = """input: "x" input_dim: 1 input_dim: 4 input_dim: 1 input_dim: 1
layers { name: "fc" type: INNER_PRODUCT bottom: "x" top: "fc" inner_product_param { num_output: 2 }
  blobs { num: 1 channels: 1 height: 2 width: 4 data: [1, 2, 3, 4, 5, 6, 7, 8] }
  blobs { num: 1 channels: 1 height: 1 width: 2 data: [10, 20] } }"""
V0 = """input: "x" input_dim: 1 input_dim: 4 input_dim: 1 input_dim: 1
layers { bottom: "x" top: "fc" layer { name: "fc" type: "innerproduct" num_output: 2
  blobs { num: 1 channels: 1 height: 2 width: 4 data: [1, 2, 3, 4, 5, 6, 7, 8] }
  blobs { num: 1 channels: 1 height: 1 width: 2 data: [10, 20] } } }"""


@pytest.mark.parametrize("text", [V1, V0], ids=["V1", "V0"])
def test_old_dialects_have_them_too(text: str) -> None:
    net = protogen.loads(text)
    np.testing.assert_array_equal(net.weights["fc"][0], WEIGHT)
    assert net.to_torch()(torch.ones(1, 4, 1, 1)).flatten().tolist() == [20, 46]


BN = """layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 } } }
layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc" inner_product_param { num_output: 2 } %s }
layer { name: "bn" type: "BatchNorm" bottom: "fc" top: "fc" batch_norm_param { eps: 0 } param { } param { } param { }
  blobs { shape { dim: 2 } data: [4, 8] } blobs { shape { dim: 2 } data: [8, 32] } blobs { shape { dim: 1 } data: 2 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "fc" bottom: "fc" top: "loss" }
"""


def test_they_come_along_through_every_change_of_a_net() -> None:
    """Of the 20 and 46 that come out of `fc` the statistics make (20 - 4/2) / sqrt(8/2) and (46 - 8/2) / sqrt(32/2)."""
    net = protogen.loads(BN % FOUR)
    with pytest.warns(ProtogenWarning, match="left out"):
        model = net.to_onnx()
    assert not [prop for prop in model.metadata_props if prop.key == "weights.filled"]
    for fold in (False, True):
        assert net.to_torch(fold=fold).blobs(torch.ones(1, 4))["fc"].flatten().tolist() == pytest.approx([9, 10.5])
    twin = net.at(inputs={"x": (3, 4)})
    np.testing.assert_array_equal(twin.weights["fc"][0], WEIGHT)
    assert protogen.verify(net).ok
    from protogen.graph.cut import without_measures

    rest = net.with_graph(without_measures(net.graph()))
    np.testing.assert_array_equal(rest.weights["bn"][0], [4, 8])
    small = rest.folded()
    assert list(small.weights) == ["fc"]
    assert "blobs" not in small.to_prototxt(), "they are in the caffemodel beside it"


def test_a_weights_file_goes_before_them_for_the_layers_it_has(tmp_path: Path) -> None:
    """As Net::CopyTrainedLayersFrom does it."""
    other = protogen.loads(HEAD + FC.format("fc", "x", 2, ""))
    other.weights["fc"] = [np.zeros((2, 4)), np.array([1, 2])]
    other.save_caffemodel(tmp_path / "fc.caffemodel")
    second = "blobs { shape { dim: 1 dim: 2 } data: [1, 100] } blobs { shape { dim: 1 } data: 5 }"
    net = protogen.loads(TEXT + FC.format("out", "fc", 1, second), weights=tmp_path / "fc.caffemodel")
    assert outputs(net) == [1 + 200 + 5]
    written = net.to_prototxt()
    assert written.count("blobs {") == 2, "those of 'fc', which the file replaced, would contradict the file"
    assert outputs(protogen.loads(written, weights=tmp_path / "fc.caffemodel")) == [206]


def test_a_definition_is_written_as_it_was_read_until_its_weights_are_others() -> None:
    net = protogen.loads(TEXT)
    for form in (net, net.at("TRAIN"), net.at(inputs={"x": (2, 4)})):
        np.testing.assert_array_equal(protogen.loads(form.to_prototxt()).weights["fc"][0], WEIGHT)
    assert protogen.loads(net.to_prototxt()).definition == net.definition
    with pytest.raises(ValueError, match="read-only"):
        net.weights["fc"][0][0] = 7
    net.weights["fc"] = [np.zeros((2, 4)), np.zeros(2)]
    for form in (net, net.at("TRAIN")):
        assert "blobs" not in form.to_prototxt()
    assert "blobs" in net.definition.layer[1], "the definition itself stays"


def test_weights_taken_away_stay_away() -> None:
    net = protogen.loads(TEXT)
    del net.weights["fc"]
    assert net.at("TRAIN").weights.missing == ["fc"]
    assert "blobs" not in net.to_prototxt()


def test_fillers_only_make_what_the_text_lacks() -> None:
    net = protogen.loads(TEXT + FC.format("out", "fc", 1, "")).fill()
    assert net.to_prototxt().count("blobs {") == 2
    np.testing.assert_array_equal(net.weights["fc"][0], WEIGHT)


def test_of_shared_blobs_the_owners_count() -> None:
    """Caffe lets the second layer's blobs share the data of the first's once both are made."""
    names = 'param { name: "w" } param { name: "b" } '
    blobs = "blobs {{ shape {{ dim: 4 dim: 4 }} data: [{}] }} blobs {{ shape {{ dim: 4 }} data: [{}] }}"
    eye = blobs.format("1,0,0,0, 0,1,0,0, 0,0,1,0, 0,0,0,1", "1,2,3,4")
    zeros = blobs.format("0," * 15 + "0", "0,0,0,0")
    net = protogen.loads(HEAD + FC.format("one", "x", 4, names + eye) + FC.format("two", "one", 4, names + zeros))
    assert outputs(net) == [3, 5, 7, 9]
    assert protogen.loads(net.to_prototxt()).definition == net.definition


def test_neither_reading_nor_summary_need_torch(tmp_path: Path) -> None:
    (tmp_path / "a.prototxt").write_text(TEXT)
    code = (
        "import sys, protogen; net = protogen.load('a.prototxt'); print(net.summary().totals, net.weights['fc'][1][1]); "
        "sys.exit('torch' in sys.modules or 'onnx' in sys.modules)"
    )
    assert fresh_python(code, folder=tmp_path).split()[-1] == "20.0"


def test_the_command_line_tells_which_layers_have_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.prototxt"
    path.write_text(TEXT)
    assert exit_code("convert", path, "-o", tmp_path / "a.onnx") == 0
    assert capsys.readouterr().err == ""
    path.write_text(TEXT + FC.format("out", "fc", 1, ""))
    assert exit_code("convert", path, "-o", tmp_path / "b.onnx") == 0
    assert (
        "Note: no weights given for 'out'; those of the layers' fillers are used: all zeros in 'out'" in capsys.readouterr().err
    )
    assert metadata_of(onnx.load(tmp_path / "b.onnx"))["weights.filled"] == "out"


def test_a_net_with_all_its_weights_is_folded_without_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.prototxt"
    path.write_text(BN.partition('layer { name: "loss"')[0] % FOUR)
    assert exit_code("fold", path, "-o", tmp_path / "f") == 0
    net = protogen.load(tmp_path / "f.prototxt", weights=tmp_path / "f.caffemodel")
    assert outputs(net) == pytest.approx([9, 10.5])
    assert "blobs" not in (tmp_path / "f.prototxt").read_text()
    path.write_text(BN.partition('layer { name: "loss"')[0] % "")
    assert exit_code("fold", path, "-o", tmp_path / "g") == 2
    assert "WEIGHTS are needed" in capsys.readouterr().err


def test_diff_compares_them_as_weights(capsys: pytest.CaptureFixture[str]) -> None:
    from protogen.report.diff import diff

    net = protogen.loads(TEXT)
    assert diff(net, protogen.loads(TEXT)).equal
    assert (
        str(diff(net, protogen.loads(TEXT.replace("data: 20", "data: 21")))) == "~ weights 'fc' blob 1 (2,): differs by up to 1"
    )
    assert "blobs: '2 with values' -> 'none'" in str(diff(net, protogen.loads(TEXT.replace(FOUR, ""))))
