"""Inputs and outputs of written ONNX files, read without their weights."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from protogen.errors import ProtogenError
from protogen.targets.onnx.ends import ends_of
from tests.targets.nets import net


@pytest.mark.parametrize(
    "options", [{}, {"dynamic_batch": True, "dynamic_size": True}, {"external_data": True, "rename": {"x": "image"}}]
)
def test_what_onnx_itself_reads(tmp_path: Path, options: dict[str, object]) -> None:
    path = tmp_path / "net.onnx"
    net().save(path, **options)
    graph = onnx.load(path).graph
    expected = tuple(
        {info.name: [dim.dim_param or dim.dim_value for dim in info.type.tensor_type.shape.dim] for info in infos}
        for infos in (graph.input, graph.output)
    )
    assert ends_of(path) == expected
    assert all(expected)


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"\xff" * 100)
    with pytest.raises(ProtogenError, match=r"net\.onnx: byte 0"):
        ends_of(tmp_path / "net.onnx")
