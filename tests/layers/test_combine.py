"""Concat and Eltwise beyond the reference cases."""

from __future__ import annotations

import numpy as np
import pytest

import protogen
from protogen.errors import LayerError
from tests.layers.alone import Alone
from tests.layers.nets import check_every_form, net_of, values_for
from tests.running import Arrays, assert_same, by_torch


def test_concat_dim_is_the_old_name_of_axis() -> None:
    nets = [net_of(f'type: "Concat" bottom: "a" bottom: "b" top: "y" concat_param {{ {name}: 2 }}', (2, 3, 4), (2, 3, 1))
            for name in ("concat_dim", "axis")]  # fmt: skip
    values = values_for(nets[0])
    assert nets[0].shapes["y"] == (2, 3, 5)
    assert_same(by_torch(nets[0], values), [np.concatenate([values["a"], values["b"]], 2)])
    assert_same(by_torch(nets[1], values), by_torch(nets[0], values))


def test_per_fla_fuse_is_permute_and_flatten_of_ssd_heads() -> None:
    net = net_of(
        'type: "Concat" bottom: "a" bottom: "b" top: "y" concat_param { per_fla_fuse: true }', (2, 4, 3, 3), (2, 6, 2, 2)
    )
    values = values_for(net)
    flat = [values[name].transpose(0, 2, 3, 1).reshape(2, -1) for name in "ab"]
    assert net.shapes["y"] == (2, 60, 1, 1)
    assert np.array_equal(by_torch(net, values)[0], np.concatenate(flat, 1)[..., None, None])
    check_every_form(net)


def test_per_fla_fuse_of_one_bottom_is_no_identity() -> None:
    net = net_of('type: "Concat" bottom: "a" top: "y" concat_param { per_fla_fuse: true }', (1, 2, 2, 3))
    check_every_form(net)
    assert net.to_torch(fold=True) is not None
    assert net.to_onnx().graph.output[0].type.tensor_type.shape.dim[1].dim_value == 12


def test_per_fla_fuse_needs_four_axes_and_one_batch() -> None:
    text = 'type: "Concat" bottom: "a" bottom: "b" top: "y" concat_param { per_fla_fuse: true }'
    for shapes, message in (([(2, 4), (2, 4)], "4 axes"), ([(2, 4, 1, 1), (3, 4, 1, 1)], "batch")):
        with pytest.raises(protogen.ProtogenError, match=message):
            net_of(text, *shapes)


def heads(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    """Every bottom with its channels last, flattened, and these side by side."""
    flat = [values[name].transpose(0, 2, 3, 1).reshape(2, -1) for name in "ab"]
    return [np.concatenate(flat, 1)[..., None, None]]


PAIR = 'bottom: "a" bottom: "b" top: "y"'


def test_a_mask_multiplies_every_channel() -> None:
    net = net_of('type: "MaskPooling" bottom: "a" bottom: "b" top: "y"', (2, 3, 4, 5), (2, 1, 4, 5))
    values = values_for(net)
    expected = values["a"].copy()
    for n, c in np.ndindex(2, 3):
        expected[n, c] *= values["b"][n, 0]
    np.testing.assert_array_equal(by_torch(net, values)[0], expected)
    check_every_form(net)


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(LayerError, match=r"the mask for features \(2, 3, 4, 5\) must be \(2, 1, 4, 5\), not \(2, 3, 4, 5\)"):
        net_of('type: "MaskPooling" bottom: "a" bottom: "b" top: "y"', (2, 3, 4, 5), (2, 3, 4, 5))


ALONE = [
    Alone(
        "Concat", "concat_param.concat_dim", 2, PAIR, [(2, 3, 4)] * 2,
        lambda net, values: [np.concatenate([values["a"], values["b"]], 2)],
    ),
    Alone("Concat", "concat_param.per_fla_fuse", True, PAIR, [(2, 3, 2, 4), (2, 5, 2, 4)], heads),
]  # fmt: skip
