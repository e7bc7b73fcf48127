"""The summary of a net: shapes, parameters, multiply-accumulates, and what is not known."""

from __future__ import annotations

import protogen
from tests.nets import SMALL, layers


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
