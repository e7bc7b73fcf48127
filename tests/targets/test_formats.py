"""One record per format: the weights it holds, and the endings that are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import protogen
from protogen.errors import ConversionError
from protogen.targets.formats import FORMATS, format_of
from tests.targets.nets import TEXT, net


def of_caffe(path: Path) -> Iterable[np.ndarray]:
    text = path.with_name("net.prototxt")
    net().save_prototxt(text)
    return [array for arrays in protogen.load(text, path).weights.values() for array in arrays]


# How to read the arrays that a file of each format holds.
READERS: dict[str, Callable[[Path], Iterable[np.ndarray]]] = {
    ".onnx": lambda path: map(onnx.numpy_helper.to_array, onnx.load(path).graph.initializer),
    ".pt2": lambda path: (tensor.detach().numpy() for tensor in torch.export.load(path).state_dict.values()),
    ".pth": lambda path: (tensor.numpy() for tensor in torch.load(path, weights_only=True).values()),
    ".caffemodel": of_caffe,
    ".h5": of_caffe,
}
WITHOUT_WEIGHTS = {".prototxt"}


def test_every_format_has_a_reader() -> None:
    assert set(FORMATS) == READERS.keys() | WITHOUT_WEIGHTS


@pytest.mark.parametrize("ending", READERS)
def test_each_format_holds_the_nets_weights(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"net{ending}"
    net().save(path, fold=False)
    kernel = net().weights["conv"][0]
    assert any(np.array_equal(array, kernel) for array in READERS[ending](path) if array.shape == kernel.shape)


def test_an_unknown_ending_names_the_known_ones() -> None:
    with pytest.raises(ConversionError, match=r"a\.onx: no format for the ending '\.onx'; did you mean '\.onnx'"):
        format_of("a.onx")


def test_the_ending_asked_for_goes_before_that_of_the_file(tmp_path: Path) -> None:
    net().save(tmp_path / "weights", ".caffemodel")
    assert protogen.loads(TEXT).weights.load(tmp_path / "weights").loaded == ["conv", "scale"]
