"""Opsets: every layer's values in the newer ones, the file format of each, and what a package too old for one says."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

import protogen
from protogen import ConversionError
from protogen.targets.onnx.opsets import DEFAULT_OPSET, OPSETS, ir_version
from tests.layers.test_against_caffe import load
from tests.oracle import FORWARD, assert_close, cases, families
from tests.running import NEWEST, run_model
from tests.targets.onnx.nets import classifier

NEWER = OPSETS[OPSETS.index(19) :]  # from 19 on, layers emit the same nodes


@pytest.mark.filterwarnings("ignore:left out of the ONNX model")
@pytest.mark.parametrize("family", families())
def test_newer_opsets_give_caffes_numbers(family: str) -> None:
    """Every case in one of them, in turn; in the others it is the same graph."""
    for i, case in enumerate(cases(family).values()):
        net = load(case)
        if case.phase != "TEST" or any(op.only_trains for op in net.ops):
            continue
        opset = NEWER[i % len(NEWER)]
        model = net.to_onnx(opset=opset)
        assert model.opset_import[0].version == opset
        assert model.graph == net.to_onnx(opset=NEWEST).graph, case.name
        results = run_model(model, case.of("in"))
        assert results.keys() & case.of("out").keys()
        for blob in results.keys() & case.of("out").keys():
            assert_close(results[blob], case.of("out")[blob], FORWARD, f"{case.name}, opset {opset}: blob {blob}")


VERSIONS = {11: 6, 12: 7, 17: 8, 20: 9, 22: 10, 23: 11, 24: 12, 27: 13, 28: 14}


@pytest.mark.parametrize(("opset", "version"), VERSIONS.items())
def test_the_file_format_is_the_one_released_with_the_opset(opset: int, version: int) -> None:
    """As onnx/docs/Versioning.md lists them."""
    assert ir_version(opset) == version
    assert classifier().to_onnx(opset=opset).ir_version == version


def test_an_onnx_that_is_older_than_the_opset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(onnx.defs, "onnx_opset_version", lambda: 21)
    assert classifier().to_onnx(opset=21).opset_import[0].version == 21
    with pytest.raises(ConversionError, match=r"opset 22 is newer than the installed onnx .* one of 11 to 21, or pip install"):
        classifier().to_onnx(tmp_path / "net.onnx", opset=22)
    assert list(tmp_path.iterdir()) == []


def test_the_documents_name_the_range() -> None:
    page = Path(__file__, "../../../../examples/options.md").resolve().read_text(encoding="utf-8")
    assert f"| `--opset {OPSETS[0]}..{OPSETS[-1]}` | version of the operator set ({DEFAULT_OPSET})" in page
    attributes = protogen.targets.onnx.options.OnnxOptions.__doc__ or ""
    assert f"opset: version of the standard operator set, {OPSETS[0]} to {OPSETS[-1]}" in attributes
