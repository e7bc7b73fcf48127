"""DenseBlock: caffe_ocr's steps for GPUs (DenseBlock_layer.cu), with loops for its flipped convolution."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import ConversionError, LayerError
from tests.layers.alone import Alone
from tests.layers.nets import check_every_form, over
from tests.running import Arrays, assert_same, by_torch, randomised

SHAPE = (2, 3, 4, 5)
FILLERS = " ".join(
    f'{name} {{ type: "uniform" min: -1 max: 1 }}' for name in ("Filter_Filler", "BN_Scaler_Filler", "BN_Bias_Filler")
)


def block(more: str, phase: str = "TEST") -> protogen.Net:
    return over(f'type: "DenseBlock" denseblock_param {{ {FILLERS} {more} }}', SHAPE, phase=phase).fill(2)


def convolved(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """`convolution_Fwd` of DenseBlock_layer.cpp, like cuDNN's CUDNN_CONVOLUTION: each kernel value meets the pixel opposite."""
    half = kernel.shape[2] // 2
    padded = np.pad(x, [(0, 0), (0, 0), (half, half), (half, half)])
    top = np.zeros((len(x), len(kernel), *x.shape[2:]))
    for y, column in np.ndindex(*x.shape[2:]):
        for i, j in np.ndindex(*kernel.shape[2:]):
            pixel = padded[:, :, y + 2 * half - i, column + 2 * half - j]
            top[:, :, y, column] += pixel @ kernel[:, :, i, j].T
    return top


def dense(net: protogen.Net, values: Arrays, stored: list[np.ndarray] | None = None) -> list[np.ndarray]:
    """The transitions one by one; in TRAIN with the batch's own statistics, which then move the stored ones."""
    p, x = net.layers[-1].message.denseblock_param, values["a"].astype(np.float64)
    t, blobs = p.numTransition, [blob.astype(np.float64) for blob in net.weights["op"]]

    def normalized(y: np.ndarray, first: int) -> np.ndarray:
        scale, shift, mean, variance = (blobs[first + i * t] for i in range(4))
        if net.phase == "TRAIN":
            count, fraction = y.size / y.shape[1], p.moving_average_fraction
            own_mean, own = y.mean((0, 2, 3), keepdims=True), y.var((0, 2, 3), keepdims=True)
            blobs[first + 2 * t] = fraction * own_mean + (1 - fraction) * mean
            blobs[first + 3 * t] = fraction * own * count / (count - 1) + (1 - fraction) * variance
            mean, variance = own_mean, own
        return np.maximum(scale * (y - mean) / np.sqrt(variance + 1e-5) + shift, 0)

    for i in range(t):
        y = normalized(x, t + i)
        if p.use_BC:
            y = normalized(convolved(y, blobs[5 * t + i]), 6 * t + i)
        x = np.concatenate([x, convolved(y, blobs[i])], 1)
    return [x.astype(np.float32), *(blobs[i].astype(np.float32) for i in (3 * t, 4 * t))]


MORE = ["numTransition: 3 growthRate: 2", "numTransition: 2 growthRate: 2 use_BC: true"]


@pytest.mark.parametrize("more", MORE)
def test_a_block_is_the_forks(more: str) -> None:
    net = randomised(block(more))
    net.weights["op"][-1][:] = 0.0  # not read
    values = {"a": np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)}
    assert_same(by_torch(net, values), dense(net, values)[:1])
    check_every_form(net)


@pytest.mark.parametrize("more", MORE)
def test_training_normalizes_by_the_batch_and_moves_the_statistics(more: str) -> None:
    net = block(more + " moving_average_fraction: 0.25", phase="TRAIN")
    values = {"a": np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)}
    module = net.to_torch().train()
    top = module(torch.tensor(values["a"])).detach().numpy()
    expected = dense(net, values)
    t = net.layers[-1].message.denseblock_param.numTransition
    assert_same([top, *(module.caffe_params("op")[i].detach().numpy() for i in (3 * t, 4 * t))], expected)


def test_what_it_does_not_take_is_refused() -> None:
    with pytest.raises(ConversionError, match=r"denseblock_param.use_dropout is not computed"):
        block("numTransition: 2 use_dropout: true").to_torch()
    with pytest.raises(LayerError, match="takes a bottom with 4 axes"):
        over('type: "DenseBlock"', (2, 3))


def top_only(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    return dense(net, values)[:1]


LAYER = f'bottom: "a" top: "y" denseblock_param {{ numTransition: 2 growthRate: 3 {FILLERS} }}'
ALONE = [
    Alone("DenseBlock", "denseblock_param.numTransition", 3, LAYER.replace("numTransition: 2", ""), [SHAPE], top_only),
    Alone("DenseBlock", "denseblock_param.growthRate", 2, LAYER.replace("growthRate: 3", ""), [SHAPE], top_only),
    Alone("DenseBlock", "denseblock_param.use_BC", True, LAYER, [SHAPE], top_only),
    Alone("DenseBlock", "denseblock_param.moving_average_fraction", 0.5, LAYER, [SHAPE], dense, phase="TRAIN", stored=(6, 8)),
]
