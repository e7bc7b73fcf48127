"""Cutting a definition between blobs: what is left, and what cannot be cut."""

from __future__ import annotations

import pytest

from protogen.errors import NetError
from protogen.prototxt.cut import cut
from protogen.prototxt.message import Message

# name: bottoms -> tops
NET = {
    "data": ([], ["data", "label"]),
    "conv": (["data"], ["conv"]),
    "relu": (["conv"], ["conv"]),
    "fork": (["conv"], ["a", "b"]),
    "fc": (["a"], ["fc"]),
    "loss": (["fc", "label"], ["loss"]),
    "silence": (["b"], []),
}


def layers(net: dict[str, tuple[list[str], list[str]]] = NET) -> list[Message]:
    return [Message.of("LayerParameter", name=name, type="T", bottom=bottoms, top=tops) for name, (bottoms, tops) in net.items()]


def names(cut_layers: list[Message]) -> list[str]:
    return [layer.name for layer in cut_layers]


def test_nothing_asked_nothing_cut() -> None:
    assert names(cut(layers())) == list(NET)


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (["fc"], ["data", "conv", "relu", "fork", "fc"]),
        (["conv"], ["data", "conv", "relu"]),
        (["b", "conv"], ["data", "conv", "relu", "fork"]),
        (["data"], ["data"]),
    ],
)
def test_outputs_keep_what_they_depend_on(outputs: list[str], expected: list[str]) -> None:
    assert names(cut(layers(), outputs=outputs)) == expected


def test_a_blob_that_is_fed_needs_none_of_the_layers_that_make_it() -> None:
    part = cut(layers(), {"conv": (1, 8, 4, 4)}, ["fc"])
    assert names(part) == ["conv", "fork", "fc"]
    assert part[0].type == "Input"
    assert part[0].input_param.shape[0].dim == [1, 8, 4, 4]


def test_without_outputs_named_the_ends_stay() -> None:
    assert names(cut(layers(), {"conv": (1, 8, 4, 4)})) == ["conv", "data", "fork", "fc", "loss", "silence"]


def test_the_names_of_input_layers_are_free_ones() -> None:
    net = {"data": ([], ["data"]), "x": (["data"], ["y"]), "z": (["y"], ["z"]), "y": (["z"], ["w"])}
    assert names(cut(layers(net), {"y": (1,)})) == ["y_", "z", "y"]


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ({"cnov": (1,)}, None, "no blob 'cnov' in this net; did you mean 'conv'"),
        ({}, ["fcc"], "no blob 'fcc' in this net"),
        ({"a": (1, 2)}, None, "blob 'a' cannot be fed: layer 'fork', which makes it, is needed for 'b'"),
    ],
)
def test_what_cannot_be_cut(inputs: dict[str, tuple[int, ...]], outputs: list[str] | None, message: str) -> None:
    with pytest.raises(NetError, match=message):
        cut(layers(), inputs, outputs)


def test_a_blob_that_is_read_before_its_last_value_cannot_be_fed() -> None:
    net = {
        "data": ([], ["data"]),
        "c": (["data"], ["c"]),
        "early": (["c"], ["e"]),
        "relu": (["c"], ["c"]),
        "f": (["c", "e"], ["f"]),
    }
    with pytest.raises(NetError, match="blob 'c' cannot be fed: layer 'early' reads it before a later layer changes it in place"):
        cut(layers(net), {"c": (1, 2)})
