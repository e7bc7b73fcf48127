"""A group of runs: each blob of each run has a row, in the net's order, and those left out have none."""

from __future__ import annotations

import numpy as np

from protogen.backends.setting import Setting
from protogen.verification.group import Group
from protogen.verification.trials import Trial
from tests.nets import small_net


def test_rows_of_every_run_in_the_nets_order() -> None:
    net = small_net().fill(1)
    graph = net.graph()
    feed = {"data": np.random.default_rng(0).standard_normal((2, 3, 12, 12), dtype=np.float32)}
    whole = Trial("onnxruntime", "onnxruntime", graph, graph, feed, Setting())
    ends = Trial("ends", "onnxruntime", graph, graph, feed, Setting(outputs_only=True))
    group = Group([whole, ends], "torch", Setting(), 1e-5, left_out=[], judge=False)
    rows = group.rows(net.outputs)
    computed = [blob for blob in net.shapes if blob not in net.inputs]
    assert [row.blob for row in rows if row.comparison == "onnxruntime / torch"] == computed
    assert [row.blob for row in rows if row.comparison == "ends / torch"] == net.outputs
    assert all(row.ok for row in rows)
    less = Group([whole], "torch", Setting(), 1e-5, left_out=computed[:1], judge=False).rows(net.outputs)
    assert [row.blob for row in less] == computed[1:]
