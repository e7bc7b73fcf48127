"""What a weights file holds: its content tells the kind, and how many blobs each layer has."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import torch

from protogen.weights import caffemodel, read_weights
from protogen.weights.content import read_content
from tests.oracle import LEGACY


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    pytest.importorskip("h5py")
    path = tmp_path / "net.caffemodel"
    path.write_bytes((LEGACY / "v0.caffemodel.h5").read_bytes())
    assert {layer.name for layer in read_weights(path)} >= {"conv1", "fc"}


def test_the_longest_of_two_layers_of_one_name_counts(tmp_path: Path) -> None:
    """A net for both phases may hold a layer twice, once without blobs."""
    path, one = tmp_path / "net.caffemodel", [numpy.ones(3), numpy.ones(3)]
    caffemodel.write(path, "", [("a", "Scale", [], [], one), ("a", "Scale", [], [], []), ("b", "ReLU", [], [], [])])
    content = read_content(path)
    assert (content.source, content.state) == (str(path), None)
    assert content.blob_counts(["a", "b", "elsewhere"]) == {"a": 2, "b": 0}


@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_keys_of_a_state_dict_count_by_module(tmp_path: Path, prefix: str) -> None:
    state = {f"{prefix}conv_1.{name}": torch.ones(1) for name in ("weight", "bias")}
    torch.save(state, tmp_path / "net.pth")
    content = read_content(tmp_path / "net.pth")
    assert content.layers == [] and content.state is not None
    assert content.blob_counts(["conv.1", "relu"]) == {"conv.1": 2, "relu": 0}
