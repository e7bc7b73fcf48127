"""Which layers are active, by Caffe's include and exclude rules."""

from __future__ import annotations

import pytest

from protogen.errors import NetError
from protogen.prototxt.parser import parse
from protogen.prototxt.phase import State, active
from protogen.reading import loads


@pytest.mark.parametrize(
    ("rules", "state", "expected"),
    [
        ("", State("TEST"), True),
        ("include { }", State("TEST"), True),
        ("exclude { }", State("TEST"), False),
        ("include { phase: TRAIN }", State("TRAIN"), True),
        ("include { phase: TRAIN }", State("TEST"), False),
        ("exclude { phase: TRAIN }", State("TRAIN"), False),
        ("exclude { phase: TRAIN }", State("TEST"), True),
        ("include { phase: TRAIN } include { phase: TEST }", State("TEST"), True),
        ("exclude { phase: TRAIN } exclude { phase: TEST }", State("TEST"), False),
        ("include { min_level: 2 }", State(level=1), False),
        ("include { min_level: 2 }", State(level=2), True),
        ("include { max_level: 2 }", State(level=3), False),
        ("include { max_level: 2 }", State(level=-3), True),
        ("include { min_level: 1 max_level: 2 }", State(level=2), True),
        ("include { stage: 'a' }", State(), False),
        ("include { stage: 'a' }", State(stages={"a", "b"}), True),
        ("include { stage: 'a' stage: 'b' }", State(stages={"a"}), False),
        ("include { stage: 'a' stage: 'b' }", State(stages={"a", "b"}), True),
        ("include { stage: 'a' } include { stage: 'b' }", State(stages={"b"}), True),
        ("include { not_stage: 'a' }", State(stages={"a"}), False),
        ("include { not_stage: 'a' }", State(stages={"b"}), True),
        ("include { not_stage: 'a' not_stage: 'b' }", State(stages={"b"}), False),
        ("include { stage: 'a' not_stage: 'b' }", State(stages={"a", "b"}), False),
        ("include { phase: TEST stage: 'a' }", State("TRAIN", stages={"a"}), False),
        ("exclude { stage: 'a' }", State(stages={"a"}), False),
        ("exclude { stage: 'a' }", State(stages={"b"}), True),
    ],
)
def test_rules(rules: str, state: State, expected: bool) -> None:
    assert active(parse(f"layer {{ name: 'x' {rules} }}").layer[0], state) is expected


def test_both_kinds_of_rules_are_refused() -> None:
    layer = parse("layer { name: 'x' include { phase: TEST } exclude { phase: TEST } }").layer[0]
    with pytest.raises(NetError, match="layer 'x' has both include and exclude rules"):
        active(layer, State())


def test_unknown_phase() -> None:
    with pytest.raises(NetError, match="unknown phase 'TSET'; did you mean 'TEST'"):
        State("TSET")


STAGED = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 4 } } }
layer { name: "fine" type: "ReLU" bottom: "data" top: "y" include { phase: TEST min_level: 1 stage: "fine" } }
layer { name: "rough" type: "Sigmoid" bottom: "data" top: "y" exclude { stage: "fine" } }
layer { name: "drop" type: "Dropout" bottom: "data" top: "z" include { phase: TRAIN } }
"""


def test_a_net_holds_the_active_layers() -> None:
    def names(**state: object) -> list[str]:
        return [layer.name for layer in loads(STAGED, **state).layers]

    assert names() == ["data", "rough"]
    assert names(phase="TRAIN") == ["data", "rough", "drop"]
    assert names(level=1, stages=["fine"]) == ["data", "fine"]
    assert names(stages=["fine"]) == ["data"]


def test_both_phases_are_written_back() -> None:
    assert loads(loads(STAGED).to_prototxt(), phase="TRAIN").layer("drop").type == "Dropout"


def test_stages_of_the_definition_count_too() -> None:
    """Caffe adds those it is given to the file's; the file's phase and level it overrides (Net::Net in caffe/net.cpp)."""
    net = loads("""
        state { phase: TRAIN level: 5 stage: "val" }
        layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 } } }
        layer { name: "a" type: "ReLU" bottom: "x" top: "a" include { stage: "val" stage: "deep" } }
        layer { name: "b" type: "ReLU" bottom: "x" top: "b" include { stage: "val" } }
        layer { name: "c" type: "ReLU" bottom: "x" top: "c" include { phase: TRAIN } }
        layer { name: "d" type: "ReLU" bottom: "x" top: "d" include { min_level: 1 } }""", stages=["deep"])  # fmt: skip
    assert net.outputs == ["a", "b"]
    assert net.at("TRAIN").outputs == ["a", "b", "c"]
