"""Weights of a net: what loading takes and reports, round trips, what is refused."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import protogen
from protogen.errors import ProtogenWarning, WeightsError
from protogen.weights import caffemodel, hdf5
from tests.running import same_weights

HEAD = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 } } }\n'
FC = """layer {{ name: "{0}" type: "InnerProduct" bottom: "{1}" top: "{0}" {2}
  inner_product_param {{ num_output: 4 weight_filler {{ type: "xavier" }} bias_filler {{ type: "gaussian" }} }} }}
"""
TWO = HEAD + FC.format("one", "data", "") + FC.format("two", "one", "")
BOTH = 'param { name: "w" } param { name: "b" }'


def shared(first: str, second: str, names: str = BOTH) -> str:
    return HEAD + FC.format(first, "data", names) + FC.format(second, first, names)


def test_round_trips_of_a_real_net(tmp_path: Path) -> None:
    net = protogen.models.peleenet(size=64, classes=10).fill(3)
    net.save_caffemodel(tmp_path / "a.caffemodel")
    net.save_caffemodel(tmp_path / "a.caffemodel.h5")
    for ending in ("caffemodel", "caffemodel.h5"):
        other = protogen.models.peleenet(size=64, classes=10)
        report = other.weights.load(tmp_path / f"a.{ending}")
        assert same_weights(net, other)
        assert (len(report.loaded), report.without_weights, report.unused) == (len(net.param_shapes), [], [])
    assert (tmp_path / "a.caffemodel.h5").read_bytes()[1:4] == b"HDF"


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a")])
@pytest.mark.parametrize("params", [BOTH, 'param { name: "w" }', 'param { } param { name: "b" }'])
@pytest.mark.parametrize("ending", ["caffemodel", "caffemodel.h5"])
def test_shared_blobs_that_hdf5_leaves_out(tmp_path: Path, names: tuple[str, str], params: str, ending: str) -> None:
    text = shared(*names, params)
    net = protogen.loads(text).fill(1)
    path = tmp_path / f"a.{ending}"
    net.save_caffemodel(path)
    if ending.endswith("h5"):
        stored = {layer.name: layer.blobs for layer in hdf5.read(path)}
        assert sum(blob is not None for blob in stored[names[1]]) == 2 - params.count("name")
    other = protogen.loads(text)
    report = other.weights.load(path)
    assert same_weights(net, other)
    assert not report.without_weights


def test_a_blob_that_is_not_shared_must_be_there(tmp_path: Path) -> None:
    hdf5.write(tmp_path / "a.caffemodel.h5", "", [("one", "InnerProduct", [], [], [np.ones((4, 4))])])
    with pytest.raises(WeightsError, match=r"layer 'one' has 2 blobs \[\(4, 4\), \(4,\)\], not 1"):
        protogen.loads(TWO).weights.load(tmp_path / "a.caffemodel.h5")
    hdf5.write(tmp_path / "b.caffemodel.h5", "", [("one", "InnerProduct", [], [], [None, np.ones(4)])])
    with pytest.raises(WeightsError, match=r"layer 'one', blob 0: no values; the net's shape is \(4, 4\)"):
        protogen.loads(TWO).weights.load(tmp_path / "b.caffemodel.h5")


@pytest.mark.parametrize("ending", ["caffemodel", "caffemodel.h5"])
def test_report_of_loading(tmp_path: Path, ending: str) -> None:
    one = [np.ones((4, 4)), np.ones(4)]
    layers = [("one", "InnerProduct", [], [], one), ("old", "InnerProduct", [], [], one), ("none", "ReLU", [], [], [])]
    path = tmp_path / f"a.{ending}"
    (hdf5 if ending.endswith("h5") else caffemodel).write(path, "", layers)
    net = protogen.loads(TWO)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = net.weights.load(path)
    assert (report.loaded, report.without_weights, report.unused) == (["one"], ["two"], ["old"])
    assert str(report) == "1 layers loaded, 1 without weights ('two'), 1 in the file but not in the net ('old')"
    texts = [str(warning.message) for warning in caught if warning.category is ProtogenWarning]
    assert texts == [
        f"{path}: layers without weights: 'two'; they keep their fillers' values",
        f"{path}: weights of layers that the net does not have: 'old'; 'old' has the shapes of the net's 'two': "
        "was that layer renamed?",
    ]


def test_of_layers_of_other_shapes_none_was_renamed(tmp_path: Path) -> None:
    one, other = [np.ones((4, 4)), np.ones(4)], [np.ones((5, 4)), np.ones(5)]
    layers = [("one", "InnerProduct", [], [], one), ("old", "InnerProduct", [], [], other)]
    caffemodel.write(tmp_path / "a.caffemodel", "", layers)
    with pytest.warns(ProtogenWarning) as caught:
        protogen.loads(TWO).weights.load(tmp_path / "a.caffemodel")
    assert str(caught[1].message).endswith("weights of layers that the net does not have: 'old'")


def test_layers_that_stay_zero_are_named(tmp_path: Path) -> None:
    more = """layer { name: "no filler" type: "InnerProduct" bottom: "two" top: "c" inner_product_param { num_output: 4 } }
        layer { name: "ones" type: "Scale" bottom: "c" top: "d" scale_param { bias_term: true } }
        layer { name: "statistics" type: "BatchNorm" bottom: "d" top: "e" }
        layer { name: "bias only" type: "InnerProduct" bottom: "e" top: "f"
                inner_product_param { num_output: 4 bias_filler { type: "constant" value: 1 } } }"""
    net = protogen.loads(TWO + more)
    assert net.weights.zero_filled == ["no filler"]
    assert not any(blob.any() for blob in net.weights.filled()["no filler"])
    assert all(any(blob.any() for blob in blobs) for layer, blobs in net.weights.filled().items() if layer != "no filler")
    two = protogen.loads(TWO).fill()
    two.save_caffemodel(tmp_path / "a.caffemodel")
    with pytest.warns(ProtogenWarning, match="they keep their fillers' values, all zeros in 'no filler'$"):
        net.weights.load(tmp_path / "a.caffemodel")
    assert net.fill().weights.zero_filled == net.weights.missing == []


def test_blobs_shared_from_a_layer_with_weights_are_not_zero() -> None:
    text = shared("one", "two", 'param { name: "w" }').replace('type: "gaussian"', 'type: "constant"')
    net = protogen.loads(text.replace('type: "xavier"', 'type: "constant"'))
    assert net.weights.zero_filled == ["one", "two"]
    net.weights["one"] = [np.ones((4, 4)), np.zeros(4)]
    assert (net.weights.missing, net.weights.zero_filled) == (["two"], [])


def test_as_a_mapping_it_takes_a_default() -> None:
    net = protogen.loads(TWO)
    assert net.weights.get("nowhere") is net.weights.get("one") is net.weights.pop("nowhere", None) is None
    with pytest.raises(WeightsError, match=r"^no layer 'tow' with weights; did you mean 'two'\?$") as error:
        net.weights["tow"]
    assert isinstance(error.value, KeyError)
    with pytest.raises(WeightsError, match=r"^layer 'one' has no weights; load or set them"):
        net.weights["one"]


def test_every_layer_that_does_not_fit_is_named_and_nothing_is_taken(tmp_path: Path) -> None:
    layers = [("one", "InnerProduct", [], [], [np.ones((4, 5)), np.ones(4)]), ("two", "InnerProduct", [], [], [np.ones((4, 4))])]
    caffemodel.write(tmp_path / "a.caffemodel", "", layers)
    net = protogen.loads(TWO).fill()
    before = [blob.copy() for blob in net.weights["one"]]
    with pytest.raises(WeightsError) as error:
        net.weights.load(tmp_path / "a.caffemodel")
    assert "layer 'one', blob 0: the net's shape is (4, 4), the weights' (4, 5)" in str(error.value)
    assert "layer 'two' has 2 blobs" in str(error.value)
    np.testing.assert_array_equal(before[0], net.weights["one"][0])


def test_another_nets_weights(tmp_path: Path) -> None:
    caffemodel.write(tmp_path / "a.caffemodel", "", [("x", "InnerProduct", [], [], [np.ones((4, 5))])])
    with pytest.raises(WeightsError, match=r"\(it has 'x'\); does it belong to another net"):
        protogen.loads(TWO).weights.load(tmp_path / "a.caffemodel")


def test_filler_errors_name_the_layer() -> None:
    text = TWO.replace('type: "xavier"', 'type: "xavir"', 1)
    with pytest.raises(WeightsError, match=r"layer 'one', blob 0 \(weight\): unknown filler type 'xavir'; did you mean 'xavier'"):
        protogen.loads(text).fill()


def test_absurd_sizes_are_not_drawn() -> None:
    text = HEAD.replace("dim: 4", "dim: 20000") + FC.format("big", "data", "").replace("num_output: 4", "num_output: 40000")
    net = protogen.loads(text)
    with pytest.raises(WeightsError, match=r"800,040,000 values without weights, most of them in layer 'big' \(40000, 20000\)"):
        net.fill()
    with pytest.raises(WeightsError, match="layer 'big'"):
        net.to_onnx()


def test_what_has_weights_is_not_counted_as_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    net = protogen.loads(TWO).fill()
    monkeypatch.setattr("protogen.graph.store.MAX_DRAWN", 0)
    assert set(net.weights.filled()) == {"one", "two"}


def test_incomplete_weights_are_not_saved(tmp_path: Path) -> None:
    net = protogen.loads(TWO)
    net.weights["one"] = [np.ones((4, 4)), np.ones(4)]
    with pytest.raises(WeightsError, match="layers without weights: 'two'"):
        net.save_caffemodel(tmp_path / "a.caffemodel")
    assert not list(tmp_path.iterdir())


def test_the_module_does_not_alias_the_nets_weights() -> None:
    net = protogen.loads(TWO).fill()
    before = net.weights["one"][0].copy()
    module = net.to_torch()
    module.caffe_params("one")[0].data.zero_()
    np.testing.assert_array_equal(net.weights["one"][0], before)


def test_adopting_shares_what_fits_and_says_why_the_rest_does_not() -> None:
    text = 'layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 1 dim: 2 }} }} }}' + "".join(
        f'layer {{{{ name: "{name}" type: "InnerProduct" bottom: "x" top: "{name}" '
        f"inner_product_param {{{{ num_output: {size} bias_term: false }}}} }}}}"
        for name, size in (("{0}", 3), ("b", "{1}"))
    )
    old, new = protogen.loads(text.format("a", 4)).fill(), protogen.loads(text.format("renamed", 5))
    unfit = new.weights.adopt(old.weights, {"a": "renamed", "b": "b"})
    assert np.shares_memory(new.weights["renamed"][0], old.weights["a"][0])
    assert list(new.weights) == ["renamed"]
    assert unfit == {"b": "layer 'b', blob 0: the net's shape is (5, 2), the weights' (4, 2)"}
