"""Activations against PyTorch's own, in either form."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

import protogen
from protogen.activations import hard_sigmoid, hard_swish, relu, relu6
from tests.nets import begun

FUNCTIONS: dict[str, tuple[Callable[..., str], Callable[[Any], Any]]] = {
    "relu": (relu, torch.relu),
    "relu6": (relu6, torch.nn.functional.relu6),
    "hard_sigmoid": (hard_sigmoid, torch.nn.functional.hardsigmoid),
    "hard_swish": (hard_swish, torch.nn.functional.hardswish),
}


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_they_are_pytorchs(name: str, clip: bool) -> None:
    ours, theirs = FUNCTIONS[name]
    function = ours if name == "relu" else partial(ours, clip=clip)
    b = begun((1, 2, 64, 64))
    function(b, b.conv(2, 1, bias_term=False, name="x"), "act")
    net = b.build()
    net.weights["x"] = [torch.eye(2).view(2, 2, 1, 1).numpy()]
    values = torch.linspace(-10, 10, 8192).view(1, 2, 64, 64)
    assert torch.allclose(net.to_torch()(values), theirs(values), atol=1e-6)
    kinds = {layer.type for layer in net.layers}
    assert ("Clip" in kinds) is (clip and name != "relu")
    assert ("ReLU6" in kinds) is (not clip and name != "relu")
    assert protogen.verify(net).ok
