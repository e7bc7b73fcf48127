"""Values to prototxt and back."""

from __future__ import annotations

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protogen.prototxt.format import fields, number, quote
from protogen.prototxt.lexer import unquote
from protogen.prototxt.message import Message, to_float32
from protogen.prototxt.parser import parse


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (-0.0, "-0"), (1.0, "1"), (60.0, "60"), (100.0, "100"), (1e6, "1000000"), (0.1, "0.1"), (1e-5, "1e-5"),
        (1e-12, "1e-12"), (0.0001, "0.0001"), (-1.5, "-1.5"), (123.456, "123.456"), (3.4028234663852886e38, "3.4028235e38"),
        (1e30, "1e30"), (math.inf, "inf"), (-math.inf, "-inf"), (math.nan, "nan"), (1 / 3, "0.33333334"),
    ],
)  # fmt: skip
def test_numbers_as_people_write_them(value: float, text: str) -> None:
    assert number(to_float32(value)) == text


@given(st.floats(width=32, allow_nan=False))
def test_floats_read_back_bit_for_bit(value: float) -> None:
    net = parse(f"layer {{ power_param {{ shift: {number(value)} }} }}")
    assert struct.pack("<f", net.layer[0].power_param.shift) == struct.pack("<f", value)


@given(st.floats(allow_nan=False))
def test_doubles_read_back_bit_for_bit(value: float) -> None:
    assert struct.pack("<d", float(number(value, double=True))) == struct.pack("<d", value)


@given(st.text())
def test_strings_read_back(text: str) -> None:
    quoted = quote(text)
    assert "\n" not in quoted
    assert unquote(quoted) == text


@given(st.binary())
def test_bytes_that_are_no_text_read_back(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    assert unquote(quote(text)) == text
    assert quote(text).encode("utf-8")


def test_half_a_surrogate_pair_becomes_a_replacement_character() -> None:
    assert unquote(quote("a\ud800")) == "a\ufffd"


@pytest.mark.parametrize("text", ['"', "\\", "'", "\n", "a\tb", "\0", "\x7f", "{ } # ;", "\u2028", "été", ""])
def test_awkward_names_stay_in_their_quotes(text: str) -> None:
    net = Message.of("NetParameter", name=text)
    written = fields(net)
    assert written.count("\n") == 1
    assert parse(written) == net


def test_fields_are_indented() -> None:
    layer = Message.of("LayerParameter", name="p", pooling_param={"pool": "AVE", "kernel_size": 3}, loss_weight=[1, 0.5])
    assert fields(layer, indent=1, skip={"name"}) == (
        "  loss_weight: 1\n  loss_weight: 0.5\n  pooling_param {\n    pool: AVE\n    kernel_size: 3\n  }\n"
    )
