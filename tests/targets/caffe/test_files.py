"""Caffe's own files of a graph: the definition as written or folded, and weights of all layers or of none."""

from __future__ import annotations

from pathlib import Path

import pytest

import protogen
from protogen.errors import WeightsError
from tests.targets.nets import TEXT, net


def test_a_prototxt_is_the_definition_as_written_unless_it_is_folded(tmp_path: Path) -> None:
    net().save(tmp_path / "a.prototxt")
    net().save(tmp_path / "b.prototxt", fold=True)
    assert protogen.load(tmp_path / "a.prototxt").to_prototxt() == net().to_prototxt()
    assert [layer.name for layer in protogen.load(tmp_path / "b.prototxt").layers] == ["x", "conv"]


def test_a_net_whose_shapes_are_not_known_is_written_as_prototxt(tmp_path: Path) -> None:
    strange = protogen.loads('layer { name: "a" type: "Strange" top: "a" }')
    strange.save(tmp_path / "a.prototxt")
    assert 'type: "Strange"' in (tmp_path / "a.prototxt").read_text()


@pytest.mark.parametrize("ending", [".caffemodel", ".h5"])
def test_weights_of_some_layers_only_are_not_stored_as_if_they_were_all(tmp_path: Path, ending: str) -> None:
    half = protogen.loads(TEXT)
    half.weights["conv"] = net().weights["conv"]
    with pytest.raises(WeightsError, match="layers without weights: 'scale'"):
        half.save(tmp_path / f"net{ending}")
    half.weights.clear()
    half.save(tmp_path / f"net{ending}")  # all of them the fillers'
