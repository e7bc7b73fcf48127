"""Names of tensors: after blobs, after layers, of nodes, misspelt for other languages, or of none of these."""

from __future__ import annotations

import numpy as np
import pytest

import protogen
from protogen.verification.matching import aligned, matches, matching_outputs

NET = protogen.loads("""
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
    layer { name: "stem/3x3" type: "Convolution" bottom: "data" top: "stem" convolution_param { num_output: 4 kernel_size: 3 } }
    layer { name: "stem/bn" type: "BatchNorm" bottom: "stem" top: "stem" }
    layer { name: "stem/relu" type: "ReLU" bottom: "stem" top: "stem" }
    layer { name: "pool" type: "Pooling" bottom: "stem" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }
    layer { name: "score" type: "Convolution" bottom: "pool" top: "score" convolution_param { num_output: 2 kernel_size: 1 } }
    layer { name: "prob" type: "Softmax" bottom: "score" top: "prob" }
    layer { name: "side" type: "Pooling" bottom: "pool" top: "side" pooling_param { kernel_size: 3 } }""").graph()
CONV, BN, RELU, POOL, SCORE, PROB, SIDE = (value for node in NET.nodes[1:] for value in node.outputs)
CALLED = {CONV: "conv", BN: "bn", RELU: "relu", POOL: "pool", SCORE: "score", PROB: "prob", SIDE: "side"}


def found(tensors: dict[str, str], **rename: str) -> dict[str, list[str]]:
    """What each tensor is named after, followed by what else it may be."""
    result = {}
    for match in matches(NET, tensors, rename):
        others = [CALLED[value] for value in match.values if value is not match.named]
        result[match.tensor] = [CALLED[match.named], *others]
    return result


def test_names_of_blobs_stand_for_each_value_of_theirs() -> None:
    assert found({"stem": "", "pool": "", "prob": "", "other": ""}) == {
        "stem": ["relu", "conv", "bn"], "pool": ["pool"], "prob": ["prob"],
    }  # fmt: skip


def test_names_of_layers_stand_for_what_they_make_or_what_merges_with_it() -> None:
    assert found({"stem/3x3": "", "stem/bn": ""}) == {"stem/3x3": ["conv", "bn", "relu"], "stem/bn": ["bn", "relu"]}


def test_a_layer_that_others_read_or_that_changes_the_shape_merges_with_none() -> None:
    assert found({"score": ""}) == {"score": ["score", "prob"]}
    assert found({"side": "", "pool": ""}) == {"side": ["side"], "pool": ["pool"]}


def test_numbered_tensors_are_known_by_their_nodes() -> None:
    assert found({"17": "stem/3x3", "18": "pool"}) == {"17": ["conv", "bn", "relu"], "18": ["pool"]}
    assert found({"17": "pool", "18": "pool"}) == {}, "two nodes of one name"
    assert found({"17": "score", "18": "score/add"}) == {}, "the first of two nodes of a layer"
    assert found({"17": "pool", "pool": ""}) == {"pool": ["pool"]}


def test_names_without_the_characters_that_languages_reject() -> None:
    assert found({"stem_3x3": "", "stem_bn": ""}) == {"stem_3x3": ["conv", "bn", "relu"], "stem_bn": ["bn", "relu"]}
    assert found({"stem_3x3": "", "stem/3x3": ""}) == {"stem/3x3": ["conv", "bn", "relu"]}


def test_names_that_the_user_gives() -> None:
    assert found({"x": "", "pool": ""}, score="x") == {"x": ["score", "prob"], "pool": ["pool"]}
    assert found({"score": "", "x": ""}, score="x") == {"x": ["score", "prob"]}


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ({"a": (1, 2, 3, 3), "b": (1, 4, 1, 1)}, {"a": "prob", "b": "side"}),
        ({"b": (1, 4), "a": (1, 3, 3, 2)}, {"a": "prob", "b": "side"}),
        ({"a": (1, 2, 3, 3), "b": (7,)}, {"a": "prob"}),
        ({"a": (1, 2, 3, 3), "b": (1, 2, 3, 3)}, {}),
    ],
)
def test_outputs_by_position_or_by_shape(outputs: dict[str, tuple[int, ...]], expected: dict[str, str]) -> None:
    assert {match.tensor: CALLED[match.named] for match in matching_outputs(NET, [], outputs)} == expected


def test_an_output_that_a_name_identifies_is_not_matched_again() -> None:
    named = matches(NET, {"prob": ""}, {})
    matched = matching_outputs(NET, named, {"prob": (1, 2, 3, 3), "y": (1, 4, 1, 1)})
    assert [(match.tensor, CALLED[match.named], match.how) for match in matched] == [("y", "side", "by position")]


def test_layouts_are_aligned() -> None:
    value = np.arange(24).reshape(1, 2, 3, 4)
    np.testing.assert_array_equal(aligned(value.transpose(0, 2, 3, 1), (1, 2, 3, 4)), value)
    assert aligned(value.reshape(2, 3, 4), (1, 2, 3, 4)).shape == (1, 2, 3, 4)
    assert aligned(value, (1, 2, 3, 5)).shape == (1, 2, 3, 4)
