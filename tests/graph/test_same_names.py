"""Layers with weights that have one name: as in Caffe, each with its own, or shared; told apart in every file that is written."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import protogen
from protogen.errors import NetError, ProtogenWarning, WeightsError
from tests.layers.nets import values_for
from tests.running import assert_same, by_onnx, by_torch

INPUT = 'input: "data" input_shape { dim: 2 dim: 3 }\n'


def fc(bottom: str, top: str, name: str = "fc", n: int = 3, rest: str = "") -> str:
    param = f'inner_product_param {{ num_output: {n} weight_filler {{ type: "xavier" }} bias_filler {{ type: "gaussian" }} }}'
    return f'layer {{ name: "{name}" type: "InnerProduct" bottom: "{bottom}" top: "{top}" {param} {rest} }}\n'


TWO = INPUT + fc("data", "x") + fc("x", "y")
UNIQUE = INPUT + fc("data", "x") + fc("x", "y", "other")
NAMED = 'param { name: "w" } param { name: "b" }'


def read(text: str, *files: Path, **options: str) -> protogen.Net:
    with pytest.warns(ProtogenWarning, match="has the same name, and both have weights"):
        return protogen.loads(text, *files, **options)


def weights(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((3, 3)).astype(np.float32), rng.standard_normal(3).astype(np.float32)]


def computed(x: np.ndarray, *layers: list[np.ndarray]) -> np.ndarray:
    for weight, bias in layers:
        x = x @ weight.T + bias
    return x


@pytest.mark.parametrize(("rule", "number"), [("caffe", 24), ("shared", 12)])
def test_each_has_its_own_weights_or_they_share_them(rule: str, number: int) -> None:
    net = read(TWO, same_names=rule).fill()
    assert [layer.name for layer in net.layers[1:]] == ["fc", "fc_1"]
    assert net.param_count == number
    net.weights["fc"] = weights(0)
    if rule == "caffe":
        net.weights["fc_1"] = weights(1)
    values = values_for(net)
    expected = computed(values["data"], weights(0), weights(1 if rule == "caffe" else 0))
    for made in (by_torch(net, values), by_onnx(net, values), by_torch(net.at(inputs={"data": (2, 3)}), values)):
        assert_same(made, [expected])
    report = protogen.verify(net)
    assert report.ok, report


@pytest.mark.parametrize("rule", ["caffe", "shared"])
@pytest.mark.parametrize("ending", ["caffemodel", "caffemodel.h5", "pth"])
def test_what_is_written_means_the_same_without_the_rule(tmp_path: Path, rule: str, ending: str) -> None:
    net = read(TWO, same_names=rule).fill(3)
    net.save(tmp_path / "net.prototxt")
    net.save(tmp_path / f"net.{ending}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = protogen.load(tmp_path / "net.prototxt", tmp_path / f"net.{ending}")
    values = values_for(net)
    assert_same(by_torch(again, values), by_torch(net, values), 0)
    assert again.param_count == net.param_count


def test_weights_of_one_layer_are_the_first_ones_as_in_caffe_or_both(tmp_path: Path) -> None:
    path = tmp_path / "one.caffemodel"
    one = protogen.loads(INPUT + fc("data", "x"))
    one.weights["fc"] = weights(0)
    one.save_caffemodel(path)
    with pytest.warns(ProtogenWarning, match=r"layers without weights: 'fc_1'"):
        net = read(TWO, path)
    np.testing.assert_array_equal(net.weights["fc"][0], weights(0)[0])
    assert net.weights.missing == ["fc_1"]
    shared = read(TWO, path, same_names="shared")
    np.testing.assert_array_equal(shared.weights["fc_1"][0], weights(0)[0])
    assert not shared.weights.missing


def test_of_a_files_different_weights_of_one_name_the_last_are_taken_as_caffe_does(tmp_path: Path) -> None:
    net = protogen.loads(TWO.replace('"fc"', '"other"', 1).replace('"fc"', '"first"', 1).replace('"other"', '"third"', 1))
    net.weights["third"], net.weights["first"] = weights(0), weights(1)
    net.save_caffemodel(tmp_path / "net.caffemodel")
    path = tmp_path / "twice.caffemodel"  # as Caffe's own Net::ToProto writes it
    path.write_bytes((tmp_path / "net.caffemodel").read_bytes().replace(b"\x05third", b"\x05first"))
    text = TWO.replace('"fc"', '"first"')
    with (
        pytest.warns(ProtogenWarning, match=r"one name and different weights \('first'\): the last one's are taken"),
        pytest.warns(ProtogenWarning, match=r"layers without weights: 'first_1'"),
    ):
        again = read(text, path)
    np.testing.assert_array_equal(again.weights["first"][0], weights(1)[0])
    assert again.weights.missing == ["first_1"]


def test_weights_with_names_are_shared_by_either_rule() -> None:
    text = INPUT + fc("data", "x", rest=NAMED) + fc("x", "y", rest=NAMED)
    for rule in ("caffe", "shared"):
        with pytest.warns(ProtogenWarning, match="they share them, and this one is called 'fc_1' here"):
            net = protogen.loads(text, same_names=rule)
        assert net.param_count == 12
        assert net.to_prototxt().count('name: "w"') == 2


def test_a_new_name_is_nobodys() -> None:
    net = read(TWO + fc("y", "z", "fc_1") + fc("z", "u"))
    assert [layer.name for layer in net.layers[1:]] == ["fc", "fc_2", "fc_1", "fc_3"]


def test_layers_without_weights_and_those_of_two_phases_keep_their_names() -> None:
    text = INPUT + fc("data", "x", rest="include { phase: TRAIN }") + fc("data", "x", rest="include { phase: TEST }")
    text += "".join(f'layer {{ name: "r" type: "ReLU" bottom: "{bottom}" top: "{top}" }}\n' for bottom, top in ("xx", "xy"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = protogen.loads(text)
    assert [layer.name for layer in net.layers[1:]] == ["fc", "r", "r"]
    assert net.to_prototxt().count('name: "fc"') == 2


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (
            fc("x", "y", n=4),
            r"layer 'fc' \(InnerProduct\): cannot share .* shapes \[\(4, 3\), \(4,\)\], not \[\(3, 3\), \(3,\)\]",
        ),
        (fc("x", "y", rest='param { name: "v" }'), r"layer 'fc' \(InnerProduct\): cannot share .* the name 'v', not 'w'"),
    ],
)
def test_what_cannot_be_shared_is_refused_by_name(second: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        protogen.loads(INPUT + fc("data", "x", rest=NAMED) + second, same_names="shared")


def test_a_part_of_the_net_keeps_the_weights_of_its_own_layers(tmp_path: Path) -> None:
    net = read(TWO).fill(1)
    part = net.cut(inputs={"x": (2, 3)})
    assert_same(by_torch(part, {"x": np.ones((2, 3), np.float32)}), [computed(np.ones((2, 3)), net.weights["fc_1"])])
    net.save_caffemodel(tmp_path / "net.caffemodel")
    with pytest.raises(WeightsError, match=r"2 layers \(InnerProduct\) of the uncut net have the name 'fc'"):
        protogen.loads(TWO, tmp_path / "net.caffemodel", inputs={"x": (2, 3)})
