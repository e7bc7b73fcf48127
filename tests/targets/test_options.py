"""Options of a conversion: those of another format and slips are refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from protogen.errors import ConversionError
from tests.targets.nets import net


@pytest.mark.parametrize(("ending", "option"), [(".pth", "opset"), (".caffemodel", "dynamic_batch"), (".pt2", "fp16")])
def test_an_option_of_another_format_is_refused_by_name(tmp_path: Path, ending: str, option: str) -> None:
    with pytest.raises(ConversionError, match=f"a {ending} file takes no option '{option}'.*it takes: .*fold"):
        net().save(tmp_path / f"net{ending}", **{option: True})
    assert not list(tmp_path.iterdir())


def test_a_slip_of_an_option_is_pointed_out() -> None:
    with pytest.raises(ConversionError, match="an ONNX model takes no option 'opsets'; did you mean 'opset'"):
        net().to_onnx(opsets=13)
