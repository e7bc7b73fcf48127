"""The summary of a net: shapes, parameters, multiply-accumulates, and what is not known."""

from __future__ import annotations

import json

import pytest

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
    assert str(summary).splitlines()[-2:] == [summary.memory_totals, summary.totals]
    assert summary.as_dict()["params"] == summary.params


def test_what_data_layers_do_is_said_below() -> None:
    summary = protogen.loads("""layer { name: "d" type: "Data" top: "x" data_param { batch_size: 2 }
        transform_param { crop_size: 4 scale: 0.5 } }""").summary()
    assert summary.data == ["data layer 'd' crops the images to 4x4, then multiplies by 0.5"]
    assert str(summary).rstrip().endswith(summary.data[0])
    assert summary.as_dict()["data"] == summary.data


def test_layers_of_a_block_stand_under_its_name() -> None:
    b = begun()
    with b.scope("stage", prefix=False):
        b.conv(4, 1, name="conv")
        b.relu(name="relu")
    lines = [line.split() for line in str(b.build().summary()).splitlines()]
    at = [line[:1] for line in lines].index(["[stage]"])
    assert lines[at][1:3] == ["2", "layers"]
    assert [line[0] for line in lines[at + 1 : at + 3]] == ["conv", "relu"]


def test_memory() -> None:
    net = protogen.loads(
        layers('name: "a" type: "Sigmoid" bottom: "data" top: "a"', 'name: "b" type: "ReLU" bottom: "a" top: "a"')
    )
    size = 4 * 2 * 3 * 8 * 8
    summary = net.summary()
    assert [row.memory for row in summary.rows] == [size, size, 0]
    assert (summary.memory, summary.peak_memory, summary.peak_layer) == (2 * size, 2 * size, "a")
    assert summary.memory_totals == "3.0 KiB of blobs, at most 3.0 KiB of them at once (layer 'a'); 0 B of parameters, in float32"
    assert "all kept, as for training" in net.at("TRAIN").summary().memory_totals


def test_everything_is_there_for_machines() -> None:
    data = json.loads(json.dumps(protogen.loads(SMALL).summary().as_dict()))
    rows = {row["name"]: row for row in data["rows"]}
    assert rows["conv"] == {
        "name": "conv", "type": "Convolution", "group": "", "inputs": [[2, 3, 8, 8]], "shapes": [[2, 4, 8, 8]], "params": 112,
        "macs": 13824, "memory": 2048, "kernel": [3, 3], "stride": [1, 1], "pad": [1, 1], "dilation": [1, 1],
        "live_memory": 3584, "receptive_fields": [[3, 3]], "jumps": [[1.0, 1.0]], "share": 13824 / data["macs"],
    }  # fmt: skip
    assert sum(row["share"] for row in data["rows"]) == pytest.approx(1)
    assert sum(part["memory"] for part in data["by_size"]) == data["memory"] == sum(row["memory"] for row in data["rows"])
    assert data["peak_memory"] == max(row["live_memory"] for row in data["rows"])
