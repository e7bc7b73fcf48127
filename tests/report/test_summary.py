"""The summary of a net: shapes, parameters, multiply-accumulates, and what is not known."""

from __future__ import annotations

import protogen
from tests.nets import SMALL, begun, layers


def test_summary_of_a_net_with_unknown_shapes() -> None:
    net = protogen.loads(layers('name: "a" type: "Odd" bottom: "data" top: "x"', 'name: "b" type: "ReLU" bottom: "x" top: "y"'))
    summary = net.summary()
    assert not summary.complete
    assert [row.shapes for row in summary.rows] == [[(2, 3, 8, 8)], [None], [None]]
    assert "?" in str(summary)


def test_cost() -> None:
    net = protogen.loads(SMALL)
    assert net.param_count == (4 * 27 + 4) + (4 + 4) + (5 * 64 + 5), "statistics are no parameters"
    convolution, classifier = 2 * 4 * 8 * 8 * 27, 2 * 5 * 64
    assert net.macs == convolution + classifier


def test_totals_in_the_table_and_for_machines() -> None:
    summary = protogen.loads(SMALL).summary()
    rows = {row.name: row for row in summary.rows}
    assert (rows["conv"].params, rows["conv"].shapes) == (4 * 27 + 4, [(2, 4, 8, 8)])
    assert (summary.params, summary.macs) == (sum(row.params for row in summary.rows), sum(row.macs for row in summary.rows))
    assert summary.totals == f"8 layers, {summary.params:,} parameters, {summary.macs:,} multiply-accumulates"
    assert str(summary).rstrip().endswith(summary.totals)
    assert summary.as_dict()["params"] == summary.params


def test_what_data_layers_do_is_said_below() -> None:
    summary = protogen.loads("""layer { name: "d" type: "Data" top: "x" data_param { batch_size: 2 }
        transform_param { crop_size: 4 scale: 0.5 } }""").summary()
    assert summary.data == ["data layer 'd' crops the images to 4x4, then multiplies by 0.5"]
    assert str(summary).rstrip().endswith(summary.data[0])
    assert summary.as_dict()["data"] == summary.data


def test_layers_of_a_block_stand_under_its_name() -> None:
    b = begun()
    with b.scope("stage"):
        b.conv(4, 1, name="conv")
    lines = [line.strip() for line in str(b.build().summary()).splitlines()]
    assert lines[lines.index("[stage]") + 1].startswith("stage/conv ")
