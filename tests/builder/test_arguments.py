"""What builder calls take, and what is said of anything else."""

from __future__ import annotations

import pytest

from protogen.builder.arguments import filler_fields, not_a_blob, windows
from protogen.errors import NetError


def test_windows_of_one_number_or_two() -> None:
    assert windows("layer 'c'", 3, None, (1, 2)) == {"kernel_size": 3, "stride": None, "pad_h": 1, "pad_w": 2}
    with pytest.raises(NetError, match=r"layer 'c': kernel_size takes one number or \(height, width\), not \(3, 3, 3\)"):
        windows("layer 'c'", (3, 3, 3), None, None)  # type: ignore[arg-type]


def test_a_filler_by_its_type() -> None:
    assert filler_fields("msra") == {"type": "msra"}
    assert filler_fields({"type": "constant", "value": 2}) == {"type": "constant", "value": 2}
    assert filler_fields(None) is None


@pytest.mark.parametrize(
    ("value", "said"), [(None, "does your function return it"), (["a"], "but several"), (3, "3 is not a blob")]
)
def test_what_is_no_blob(value: object, said: str) -> None:
    assert said in not_a_blob(value)
