"""The rules for reading what a prototxt leaves open: checked in one place, kept by every net that is derived from another."""

from __future__ import annotations

from dataclasses import fields

import pytest

import protogen
from protogen.errors import NetError
from protogen.rules import RULES, ReadingRules

POOLED = """
input: "data" input_shape { dim: 1 dim: 2 dim: 8 dim: 8 }
layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 2 kernel_size: 1 } }
layer { name: "s" type: "Scale" bottom: "c" top: "s" }
layer { name: "p" type: "Pooling" bottom: "s" top: "p" pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
"""


def test_every_rule_has_its_default_first() -> None:
    assert ReadingRules() == ReadingRules(**{name: rule.values[0] for name, rule in RULES.items()})
    assert list(RULES) == [field.name for field in fields(ReadingRules)]


@pytest.mark.parametrize("rule", RULES)
def test_an_unknown_value_is_refused_and_the_known_ones_are_listed(rule: str) -> None:
    known = ", ".join(RULES[rule].values)
    with pytest.raises(NetError, match=rf"unknown value 'none' of {rule} \(known: {known}\)"):
        protogen.loads(POOLED, **{rule: "none"})


def test_an_unknown_rule_is_pythons_usual_error() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'poling'; did you mean 'pooling'"):
        protogen.loads(POOLED, poling="floor")


def test_derived_nets_keep_the_rules() -> None:
    net = protogen.loads(POOLED, pooling="floor").fill()
    assert net.shapes["p"] == (1, 2, 3, 3)
    larger = {"data": (1, 2, 10, 10)}
    for twin in (
        net.at("TRAIN"),
        net.at(inputs=larger),
        net.cut(inputs={"c": (1, 2, 8, 8)}),
        net.cut(outputs=["p"]),
        net.folded(),
    ):
        assert twin.rules == ReadingRules(pooling="floor")
        assert twin.ops[-1].floor
    assert net.at(inputs=larger).shapes["p"] == (1, 2, 4, 4)
    assert net.graph().at({net.graph().inputs[0]: (1, 2, 8, 8)}).outputs[0].shape == (1, 2, 3, 3)
