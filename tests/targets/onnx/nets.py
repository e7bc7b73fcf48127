"""Nets that tests of ONNX models work on."""

from __future__ import annotations

import numpy as np
import torch

import protogen
from protogen import NetBuilder
from tests.running import by_onnx, by_torch


def classifier() -> protogen.Net:
    b = NetBuilder("classifier")
    x = b.conv_block(b.input("data", (2, 3, 10, 12)), 8, 3, name="conv")
    b.softmax(b.fc(b.pool(x, "AVE", global_pooling=True), 5, name="fc"), name="prob")
    return b.build().fill(1)


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.float32)


def value(net: protogen.Net, batch: int = 2) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((batch, *net.shapes[net.inputs[0]][1:])).astype(np.float32)


def assert_gives(net: protogen.Net, x: np.ndarray, **options: object) -> None:
    for actual, wanted in zip(by_onnx(net, {net.inputs[0]: x}, **options), by_torch(net, [torch.tensor(x)])):
        np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-5)
