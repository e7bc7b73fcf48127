"""Wrong arguments of the builder's methods: told at the call, with the layer and what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from protogen import NetError
from tests.nets import begun

MISTAKES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no bottom": (lambda b: b.conv(None, 8, 3), r"conv\(\): its bottom None is not a blob"),
    "no bottom by name": (lambda b: b.conv(bottom=None, num_output=8), "None is not a blob"),
    "several bottoms": (lambda b: b.conv(("data", "label"), 8, 3), "not a blob but several"),
    "a number for a bottom": (lambda b: b.layer("ReLU", 5), "layer 'relu1' .ReLU.: 5 is not a blob"),
    "the shape of nothing": (lambda b: b.shape(None), "None is not a blob"),
    "kernel of three": (lambda b: b.conv(8, (3, 3, 3)), r"'conv1' .*: kernel_size takes one number or \(height, width\)"),
    "stride of one": (lambda b: b.pool("MAX", 3, stride=(1,)), "'pool1' .*: stride takes one number"),
    "filler of a weight": (
        lambda b: b.conv(8, 3, weight_filler="kaiming"),
        "'conv1' .*: its weight: unknown filler",
    ),
    "filler's number": (lambda b: b.fc(8, weight_filler={"type": "gaussian", "std": -1}), "'fc1' .*: its weight: .*std > 0"),
    "filler of a bias": (lambda b: b.fc(8, bias_term=True, bias_filler="zero"), "'fc1' .*: its bias: unknown filler"),
    "filler of any layer": (lambda b: b.layer("PReLU", "data", filler={"type": "x"}), "'prelu1' .*: unknown filler type 'x'"),
    "field of a message": (lambda b: b.layer("Data", batch_size=8), "say data_param={'batch_size': 8}"),
}


@pytest.mark.parametrize(("call", "message"), MISTAKES.values(), ids=list(MISTAKES))
def test_mistakes_are_told_at_the_call(call: Callable[[Any], Any], message: str) -> None:
    b = begun()
    with pytest.raises(NetError, match=message):
        call(b)
    assert b.relu() == "data"  # the builder is as it was
