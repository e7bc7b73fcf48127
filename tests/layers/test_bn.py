"""BN of CTPN's fork: stored or batch statistics by `moving_average`, `var_eps`, `decay`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from tests.layers.alone import Alone
from tests.layers.nets import check_every_form, net_of, values_for
from tests.running import Arrays, assert_same, by_torch

X = (3, 4, 5, 2)
FIELDS = 'scale_filler { type: "gaussian" mean: 1 std: 0.3 } shift_filler { type: "gaussian" } var_eps: 0.01'


def bn(param: str, phase: str = "TEST") -> protogen.Net:
    net = net_of(f'type: "BN" bottom: "a" top: "y" bn_param {{ {FIELDS} {param} }}', X, phase=phase).fill(1)
    scale, shift, *_ = net.weights["op"]
    mean, variance = np.linspace(-1, 1, 4).reshape(1, 4, 1, 1), np.linspace(0.2, 2, 4).reshape(1, 4, 1, 1)
    net.weights["op"] = [scale, shift, mean, variance]
    return net


def batch(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)


@pytest.mark.parametrize("moving", [True, False])
def test_in_test_moving_average_decides_which_statistics_count(moving: bool) -> None:
    net = bn(f"moving_average: {str(moving).lower()}")
    values, (scale, shift, *stored) = values_for(net), net.weights["op"]
    mean, variance = stored if moving else batch(values["a"].astype(np.float64))
    expected = (values["a"] - mean.reshape(1, 4, 1, 1)) / np.sqrt(variance.reshape(1, 4, 1, 1) + 0.01) * scale + shift
    np.testing.assert_allclose(by_torch(net, values)[0], expected, rtol=1e-4, atol=1e-5)
    check_every_form(net, batch=5 if moving else None)


def test_in_training_the_batchs_count_and_move_the_stored_ones_by_decay() -> None:
    net = bn("moving_average: true decay: 0.25", phase="TRAIN")
    x, (scale, shift, *stored) = values_for(net)["a"], net.weights["op"]
    module = net.to_torch()
    mean, variance = batch(x.astype(np.float64))
    expected = (x - mean) / np.sqrt(variance + 0.01) * scale + shift
    np.testing.assert_allclose(module(torch.tensor(x)).detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    for after, before, new in zip(module.caffe_params("op")[2:], stored, (mean, variance)):
        np.testing.assert_allclose(after.numpy(), 0.75 * before + 0.25 * new, rtol=1e-5)


def test_it_folds_into_the_convolution_before_it() -> None:
    text = "layer {{ name: '{0}' type: '{1}' bottom: '{2}' top: '{0}' {3} }}"
    net = protogen.loads(
        'input: "a" input_shape { dim: 1 dim: 3 dim: 6 dim: 6 }'
        + text.format(
            "c", "Convolution", "a", "convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: 'xavier' } }"
        )
        + text.format("b", "BN", "c", "bn_param { moving_average: true scale_filler { type: 'gaussian' mean: 2 } }")
    ).fill()
    values = values_for(net)
    folded = net.to_torch(fold=True)
    assert len(list(folded.children())) == 1
    assert_same([folded(torch.tensor(values["a"])).detach().numpy()], by_torch(net, values))


@pytest.mark.parametrize("other", ["bn_mode: INFERENCE", "momentum: 0.9"])
def test_fields_of_two_forks_are_refused(other: str) -> None:
    with pytest.raises(protogen.LayerError, match=f"mixes CTPN's var_eps with another fork's {other.partition(':')[0]}"):
        bn(other)


def test_another_axis_is_refused() -> None:
    with pytest.raises(protogen.ProtogenError, match="axis is not computed"):
        bn("axis: 2").to_torch()


BLOBS = [
    np.array(values, np.float32).reshape(1, 4, 1, 1)
    for values in ([1, 2, -1, 0.5], [0, 1, 2, -1], [-1, 0, 1, 2], [0.2, 0.5, 1, 2])  # scale, shift, mean, variance
]


def by_statistics(eps: float, moving: bool, decay: float | None = None):
    """Scale and shift of what the stored statistics or the batch's leave; then the stored ones, moved by `decay`."""

    def of(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
        scale, shift, *before = (blob.astype(np.float64) for blob in BLOBS)
        mean, variance = before if moving else batch(values["a"].astype(np.float64))
        y = (values["a"] - mean) / np.sqrt(variance + eps) * scale + shift
        after = [] if decay is None else [(1 - decay) * old + decay * new for old, new in zip(before, (mean, variance))]
        return [y, *after]

    return of


PSPNET = 'bottom: "a" top: "y" bn_param { frozen: false }'
CTPN = 'bottom: "a" top: "y" bn_param { moving_average: false decay: 0.05 }'
ALONE = [
    Alone("BN", "bn_param.eps", 0.25, PSPNET, [X], by_statistics(0.25, True), blobs=BLOBS),
    # Real Caffe's cases of these two run in TEST, where both are idle.
    Alone(
        "BN", "bn_param.momentum", 0.75, PSPNET, [X], by_statistics(1e-5, False, 0.25), phase="TRAIN", blobs=BLOBS, stored=(2, 3)
    ),
    Alone(
        "BN", "bn_param.frozen", True, 'bottom: "a" top: "y" bn_param { momentum: 0.9 }', [X], by_statistics(1e-5, True, 0),
        phase="TRAIN", blobs=BLOBS, stored=(2, 3),
    ),
    Alone("BN", "bn_param.var_eps", 0.25, CTPN, [X], by_statistics(0.25, False), blobs=BLOBS),
    Alone("BN", "bn_param.moving_average", True, CTPN, [X], by_statistics(1e-10, True), blobs=BLOBS),
    Alone(
        "BN", "bn_param.decay", 0.25, CTPN, [X], by_statistics(1e-10, False, 0.25), phase="TRAIN", blobs=BLOBS, stored=(2, 3)
    ),
]  # fmt: skip
