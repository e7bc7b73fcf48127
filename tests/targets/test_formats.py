"""One record per format: what it takes, what it writes, what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import protogen
from protogen.errors import ConversionError, WeightsError
from protogen.targets.formats import FORMATS, format_of

TEXT = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
    layer { name: "conv" type: "Convolution" bottom: "x" top: "conv"
            convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "xavier" } } }
    layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" scale_param { bias_term: true } }
"""


def net() -> protogen.Net:
    return protogen.loads(TEXT).fill(1)


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


def test_a_prototxt_is_the_definition_as_written_unless_it_is_folded(tmp_path: Path) -> None:
    net().save(tmp_path / "a.prototxt")
    net().save(tmp_path / "b.prototxt", fold=True)
    assert protogen.load(tmp_path / "a.prototxt").to_prototxt() == net().to_prototxt()
    assert [layer.name for layer in protogen.load(tmp_path / "b.prototxt").layers] == ["x", "conv"]


def test_a_net_whose_shapes_are_not_known_is_written_as_prototxt(tmp_path: Path) -> None:
    strange = protogen.loads('layer { name: "a" type: "Strange" top: "a" }')
    strange.save(tmp_path / "a.prototxt")
    assert 'type: "Strange"' in (tmp_path / "a.prototxt").read_text()


@pytest.mark.parametrize(("ending", "option"), [(".pth", "opset"), (".caffemodel", "dynamic_batch"), (".pt2", "fp16")])
def test_an_option_of_another_format_is_refused_by_name(tmp_path: Path, ending: str, option: str) -> None:
    with pytest.raises(ConversionError, match=f"a {ending} file takes no option '{option}'.*it takes: .*fold"):
        net().save(tmp_path / f"net{ending}", **{option: True})
    assert not list(tmp_path.iterdir())


def test_a_slip_of_an_option_is_pointed_out() -> None:
    with pytest.raises(ConversionError, match="an ONNX model takes no option 'opsets'; did you mean 'opset'"):
        net().to_onnx(opsets=13)


def test_an_unknown_ending_names_the_known_ones() -> None:
    with pytest.raises(ConversionError, match=r"a\.onx: no format for the ending '\.onx'; did you mean '\.onnx'"):
        format_of("a.onx")


def test_the_ending_asked_for_goes_before_that_of_the_file(tmp_path: Path) -> None:
    net().save(tmp_path / "weights", ".caffemodel")
    assert protogen.loads(TEXT).weights.load(tmp_path / "weights").loaded == ["conv", "scale"]


@pytest.mark.parametrize("ending", [".caffemodel", ".h5"])
def test_weights_of_some_layers_only_are_not_stored_as_if_they_were_all(tmp_path: Path, ending: str) -> None:
    half = protogen.loads(TEXT)
    half.weights["conv"] = net().weights["conv"]
    with pytest.raises(WeightsError, match="layers without weights: 'scale'"):
        half.save(tmp_path / f"net{ending}")
    half.weights.clear()
    half.save(tmp_path / f"net{ending}")  # all of them the fillers'


def test_a_batch_that_cannot_be_left_open_is_refused_for_an_exported_program(tmp_path: Path) -> None:
    fixed = protogen.loads(
        TEXT + 'layer { name: "r" type: "Reshape" bottom: "conv" top: "r" reshape_param { shape { dim: 8 } } }'
    )
    with pytest.raises(ConversionError, match=r"the batch cannot be dynamic \(--dynamic-batch\)"):
        fixed.save(tmp_path / "net.pt2", dynamic_batch=True)
