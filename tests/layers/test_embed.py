"""Embed: fillers of its table and its bias."""

from __future__ import annotations

import numpy as np

from tests.layers.nets import net_of
from tests.running import by_torch


def test_rows_of_the_table_plus_the_bias() -> None:
    net = net_of(
        'type: "Embed" bottom: "a" top: "y" embed_param { num_output: 3 input_dim: 4 weight_filler { type: "gaussian" } '
        'bias_filler { type: "constant" value: 2 } }', (5,),
    ).fill()  # fmt: skip
    index = np.array([0, 3, 1, 1, 2], np.float32)
    table, bias = net.weights["op"]
    assert np.array_equal(by_torch(net, {"a": index})[0], table[index.astype(int)] + 2)
    assert bias.tolist() == [2, 2, 2]
