"""The table of layer types, held to what oracle cases and the small nets below really do."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch

import protogen
from protogen.report.layers import INPUT, SupportTable, support_table
from tests.commands import ROOT
from tests.layers.examples import example, oracle_nets
from tests.running import run_model

PAGE = ROOT / "examples" / "layers.md"
BEGIN, END = "<!-- layers:begin -->", "<!-- layers:end -->"


@lru_cache(maxsize=1)
def table() -> SupportTable:
    return support_table()


ROWS = [row for row in table().rows if row.note != INPUT]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.type)
def test_pytorch_and_gradient_are_as_the_table_says(row) -> None:
    net, values = example(row.type)
    inputs = [torch.tensor(values[name], requires_grad=True) for name in net.inputs]
    module = net.to_torch()
    blobs = module.blobs(*inputs)
    assert row.torch
    tops = [blobs[top] for layer in net.layers if layer.full_type == row.type for top in layer.tops]
    if row.gradient:
        torch.stack([top.sum() for top in tops if top.requires_grad]).sum().backward()
        assert any(tensor.grad is not None for tensor in (*inputs, *module.parameters()))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.type)
def test_onnx_is_as_the_table_says(row) -> None:
    net, values = example(row.type)
    net = net.at("TEST")
    if not row.onnx:  # at a net's end it is left out, with a warning; a net of nothing else is refused
        refused = pytest.raises(protogen.ProtogenError, match="not convertible to ONNX: " + row.note)
        with (
            refused
            if set(net.shapes) <= {*net.inputs, *net.outputs}
            else pytest.warns(protogen.ProtogenWarning, match="left out")
        ):
            net.to_onnx()
        return
    model = net.to_onnx(fold=False)
    if model.graph.output:
        assert run_model(model, values)


def test_inputs_are_what_feeds_a_net() -> None:
    inputs = [row for row in table().rows if row.note == INPUT]
    assert {"Input", "Data", "MemoryData", "HDF5Data"} <= {row.type for row in inputs}
    assert not any(row.torch or row.onnx for row in inputs)


def test_every_type_of_the_oracle_is_in_the_table() -> None:
    assert set(oracle_nets()) <= {row.type for row in table().rows}


def test_a_type_from_outside_is_listed_as_it_is() -> None:
    @protogen.register("Shapeless")
    class Shapeless(protogen.LayerType):
        def setup(self) -> None:
            self.tops = list(self.bottoms)

    from protogen.layers.registry import unregister

    try:
        (row,) = [row for row in support_table().rows if row.type == "Shapeless"]
    finally:
        unregister("Shapeless")
    assert (row.shapes, row.torch, row.gradient, row.onnx) == (True, False, False, False)


def test_the_page_has_the_same_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    listed = text.partition(BEGIN)[2].partition(END)[0]
    assert listed.strip() == table().markdown().strip(), "renew it: protogen layers --markdown"
