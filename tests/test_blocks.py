"""Building blocks: the shapes they make, and the names they give."""

from __future__ import annotations

from typing import Any

import pytest

from protogen import NetBuilder, blocks
from tests.nets import begun


def names(b: NetBuilder) -> list[str]:
    return [layer.name for layer in b.build().layers[1:]]


def types(b: NetBuilder) -> list[str]:
    return [layer.type for layer in b.build().layers[1:]]


SHAPES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "conv_block": (lambda b: blocks.conv_block(b, "data", 24, 3, stride=2), (1, 24, 16, 16)),
    "conv_block of 1x1": (lambda b: blocks.conv_block(b, "data", 24, 1), (1, 24, 32, 32)),
    "stem": (lambda b: blocks.stem(b, "data", 32), (1, 32, 8, 8)),
    "two_way_dense_layer": (lambda b: blocks.two_way_dense_layer(b, "data", 8, 2), (1, 24, 32, 32)),
    "two_way_dense_block": (lambda b: blocks.two_way_dense_block(b, "data", 3, 8, 2), (1, 40, 32, 32)),
    "transition": (lambda b: blocks.transition(b, "data", 20), (1, 20, 16, 16)),
    "transition without pooling": (lambda b: blocks.transition(b, "data", pool=None), (1, 16, 32, 32)),
    "basic_block": (lambda b: blocks.basic_block(b, "data", 16), (1, 16, 32, 32)),
    "basic_block that halves": (lambda b: blocks.basic_block(b, "data", 32, 2), (1, 32, 16, 16)),
    "bottleneck": (lambda b: blocks.bottleneck(b, "data", 64, 2), (1, 64, 16, 16)),
    "bottleneck of ResNeXt": (lambda b: blocks.bottleneck(b, "data", 64, width=32, group=4), (1, 64, 32, 32)),
    "inverted_residual": (lambda b: blocks.inverted_residual(b, "data", 16), (1, 16, 32, 32)),
    "inverted_residual that halves": (lambda b: blocks.inverted_residual(b, "data", 24, 2, expansion=4), (1, 24, 16, 16)),
    "fire": (lambda b: blocks.fire(b, "data", 4, 12), (1, 24, 32, 32)),
    "squeeze_excite": (lambda b: blocks.squeeze_excite(b, "data", 4), (1, 16, 32, 32)),
}


@pytest.mark.parametrize(("make", "shape"), SHAPES.values(), ids=list(SHAPES))
def test_shapes(make: Any, shape: tuple[int, ...]) -> None:
    b = begun((1, 16, 32, 32))
    assert b.shape(make(b)) == shape
    assert b.build().outputs == [b.last]


@pytest.mark.parametrize(("make", "shape"), SHAPES.values(), ids=list(SHAPES))
def test_blocks_nest_twice_without_a_clash(make: Any, shape: tuple[int, ...]) -> None:
    b = begun((1, 16, 32, 32))
    outputs = []
    for name in ("first", "second"):
        with b.scope(name):
            outputs.append(make(b))
    assert all(b.shape(output) == shape for output in outputs)
    assert len(set(names(b))) == len(names(b))


def test_conv_block_in_layers() -> None:
    b = begun((1, 16, 32, 32))
    assert b.conv_block(8, 3, stride=2, name="c") == "c"
    assert list(zip(names(b), types(b))) == [
        ("c", "Convolution"),
        ("c/bn", "BatchNorm"),
        ("c/scale", "Scale"),
        ("c/relu", "ReLU"),
    ]
    assert b.build().param_shapes["c"] == [(8, 16, 3, 3)], "BatchNorm takes the bias's part"
    assert blocks.conv_block(b, "c", 8, relu=False, name="d") == "d"
    assert types(b)[-1] == "Scale"


def test_two_way_dense_layer_grows_by_both_branches() -> None:
    """Pelee, figure 1: a 1x1-3x3 branch and a 1x1-3x3-3x3 branch of half the growth rate each."""
    b = begun((1, 16, 32, 32))
    blocks.two_way_dense_layer(b, "data", 8, 2, name="dense")
    net = b.build()
    assert net.layer("dense").bottoms == ["data", "dense/a2", "dense/b3"]
    assert [net.shapes[f"dense/{branch}"][1] for branch in ("a1", "a2", "b1", "b2", "b3")] == [8, 4, 8, 4, 4]


def test_residual_blocks_add_their_input_or_a_projection_of_it() -> None:
    b = begun((1, 16, 32, 32))
    plain = blocks.basic_block(b, "data", 16, name="plain")
    assert b.build().layer(plain).bottoms == ["data", "plain/conv2"]
    wide = blocks.bottleneck(b, plain, 64, name="wide")
    assert b.build().layer(wide).bottoms == ["wide/shortcut", "wide/conv3"]
    assert types(b)[-1] == "ReLU"


def test_inverted_residual_is_linear_at_its_end() -> None:
    b = begun((1, 16, 32, 32))
    block = blocks.inverted_residual(b, "data", 16, name="ir")
    net = b.build()
    assert net.layer(block).bottoms == ["data", "ir/linear"]
    assert net.layer("ir/dwise").message.convolution_param.group == 96
    assert not any(layer.type == "ReLU" and layer.bottoms == ["ir/linear"] for layer in net.layers)


def test_squeeze_excite_weights_channels_as_the_formula_does() -> None:
    import torch

    b = begun((2, 8, 5, 5))
    blocks.squeeze_excite(b, "data", 4, name="se")
    net = b.build().fill(1)
    module = net.to_torch()
    x = torch.randn(2, 8, 5, 5)
    reduce, expand = module.caffe_params("se/reduce"), module.caffe_params("se/expand")
    squeezed = torch.relu(x.mean((2, 3)) @ reduce[0].flatten(1).T + reduce[1])
    gate = torch.sigmoid(squeezed @ expand[0].flatten(1).T + expand[1])
    torch.testing.assert_close(module(x), x * gate[:, :, None, None])
