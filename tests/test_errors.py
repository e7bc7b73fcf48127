"""Errors and warnings as programs meet them: their text is fit to be shown, whatever names are in it."""

from __future__ import annotations

import pickle
import warnings

import pytest

import protogen
from protogen.errors import MissingWeightsError, ParseError, ProtogenError, ProtogenWarning, WeightsError, printable
from protogen.report.diff import diff

EVIL = "\x1b[31m\x9b\u202e\x00\n\ud800[red]"
SHOWN = r"\x1b[31m\x9b\u202e\x00\n\ud800[red]"


@pytest.mark.parametrize("text", ["conv1/bn", "naïve", "名前", "ಕನ್ನಡ", "שלום", "🙂", "a\\x1b", "[bold]", "", "a b"])
def test_what_can_be_shown_stays(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("character", "escape"),
    [("\x1b", r"\x1b"), ("\0", r"\x00"), ("\x9b", r"\x9b"), ("\x7f", r"\x7f"), ("\n", r"\n"), ("\r", r"\r"), ("\t", r"\t"),
     ("\u202e", r"\u202e"), ("\u2066", r"\u2066"), ("\u200f", r"\u200f"), ("\u2028", r"\u2028"), ("\udcff", r"\udcff"),
     ("\U000e0041", r"\U000e0041")],
)  # fmt: skip
def test_what_would_drive_a_terminal_is_escaped(character: str, escape: str) -> None:
    assert printable(f"a{character}b") == f"a{escape}b"
    assert printable(printable(character)) == escape, "once is enough"


def test_what_an_encoding_lacks_is_escaped() -> None:
    assert printable("dé名\x1b", "latin-1") == r"dé\u540d\x1b"
    assert printable("dé名\x1b", "ascii") == r"d\xe9\u540d\x1b"


@pytest.mark.parametrize("kind", [ProtogenError, WeightsError, MissingWeightsError, ProtogenWarning])
def test_every_line_is_one(kind: type[ProtogenError]) -> None:
    error = kind(f"layer {EVIL}", f"more of {EVIL}")
    assert str(error) == f"layer {SHOWN}\nmore of {SHOWN}"
    assert error.lines == (f"layer {SHOWN}", f"more of {SHOWN}")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_place_in_a_file() -> None:
    error = ParseError(EVIL, f"{EVIL}.prototxt", 3, 4)
    assert str(error) == f"{SHOWN}.prototxt:3:4: {SHOWN}"
    assert (error.source, error.line, error.column) == (f"{EVIL}.prototxt", 3, 4)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_warnings_of_the_api() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn(EVIL, ProtogenWarning, stacklevel=1)
    assert str(caught[0].message) == SHOWN


def test_text_of_objects() -> None:
    """What `print` and a notebook show of nets, summaries, differences and modules."""
    name = r"\033[31m\302\233\342\200\256\n"
    text = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 } } }'
    text += f'layer {{ name: "{name}" type: "%s" bottom: "data" top: "{name}" }}'
    net, other = protogen.loads(text % "ReLU"), protogen.loads(text % name)
    for thing in (net, net.layers[1], net.summary(), net.to_torch(), protogen.verify(net)):
        assert all(line.isprintable() for line in str(thing).split("\n"))
    assert r"\x1b[31m\x9b\u202e\n" in str(net.summary())
    assert r"~ layer '\x1b[31m\x9b\u202e\n' (ReLU)" in str(diff(net, other)).splitlines()
    assert other.layers[1].label == r"<text>:1:95: layer '\x1b[31m\x9b\u202e\n' (\x1b[31m\x9b\u202e\n)"
