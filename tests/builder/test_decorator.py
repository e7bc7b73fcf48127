"""Blocks of one's own: prefixes, groups, nesting, and errors inside."""

from __future__ import annotations

import pytest

import protogen
from protogen import NetBuilder, blocks
from tests.nets import begun


@protogen.block
def pair(b: NetBuilder, x: str, channels: int) -> str:
    x = b.conv_block(x, channels, 1, name="reduce")
    return b.conv_block(x, channels, 3, name="conv")


@protogen.block
def tower(b: NetBuilder, x: str, channels: int) -> str:
    for _ in range(2):
        x = pair(b, x, channels)
    return x


def test_a_block_of_ones_own_gets_a_prefix_and_a_number() -> None:
    b = begun((1, 16, 32, 32))
    assert [pair(b, "data", 4), pair(b, b.last, 4), pair(b, "data", 4, name="named")] == [
        "pair1/conv",
        "pair2/conv",
        "named/conv",
    ]
    assert pair(b, 6) == "pair3/conv", "without a bottom it goes on from the last blob"
    assert b.build().layer("pair3/reduce").bottoms == ["named/conv"]


def test_blocks_nest_and_are_groups_in_summaries() -> None:
    b = begun((1, 16, 32, 32))
    tower(b, "data", 4, name="tower")
    blocks.basic_block(b, b.last, 4, name="residual")
    net = b.build()
    groups = list(dict.fromkeys(layer.group for layer in net.layers))
    assert groups == ["", "tower/pair1", "tower/pair2", "residual"]
    text = str(net.summary())
    assert [text.index(f"[{group}]") for group in groups[1:]] == sorted(text.index(f"[{group}]") for group in groups[1:])
    assert net.summary().rows[1].group == "tower/pair1"


def test_a_block_without_a_prefix() -> None:
    @protogen.block(prefix=False)
    def plain(b: NetBuilder, x: str) -> str:
        return b.conv(x, 4, 1, name="conv")

    b = begun((1, 16, 32, 32))
    assert plain(b, "data", name="group") == "conv"
    assert b.build().layer("conv").group == "group"


def test_an_error_inside_a_block_names_the_layer_and_closes_the_scope() -> None:
    @protogen.block
    def broken(b: NetBuilder, x: str) -> str:
        return b.conv(x, 4, 99, name="conv")

    b = begun((1, 16, 32, 32))
    with pytest.raises(protogen.LayerError, match="layer 'broken1/conv'"):
        broken(b, "data")
    assert b.conv("data", 4, 1, name="after") == "after"
