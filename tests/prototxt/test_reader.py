"""Texts to definitions: what kind of file it is, and what is said of the wrong kind."""

from __future__ import annotations

import pytest

from protogen.errors import NetError, ProtogenError
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


def test_a_net_is_no_solver() -> None:
    with pytest.raises(ProtogenError, match=r"^n.prototxt: this is a net, not a solver"):
        read_solver("layer { name: 'a' }", "n.prototxt")
