"""New names, and names that can be stored as UTF-8."""

from __future__ import annotations

import pytest

from protogen.prototxt.names import as_utf8, unused


def test_a_name_that_is_free_is_taken_as_it_is() -> None:
    assert unused("conv", {"data"}) == "conv"
    taken = {"data"}
    for _ in range(3):
        taken.add(unused("data", taken))
    assert taken == {"data", "data_", "data__", "data___"}


@pytest.mark.parametrize("raw", [b"\xff\xfe", b"n\xe9t", "né名".encode()])
def test_escaped_text_can_be_stored_and_plain_text_is_left_alone(raw: bytes) -> None:
    text = raw.decode("utf-8", "surrogateescape")
    escaped = as_utf8(text)
    assert escaped.encode("utf-8").decode("utf-8") == escaped
    assert (escaped == text) == (text == raw.decode("utf-8", "replace"))
