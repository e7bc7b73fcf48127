"""Templates whose words a script fills in."""

from __future__ import annotations

import pytest

import protogen
from protogen.errors import NetError
from protogen.prototxt.template import fill, placeholders, template_hint

NET = 'input: "x" input_shape { dim: 1 dim: 3 dim: %s dim: %s }'


@pytest.mark.parametrize(
    ("high", "wide"),
    [("$H$", "$W$"), ("${H}", "${W}"), ("{{H}}", "{{ W }}"), ("%(H)d", "%(W)s"), ("H", "W"), ("$H$", "W"), ("$H", "$W")],
)
def test_every_notation_is_filled_in(high: str, wide: str) -> None:
    net = protogen.loads(NET % (high, wide), define={"H": "4", "W": "6"})
    assert net.shapes["x"] == (1, 3, 4, 6)


@pytest.mark.parametrize(
    ("text", "hint"),
    [("$H$", "--define H=..."), ("$H", "--define H=..."), ("{{ size }}", "--define size=..."), ("%d", "fills in its %d")],
)
def test_a_template_says_how_to_fill_it_in(text: str, hint: str) -> None:
    with pytest.raises(NetError, match="this is a template") as error:
        protogen.loads(NET % (text, 8))
    assert hint in str(error.value)


def test_a_name_like_a_placeholder_makes_no_template() -> None:
    with pytest.raises(protogen.ParseError):
        protogen.loads('layer { name: "img_%d" }\nlayer { top: 3 }')


def test_a_word_that_is_not_there_is_named() -> None:
    with pytest.raises(NetError, match=r"no word 'HIGH' to fill in.*its words: HEIGHT"):
        fill("dim: $HEIGHT$", {"HIGH": "3"})


def test_words_of_values_are_not_filled_in_again() -> None:
    assert fill("$A$ $B$", {"A": "$B$", "B": "1"}) == "$B$ 1"


def test_placeholders_come_in_order_and_once() -> None:
    assert placeholders("$B$ $A$ $B$ %d") == ["B", "A", "%d"]
    assert template_hint("dim: 3") == ""
