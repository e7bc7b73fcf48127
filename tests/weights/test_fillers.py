"""Fillers: the distributions of Caffe's, by their ranges, means and variances."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy
import pytest

from protogen.errors import ProtogenError
from protogen.weights.fillers import fill

SHAPE = (64, 48, 5, 5)
FAN_IN, FAN_OUT = 48 * 25, 64 * 25
FANS = {"FAN_IN": FAN_IN, "FAN_OUT": FAN_OUT, "AVERAGE": (FAN_IN + FAN_OUT) / 2}


def run(type: str, shape: tuple[int, ...] = SHAPE, seed: int = 0, **fields: Any) -> numpy.ndarray:
    defaults = {
        "value": 0.0,
        "min": 0.0,
        "max": 1.0,
        "mean": 0.0,
        "std": 1.0,
        "sparse": -1,
        "variance_norm": "FAN_IN",
    }
    filler: Any = SimpleNamespace(type=type, **{**defaults, **fields})
    values = fill(filler, shape, numpy.random.default_rng(seed))
    assert values.dtype == numpy.float32 and values.shape == shape and values.flags.writeable
    return values


def test_constant() -> None:
    assert (run("constant", value=-2.5) == -2.5).all()
    assert run("constant", (), value=3) == 3


def test_uniform_covers_its_range() -> None:
    values = run("uniform", min=-3, max=1)
    assert -3 <= values.min() < -2.99 and 0.99 < values.max() <= 1
    assert abs(values.mean() + 1) < 0.02
    assert abs(values.std() - 4 / math.sqrt(12)) < 0.02


def test_gaussian() -> None:
    values = run("gaussian", mean=2, std=0.1)
    assert abs(values.mean() - 2) < 0.002
    assert abs(values.std() - 0.1) < 0.002


def test_sparse_gaussian_keeps_that_share() -> None:
    values = run("gaussian", std=0.5, sparse=16)
    assert abs((values != 0).mean() - 16 / 64) < 0.01
    assert abs(values[values != 0].std() - 0.5) < 0.01
    assert not run("gaussian", sparse=0).any()


@pytest.mark.parametrize("norm", FANS)
def test_xavier(norm: str) -> None:
    limit = math.sqrt(3 / FANS[norm])
    values = run("xavier", variance_norm=norm)
    assert 0.999 * limit < abs(values).max() <= numpy.float32(limit)
    assert abs(values.var() * FANS[norm] - 1) < 0.02


@pytest.mark.parametrize("norm", FANS)
def test_msra(norm: str) -> None:
    values = run("msra", variance_norm=norm)
    assert abs(values.var() * FANS[norm] - 2) < 0.04
    assert abs(values.mean()) < 0.001


def test_fans_of_other_shapes() -> None:
    # One axis: fan-in is 1 and fan-out the whole count.
    assert 0.99 * math.sqrt(3) < run("xavier", (10_000,)).max() <= numpy.float32(math.sqrt(3))
    assert run("xavier", (10_000,), variance_norm="FAN_OUT").max() <= math.sqrt(3 / 10_000)
    assert abs(run("msra", (400, 100)).var() * 100 - 2) < 0.1


def test_positive_unitball_rows_sum_to_one() -> None:
    values = run("positive_unitball")
    assert (values > 0).all()
    numpy.testing.assert_allclose(values.reshape(64, -1).sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 16])
def test_bilinear(size: int) -> None:
    values = run("bilinear", (3, 2, size, size))
    factor = math.ceil(size / 2)
    center = (size - 1) / (2 * factor)
    for y in range(size):
        for x in range(size):
            expected = (1 - abs(x / factor - center)) * (1 - abs(y / factor - center))
            numpy.testing.assert_allclose(values[:, :, y, x], expected, rtol=1e-6)


def test_bilinear_upsampling_keeps_a_constant_image() -> None:
    """Kernel 4, stride 2: every output inside the image is covered by weights that sum to one."""
    kernel = run("bilinear", (1, 1, 4, 4))[0, 0]
    for y in range(2):
        for x in range(2):
            assert kernel[y::2, x::2].sum() == 1


def test_diagonal_leads_each_input_to_its_output() -> None:
    """filler.hpp of lmb-freiburg/flownet2."""
    values = run("diagonal", (3, 4, 2, 2), diag_val=[2.0, 8.0])
    assert values.sum((2, 3)).tolist() == [[2, 0, 0, 0], [0, 8, 0, 0], [0, 0, 1, 0]]
    assert values[1, 1].tolist() == [[2, 2], [2, 2]]


def test_gaussian_unitball_has_vectors_of_length_1_in_every_direction() -> None:
    """filler.hpp of happynear/caffe-windows."""
    values = run("gaussian_unitball", (64, 3, 4)).reshape(64, -1)
    numpy.testing.assert_allclose((values**2).sum(1), 1, rtol=1e-5)
    assert abs(values.mean()) < 0.05


def test_edges_are_half_the_difference_of_both_sides() -> None:
    """filler.hpp of Ravi-Garg/Unsupervised_Depth_Estimation; its EdgeX is the one along the height."""
    image = numpy.arange(9).reshape(3, 3) ** 2
    for type, ends in (("EdgeX", (image[0, 1], image[2, 1])), ("EdgeY", (image[1, 0], image[1, 2]))):
        values = run(type, (2, 3, 3, 3))
        numpy.testing.assert_array_equal((values * image).sum((2, 3)), (ends[1] - ends[0]) / 2)


def test_a_seed_gives_the_same_values() -> None:
    assert (run("xavier", seed=3) == run("xavier", seed=3)).all()
    assert (run("xavier", seed=3) != run("xavier", seed=4)).any()


@pytest.mark.parametrize(("type", "fields", "message"), [
    ("xaiver", {}, "did you mean 'xavier'"),
    ("", {}, "unknown filler type"),
    ("uniform", {"min": 1.0, "max": 0.0}, "min <= max"),
    ("uniform", {"max": math.nan}, "min <= max"),
    ("gaussian", {"std": 0.0}, "std > 0"),
    ("gaussian", {"std": math.nan}, "std > 0"),
    ("gaussian", {"sparse": 65}, "sparse between 0 and the 64"),
    ("gaussian", {"sparse": -2}, "sparse"),
    ("xavier", {"sparse": 3}, "does not support sparse"),
    ("msra", {"variance_norm": "FAN_INN"}, "did you mean 'FAN_IN'"),
])  # fmt: skip
def test_bad_parameters(type: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ProtogenError, match=message):
        run(type, **fields)


@pytest.mark.parametrize(("type", "shape"), [
    ("bilinear", (4, 4)), ("bilinear", (1, 1, 3, 4)), ("EdgeX", (1, 1, 5, 5)), ("xavier", ()), ("constant", (0, 3)),
    ("uniform", (-1,)), ("positive_unitball", ()),
])  # fmt: skip
def test_bad_shapes(type: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ProtogenError):
        run(type, shape)
