"""Embed: fillers of its table and its bias."""

from __future__ import annotations

import numpy as np
import pytest

from protogen import ProtogenError, verify
from tests.layers.nets import net_of
from tests.running import by_onnx, by_torch


def test_rows_of_the_table_plus_the_bias() -> None:
    net = net_of(
        'type: "Embed" bottom: "a" top: "y" embed_param { num_output: 3 input_dim: 4 weight_filler { type: "gaussian" } '
        'bias_filler { type: "constant" value: 2 } }', (5,),
    ).fill()  # fmt: skip
    index = np.array([0, 3, 1, 1, 2], np.float32)
    table, bias = net.weights["op"]
    assert np.array_equal(by_torch(net, {"a": index})[0], table[index.astype(int)] + 2)
    assert bias.tolist() == [2, 2, 2]


@pytest.mark.parametrize("index", [-1, 3])
def test_an_index_out_of_range_is_refused_by_every_engine(index: float) -> None:
    """ONNX's Gather counts negative ones from the end: -1 would give the last row."""
    net = net_of('type: "Embed" bottom: "a" top: "y" embed_param { num_output: 2 input_dim: 3 }', (2,)).fill()
    values = {"a": np.array([0, index], np.float32)}
    with pytest.raises(Exception, match="out of data bounds"):
        by_onnx(net, values)
    for engine in ("torch", "onnxruntime"):
        with pytest.raises(ProtogenError, match="cannot run this net"):
            verify(net, backends=[engine], inputs=values)


def test_a_batch_is_reindexed_by_indices_in_range() -> None:
    net = net_of('type: "BatchReindex" bottom: "a" bottom: "b" top: "y"', (3, 2), (4,))
    values = {"a": np.arange(6, dtype=np.float32).reshape(3, 2), "b": np.array([2, 0, 0, 1], np.float32)}
    assert np.array_equal(by_onnx(net, values)[0], values["a"][[2, 0, 0, 1]])
    with pytest.raises(Exception, match="out of data bounds"):
        by_onnx(net, {**values, "b": np.array([0, -1, 0, 0], np.float32)})
