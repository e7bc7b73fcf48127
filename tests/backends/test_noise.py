"""Simulated rounding: as large as what float32's arithmetic does, the same for a seed, and nothing where all is exact."""

from __future__ import annotations

import numpy as np
import pytest

import protogen
from protogen import NetBuilder
from protogen.backends import BACKENDS
from protogen.backends.setting import Setting
from protogen.verification import random_inputs, with_random_weights


def runs(net: protogen.Net, feed: dict[str, np.ndarray] | None = None) -> dict[str, dict[str, np.ndarray]]:
    """Each blob in float32, in float64, and in float64 with noise of two seeds."""
    graph = with_random_weights(net.graph())
    values = random_inputs(graph, 0, feed or {})
    exact = Setting(dtype="float64")
    settings = {"float32": Setting(), "exact": exact, "noisy": Setting(dtype="float64", noise=0)}
    settings |= {"again": settings["noisy"], "other": Setting(dtype="float64", noise=1)}
    return {name: dict(BACKENDS["torch"](graph, values, setting)) for name, setting in settings.items()}


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a - b).max() / np.abs(b).max())


@pytest.mark.parametrize("inputs", [30, 300, 30_000])
def test_noise_is_of_the_size_of_float32s_rounding(inputs: int) -> None:
    """It grows with the number of products, as the errors of float32 do, and is not far above them."""
    b = NetBuilder("sum")
    b.fc(b.input("data", (4, inputs)), 50, name="fc")
    blobs = {name: each["fc"] for name, each in runs(b.build()).items()}
    noise, real = distance(blobs["noisy"], blobs["exact"]), distance(blobs["float32"], blobs["exact"])
    assert real < noise
    assert 1e-7 * inputs**0.5 / 10 < noise < 1e-7 * inputs**0.5 * 10


def test_products_that_cancel_are_noisier() -> None:
    b = NetBuilder("cancel")
    b.fc(b.input("data", (1, 2)), 1, name="fc", bias_term=False)
    net = b.build()
    net.weights["fc"] = [np.array([[1, -1.0001]], np.float32)]
    blobs = {name: each["fc"] for name, each in runs(net, {"data": np.ones((1, 2), np.float32)}).items()}
    assert distance(blobs["noisy"], blobs["exact"]) > 1e-5


def test_a_seed_gives_the_same_noise() -> None:
    blobs = runs(protogen.models.lenet(batch=1))
    for name in blobs["noisy"]:
        np.testing.assert_array_equal(blobs["noisy"][name], blobs["again"][name])
    assert distance(blobs["noisy"]["ip1"], blobs["other"]["ip1"]) > 0


def test_whole_numbers_are_exact() -> None:
    """Labels, indices and zeros are held by float32 as they are; noise would make another class of them."""
    net = protogen.loads("""
        layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 3 dim: 7 } } }
        layer { name: "relu" type: "ReLU" bottom: "data" top: "relu" }
        layer { name: "max" type: "ArgMax" bottom: "relu" top: "max" }""")
    blobs = runs(net)
    np.testing.assert_array_equal(blobs["noisy"]["max"], blobs["exact"]["max"])
    np.testing.assert_array_equal(blobs["noisy"]["relu"] == 0, blobs["exact"]["relu"] == 0)
    assert distance(blobs["noisy"]["relu"], blobs["exact"]["relu"]) < 1e-6
