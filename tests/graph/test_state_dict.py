"""State dicts and the learnable blobs of layers: shared ones, missing keys, others' keys, wrong shapes."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

import protogen
from protogen.errors import ProtogenWarning, WeightsError
from tests.running import same_weights
from tests.weights.trained import small, trained

SHARED = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 } } }
layer { name: "z" type: "InnerProduct" bottom: "data" top: "a" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "a" type: "InnerProduct" bottom: "a" top: "b" param { name: "w" } param { name: "b" }
  inner_product_param { num_output: 4 } }
"""


@pytest.mark.parametrize("dropped", [[], ["a.weight", "a.bias"], ["z.weight", "z.bias"]])
def test_shared_blobs_need_one_key(tmp_path: Path, dropped: list[str]) -> None:
    net = protogen.loads(SHARED).fill()
    state = {key: value for key, value in net.to_torch().state_dict().items() if key not in dropped}
    torch.save(state, tmp_path / "a.pth")
    other = protogen.loads(SHARED)
    other.weights.load(tmp_path / "a.pth")
    assert same_weights(net, other)


def test_shared_blobs_that_differ_are_refused(tmp_path: Path) -> None:
    state = protogen.loads(SHARED).fill().to_torch().state_dict()
    torch.save({**state, "a.weight": state["a.weight"] + 1}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"'z\.weight' and 'a\.weight' are the same shared blob"):
        protogen.loads(SHARED).weights.load(tmp_path / "a.pth")


def test_missing_and_unexpected_keys_are_named(tmp_path: Path) -> None:
    state = trained()[1]
    without = {key: value for key, value in state.items() if key != "fc.bias"}
    torch.save(without, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"a\.pth: keys missing: 'fc\.bias'$"):
        small().weights.load(tmp_path / "a.pth")
    whole_layer = {key: value for key, value in state.items() if not key.startswith("fc.")}
    torch.save({**whole_layer, "extra.weight": torch.ones(1)}, tmp_path / "a.pth")
    net = small()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = net.weights.load(tmp_path / "a.pth")
    assert (report.without_weights, report.unused) == (["fc"], ["extra.weight"])
    texts = [str(warning.message) for warning in caught if warning.category is ProtogenWarning]
    assert any("'fc'" in text for text in texts)
    assert any("'extra.weight'" in text for text in texts)


def test_wrong_shapes_are_all_named_and_nothing_is_taken(tmp_path: Path) -> None:
    state = trained()[1]
    torch.save({**state, "fc.bias": torch.ones(6), "conv_1.bias": torch.ones(2)}, tmp_path / "a.pth")
    net = small()
    with pytest.raises(WeightsError) as error:
        net.weights.load(tmp_path / "a.pth")
    assert "layer 'fc', blob 1: the net's shape is (5,), the weights' (6,)" in str(error.value)
    assert "layer 'conv.1', blob 1: the net's shape is (4,), the weights' (2,)" in str(error.value)
    assert len(net.weights) == 0
