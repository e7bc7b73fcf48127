"""BatchNorm's fields of forks: happynear's disable_mean and disable_variance, Intel's fused ReLU and sub-batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from tests.layers.alone import Alone
from tests.layers.nets import check_every_form, net_of, values_for
from tests.running import Arrays, assert_same, by_onnx, by_torch

X = (4, 3, 5, 2)
MEAN, VARIANCE = np.array([0.5, -1, 2], np.float32), np.array([2, 0.5, 1], np.float32)


def batch_norm(param: str, phase: str = "TEST") -> protogen.Net:
    net = net_of(f'type: "BatchNorm" bottom: "a" top: "y" batch_norm_param {{ {param} }}', X, phase=phase)
    net.weights["op"] = [4 * MEAN, 4 * VARIANCE, np.array([4], np.float32)]
    return net


def per_channel(values: np.ndarray) -> np.ndarray:
    return values.reshape(1, 3, 1, 1)


@pytest.mark.parametrize(("centres", "divides"), [(False, True), (True, False), (False, False)])
def test_stored_statistics_that_are_disabled_are_left_out(centres: bool, divides: bool) -> None:
    net = batch_norm(f"disable_mean: {str(not centres).lower()} disable_variance: {str(not divides).lower()}")
    values = values_for(net)
    expected = values["a"] - per_channel(MEAN) * centres
    if divides:
        expected = expected / np.sqrt(per_channel(VARIANCE) + 1e-5)
    assert_same(by_torch(net, values), [expected])
    check_every_form(net)


@pytest.mark.parametrize(("centres", "divides"), [(False, True), (True, False)])
def test_the_batchs_statistics_that_are_disabled_are_neither_used_nor_stored(centres: bool, divides: bool) -> None:
    net = batch_norm(f"disable_mean: {str(not centres).lower()} disable_variance: {str(not divides).lower()}", phase="TRAIN")
    module, x = net.to_torch(), values_for(net)["a"].astype(np.float64)
    mean = x.mean((0, 2, 3), keepdims=True) * centres
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdims=True)  # of the squares themselves where the mean stays in
    expected = (x - mean) / (np.sqrt(variance + 1e-5) if divides else 1)
    np.testing.assert_allclose(module(torch.tensor(x, dtype=torch.float32)).detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    sums, squares, factor = (blob.numpy() for blob in module.caffe_params("op"))
    f, m = np.float32(0.999), 40
    np.testing.assert_allclose(sums, f * 4 * MEAN + mean.ravel() if centres else 4 * MEAN, rtol=1e-5)
    np.testing.assert_allclose(squares, f * 4 * VARIANCE + variance.ravel() * m / (m - 1) if divides else 4 * VARIANCE, rtol=1e-5)
    assert factor[0] == pytest.approx(f * 4 + 1)


def test_use_global_stats_false_in_test_takes_the_batchs() -> None:
    check_every_form(batch_norm("use_global_stats: false disable_mean: true"), batch=None)
    check_every_form(batch_norm("use_global_stats: false disable_variance: true relu: true"), batch=None)


def test_disabled_statistics_do_not_go_with_nvidias_form() -> None:
    with pytest.raises(protogen.ProtogenError, match="cannot be combined with scale_bias"):
        net_of('type: "BatchNorm" bottom: "a" top: "y" batch_norm_param { scale_bias: true disable_mean: true }', X)


def test_a_fused_relu_follows_and_is_not_folded_away() -> None:
    net, plain = batch_norm("relu: true"), batch_norm("")
    values = values_for(net)
    expected = [np.maximum(by_torch(plain, values)[0], 0)]
    assert_same(by_torch(net, values), expected)
    assert_same([net.to_torch(fold=True)(torch.tensor(values["a"])).detach().numpy()], expected)
    assert_same(by_onnx(net, values), expected)
    check_every_form(net)


@pytest.mark.parametrize("field", ["stats_batch_size: 2", "update_global_stats: true"])
def test_fields_that_only_count_in_training_are_refused_there_and_idle_in_inference(field: str) -> None:
    values = values_for(batch_norm(""))
    assert_same(by_torch(batch_norm(field), values), by_torch(batch_norm(""), values))
    with pytest.raises(protogen.ProtogenError, match=field.partition(":")[0] + " is not computed"):
        batch_norm(field, phase="TRAIN").to_torch()


SCALE, BIAS = np.array([2, -1, 0.5], np.float32), np.array([0.5, 0, -2], np.float32)
LAYER = 'bottom: "a" top: "y" batch_norm_param { eps: 0.1 }'


def stored(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    """(x - mean) / deviation by the stored statistics, or what the layer's field leaves of it."""
    p, (sums, squares, factor) = net.layers[-1].message.batch_norm_param, net.weights["op"]
    y = values["a"] - (0 if p.disable_mean else per_channel(sums / factor))
    y = y / (1 if p.disable_variance else np.sqrt(per_channel(squares / factor) + 0.1))
    return [np.maximum(y, 0) if p.relu else y]


