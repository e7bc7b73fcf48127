"""Texts to definitions: what kind of file it is, and what is said of the wrong kind."""

from __future__ import annotations

import pytest

import protogen
from protogen.errors import NetError, NotANetError, ProtogenError
from protogen.prototxt.reader import kind_of, read_solver
from protogen.reading import loads


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ('net: "a.prototxt" base_lr: 0.1', "solver", "this is a solver, not a net"),
        ('net: "a.prototxt" base_lr: 0.1 nonsense: {', "solver", "this is a solver, not a net"),
        ('item { name: "dog" label: 1 }', "label map", "this is a label map"),
        ('name: "only"', "", "there are no layers"),
        ("", "", "the text is empty"),
    ],
)
def test_other_files(text: str, kind: str, message: str) -> None:
    assert kind_of(text) == kind
    with pytest.raises(NetError, match=message) as caught:
        loads(text, source="f.prototxt")
    assert str(caught.value).startswith("f.prototxt: ")


@pytest.mark.parametrize("strict", [None, True, False])
@pytest.mark.parametrize("text", ['net: "a.prototxt" base_lr: 0.1', 'item { name: "dog" label: 1 }', "layer { name: $NAME$ }"])
@pytest.mark.filterwarnings("ignore::protogen.ProtogenWarning")
def test_other_kinds_are_told_from_nets_that_are_no_good(text: str, strict: bool | None) -> None:
    """Unless strict, unknown fields are kept: what has nothing but these is no net either."""
    with pytest.raises(NotANetError, match=r"this is a (solver|label map|template)"):
        loads(text, strict=strict)
    with pytest.raises(NetError) as error:
        loads('name: "only"', strict=strict)
    assert not isinstance(error.value, NotANetError)


def test_a_net_is_no_solver() -> None:
    with pytest.raises(ProtogenError, match=r"^n.prototxt: this is a net, not a solver"):
        read_solver("layer { name: 'a' }", "n.prototxt")


@pytest.mark.parametrize("field", ["net_param", "test_net_param", "train_net_param"])
def test_a_solver_that_holds_its_net_is_read_as_that_net(field: str) -> None:
    net = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 } } }'
    assert protogen.loads(f"base_lr: 0.1 {field} {{ {net} }} max_iter: 10").shapes == {"x": (1,)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('base_lr: 0.1\nnet_param {\n  layer { nmae: "x" } }', "^s.prototxt:3:11: unknown field 'nmae' .*did you mean 'name'"),
        ("base_lr: 0.1\nnet_param {\n", "^s.prototxt:3:1: the text ends without the closing '}' of the block opened in line 2"),
        ("base_lr: 0.1 net_param { }", "^s.prototxt: there are no layers"),
        ("base_lr: 0.1 colour: net_param", "^s.prototxt: this is a solver, not a net"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*colour")
def test_a_mistake_in_a_solvers_own_net_is_shown_where_it_is(text: str, message: str) -> None:
    with pytest.raises(ProtogenError, match=message):
        protogen.loads(text, source="s.prototxt")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('layer { name: "a"\nlayer { name: "b" }\n}', r":2:1: a layer begins inside the block opened in line 1"),
        (
            'layer { pooling_param { kernel_size: 1\n}\nlayer { name: "b" } }',
            r":3:1: a layer begins inside the block opened in line 1",
        ),
        ("layer {\n  pooling_param { kernel_size: 1 }\n", r"the text ends without the closing '}' of the block opened in line 1"),
    ],
)
def test_a_missing_brace_is_reported_where_nesting_goes_wrong(text: str, message: str) -> None:
    with pytest.raises(protogen.ParseError, match=message):
        protogen.loads(text)
