"""What programs pass by mistake is refused in words, rather than computed with or met by Python's own errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import protogen
from protogen.arguments import float32, names_of, shapes_of, whole
from protogen.errors import ProtogenError
from protogen.net import Net

TEXT = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
        inner_product_param { num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }"""
PICTURE = np.full((8, 8, 3), 100.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net: net.weights.update(fc=[np.ones((4, 192), complex), np.zeros(4)]), "'fc', blob 0: complex values"),
        (lambda net: net.weights.update(fc=[np.full((4, 192), 1e300), np.zeros(4)]), r"blob 0: 1e\+300 is too large for float32"),
        (lambda net: net.weights.update(fc=[[[10**400]], np.zeros(4)]), "blob 0: no array of numbers"),
        (lambda net: net.weights.update(fc=[[["a"]], np.zeros(4)]), "blob 0: no array of numbers"),
        (lambda net: protogen.run(net, PICTURE * 1j), "the picture: complex values"),
        (lambda net: net.with_classes(True), "with_classes takes a whole number, not True"),
        (lambda net: net.with_classes("7"), "with_classes takes a whole number, not '7'"),
        (lambda net: net.with_classes(layers={}), "say with_classes"),
        (lambda net: net.with_classes(layers={"fc": 2.5}), "layers= for 'fc' takes a whole number, not 2.5"),
        (lambda net: net.with_input_channels(2, inputs=[]), "inputs= is empty"),
        (lambda net: net.with_input_channels(True), "with_input_channels takes a whole number"),
        (lambda net: net.cut(outputs=[]), "outputs= is empty: name at least one"),
        (lambda net: net.cut(outputs="fc"), r"outputs= takes a list of names such as \['fc'\], not 'fc'"),
        (lambda net: net.at(inputs={"data": (True, 3, 8, 8)}), "the shape of input 'data' takes a whole number, not True"),
        (lambda net: net.at(inputs={"data": (1, 3, 8.5, 8)}), "the shape of input 'data' takes a whole number, not 8.5"),
        (lambda net: net.at(inputs={"data": None}), r"input 'data' takes a shape such as \(1, 3, 224, 224\), not None"),
        (lambda net: net.at(inputs={"data": "1388"}), "input 'data' takes a shape"),
        (lambda net: net.at(inputs="abcd"), "inputs= takes a mapping such as .*, not 'abcd'"),
        (lambda net: net.renamed(["fc"]), "renamed takes a mapping such as .*, not .'fc'."),
        (lambda net: net.changed(["fc"]), "changed takes a mapping"),
        (lambda net: net.without(3), "without takes a list of names"),
        (lambda net: net.to_onnx(opset=17.0), "opset 17.0 is not supported"),
        (lambda net: net.to_onnx(preprocess={"mean": 1}), r"takes protogen.Preprocess\(mean=..., scale=...\), not {'mean': 1}"),
        (lambda net: net.to_onnx(rename=["data"]), "rename= takes a mapping"),
        (lambda net: protogen.run(net, PICTURE, {"mean": 1}), "preprocess takes protogen.Preprocess"),
        (lambda net: protogen.run(net, PICTURE, labels="names.txt"), "labels= takes names of classes"),
        (lambda net: protogen.run(net, PICTURE, size=(8.5, 9)), "size= takes a whole number, not 8.5"),
        (lambda net: protogen.run(net, PICTURE, size=9), "size= takes height and width"),
        (lambda net: protogen.run(net, PICTURE).classes(-1), "at least 1, not -1"),
        (lambda net: protogen.run(net, PICTURE).classes(2.5), "top= takes a whole number, not 2.5"),
    ],
)
def test_mistakes_are_told(call: Callable[[Net], Any], message: str) -> None:
    net = protogen.loads(TEXT).fill()
    before = net.weights["fc"][0].copy()
    with pytest.raises(ProtogenError, match=message):
        call(net)
    np.testing.assert_array_equal(net.weights["fc"][0], before)


def test_what_is_meant_is_taken() -> None:
    net = protogen.loads(TEXT).fill()
    assert net.without(["prob"]).outputs == net.without("prob").outputs == ["fc"]
    assert net.at(inputs={"data": np.array([2, 3, 8, 8])}).shapes["prob"] == (2, 4)
    assert net.with_classes(np.int64(7)).shapes["prob"] == (1, 7)
    rows = protogen.run(net, PICTURE, labels=["a", "b", "c", "d"]).classes(4)
    assert {row.number: row.label for row in rows} == {0: "a", 1: "b", 2: "c", 3: "d"}


def test_numbers_that_are_none_stay() -> None:
    np.testing.assert_array_equal(float32([np.inf, -np.inf, np.nan, 1e-300], "x"), np.array([np.inf, -np.inf, np.nan, 0], "f"))
    array = np.ones(3, np.float32)
    assert float32(array, "x") is array
    assert (whole(np.int8(3), "x"), names_of(("a",), "x"), shapes_of(None)) == (3, ["a"], {})