def standardised(x: np.ndarray) -> np.ndarray:
    return (x - x.mean((0, 2, 3), keepdims=True)) / np.sqrt(x.var((0, 2, 3), keepdims=True) + 0.1)


def untouched(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    """In training as in inference: the stored statistics divide and stay, and the gradient is theirs alone."""
    slope = np.broadcast_to(1 / np.sqrt(per_channel(VARIANCE) + 0.1), X)
    return [*stored(net, values), *net.weights["op"], slope]


def nvidias(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    """With scale and bias, and by statistics that the factor does not divide (batch_norm_layer.cpp of NVIDIA/caffe)."""
    unit = (values["a"] - per_channel(MEAN)) / np.sqrt(per_channel(VARIANCE) + 0.1)
    return [unit * per_channel(SCALE) + per_channel(BIAS)]


ALONE = [
    *(
        Alone("BatchNorm", f"batch_norm_param.{field}", True, LAYER, [X], stored, blobs=[4 * MEAN, 4 * VARIANCE, [4]])
        for field in ("disable_mean", "disable_variance", "relu")
    ),
    # Real Caffe's cases set it to what their phase does without it.
    Alone(
        "BatchNorm", "batch_norm_param.use_global_stats", True, LAYER, [X], untouched, phase="TRAIN",
        blobs=[4 * MEAN, 4 * VARIANCE, [4]], stored=(0, 1, 2), gradient=("a",),
    ),
    Alone(
        "BatchNorm", "batch_norm_param.use_global_stats", False, LAYER, [X],
        lambda net, values: [standardised(values["a"].astype(np.float64))], blobs=[4 * MEAN, 4 * VARIANCE, [4]],
    ),
    Alone("BatchNorm", "batch_norm_param.scale_bias", True, LAYER, [X], nvidias, blobs=[MEAN, VARIANCE, [4], SCALE, BIAS]),
]  # fmt: skip


BIAS_FILLER = 'type: "BatchNorm" bottom: "a" top: "y" batch_norm_param { bias_filler { value: 0.5 } %s }'


def test_a_bias_filler_alone_gives_what_both_forks_give_in_test() -> None:
    either, nvidia = (net_of(BIAS_FILLER % more, (2, 4, 3, 3)) for more in ("", "scale_bias: true"))
    rng = np.random.default_rng(0)
    mean, variance, scale, bias = rng.random((4, 4), np.float32)
    for net in (either, nvidia):
        net.weights["op"] = [mean, variance, np.ones(1), scale, bias]  # the factor that NVIDIA's Caffe stores
    values = values_for(either)
    assert_same(by_torch(either, values), by_torch(nvidia, values))


def test_a_bias_filler_alone_is_refused_where_the_forks_differ() -> None:
    with pytest.raises(protogen.ProtogenError, match=r"bias_filler alone.*scale_bias: true means NVIDIA's"):
        net_of(BIAS_FILLER % "", (2, 4, 3, 3), phase="TRAIN").to_torch()
    with pytest.raises(protogen.ProtogenError, match="bias_filler alone"):
        net_of(BIAS_FILLER % "eps: 1e-6", (2, 4, 3, 3)).to_torch()
