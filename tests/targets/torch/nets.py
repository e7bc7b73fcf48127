"""The net that tests of the PyTorch module work on, an image for it, and how results are compared."""

from __future__ import annotations

import numpy as np
import torch

import protogen
from protogen import NetBuilder, blocks


def small_net(phase: str = "TEST") -> protogen.Net:
    """A convolution with BatchNorm, a branch that works in place, two outputs; random statistics, so that folding shows."""
    b = NetBuilder("small", phase=phase)
    x = b.input("data", (2, 3, 12, 12))
    x = b.conv_block(x, 6, 3, name="one")
    x = blocks.inverted_residual(b, x, 6, expansion=2, name="two")
    b.dropout(x)
    b.conv(x, 4, 1, name="map")
    b.softmax(b.fc(b.global_pool(x), 5, name="fc"))
    net = b.build().fill(1)
    rng = np.random.default_rng(2)
    for layer, arrays in net.weights.items():
        net.weights[layer] = [array + 0.2 * rng.random(array.shape, dtype=np.float32) for array in arrays]
    return net


def image(net: protogen.Net, batch: int = 2) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(batch, *net.shapes["data"][1:])


def assert_alike(actual: tuple[torch.Tensor, ...], expected: tuple[torch.Tensor, ...], tolerance: float = 1e-5) -> None:
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected):
        torch.testing.assert_close(a, e, rtol=tolerance, atol=tolerance)
