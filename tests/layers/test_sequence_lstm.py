"""Lstm against lstm_layer.cpp of junhyukoh/caffe-lstm, restated with loops: forward, backward and every form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import LayerError
from tests.layers.alone import Alone
from tests.layers.nets import check_every_form, over
from tests.running import Arrays, assert_same, by_onnx, by_torch

T, N, D, F = 4, 3, 2, 5
FILLED = 'weight_filler { type: "uniform" min: -1 max: 1 } bias_filler { type: "uniform" min: -1 max: 1 }'


def net_of(marks: int = 0, more: str = "", n: int = N) -> protogen.Net:
    shapes = [(T * n, F), *([(marks,)] if marks else [])]
    return over(f'type: "Lstm" lstm_param {{ num_output: {D} batch_size: {n} {FILLED} {more} }}', *shapes).fill(1)


def values_of(net: protogen.Net) -> Arrays:
    rng = np.random.default_rng(0)
    values = {"a": rng.standard_normal(net.shapes["a"]).astype(np.float32)}
    if "b" in net.inputs:
        values["b"] = (rng.random(net.shapes["b"]) > 0.4).astype(np.float32)
    return values


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


class Plain:
    """The fork's two passes, a stream and a step at a time; mark t + n is that of stream n in step t."""

    def __init__(self, net: protogen.Net, values: Arrays, n: int = N, limit: float = 0.0) -> None:
        self.wx, self.wh, self.b = (blob.astype(np.float64) for blob in net.weights["op"])
        self.x = values["a"].astype(np.float64).reshape(-1, n, values["a"].shape[1])
        self.steps, self.n, self.limit = len(self.x), n, limit
        marks = values.get("b")
        self.cont = [[bool(marks[t + i]) if marks is not None else t > 0 for i in range(n)] for t in range(self.steps)]
        self.forward()

    def forward(self) -> None:
        self.h, self.c = np.zeros((2, self.steps + 1, self.n, D))  # row 0 is the state before the first step
        self.gates = np.zeros((self.steps, self.n, 4, D))
        for t, n in np.ndindex(self.steps, self.n):
            total = self.wx @ self.x[t, n] + self.b + (self.wh @ self.h[t, n] if self.cont[t][n] else 0)
            i, f, o, g = total.reshape(4, D)
            self.gates[t, n] = sigmoid(i), sigmoid(f) * self.cont[t][n], sigmoid(o), np.tanh(g)
            i, f, o, g = self.gates[t, n]
            self.c[t + 1, n] = f * self.c[t, n] + i * g
            self.h[t + 1, n] = o * np.tanh(self.c[t + 1, n])

    def top(self) -> np.ndarray:
        return self.h[1:].reshape(-1, D).astype(np.float32)

    def backward(self) -> list[np.ndarray]:
        """Gradients of x, W_x, W_h and b for a top whose gradient is 1 everywhere."""
        dh, dc, sums = np.ones_like(self.h), np.zeros_like(self.c), np.zeros((self.steps, self.n, 4 * D))
        for t in reversed(range(self.steps)):
            for n in range(self.n):
                i, f, o, g = self.gates[t, n]
                tanh, cont = np.tanh(self.c[t + 1, n]), self.cont[t][n]
                dc[t + 1, n] += dh[t + 1, n] * o * (1 - tanh**2)
                dc[t, n] = dc[t + 1, n] * f if cont else 0
                gate = [dc[t + 1, n] * g, dc[t + 1, n] * self.c[t, n] * cont, dh[t + 1, n] * tanh, dc[t + 1, n] * i]
                slopes = [i * (1 - i), f * (1 - f), o * (1 - o), 1 - g**2]
                sums[t, n] = np.concatenate([a * b for a, b in zip(gate, slopes)])
                if self.limit:
                    sums[t, n] = sums[t, n].clip(-self.limit, self.limit)
                if cont:
                    dh[t, n] += self.wh.T @ sums[t, n]
        flat, x = sums.reshape(-1, 4 * D), self.x.reshape(-1, self.x.shape[2])
        carried = flat.T @ self.h[:-1].reshape(-1, D)  # also where a sequence begins
        return [flat @ self.wx, flat.T @ x, carried, flat.sum(0)]


CASES = [
    (0, N, ""),
    (T * N, N, ""),
    (T + N - 1, N, ""),
    (T, 1, ""),
    (T, 1, "clipping_threshold: 0.05"),
    (0, N, "clipping_threshold: 0.05"),
]


@pytest.mark.parametrize(("marks", "n", "more"), CASES)
def test_both_passes_are_the_forks(marks: int, n: int, more: str) -> None:
    net = net_of(marks, more, n)
    values = values_of(net)
    plain = Plain(net, values, n, 0.05 if more else 0.0)
    module = net.to_torch()
    x, *others = (torch.tensor(values[name], requires_grad=name == "a") for name in net.inputs)
    top = module(x, *others)
    assert_same([top.detach().numpy()], [plain.top()])
    top.sum().backward()
    expected = [grad.astype(np.float32) for grad in plain.backward()]
    assert x.grad is not None
    assert_same([x.grad.numpy(), *(grad.numpy() for grad in module.caffe_grads("op"))], expected)


@pytest.mark.parametrize(("marks", "n", "more"), CASES)
def test_every_form_agrees(marks: int, n: int, more: str) -> None:
    net = net_of(marks, more, n)
    check_every_form(net, below=2, batch=None)
    if not marks and n == 1:  # with marks, the steps are unrolled; with several streams, not every number of rows fits
        values = {"a": np.random.default_rng(1).standard_normal((6, F)).astype(np.float32)}
        assert_same(by_onnx(net, values, dynamic_batch=True), by_torch(net, values))


def test_features_may_have_several_axes() -> None:
    net = over(f'type: "Lstm" lstm_param {{ num_output: {D} {FILLED} }}', (T, 5, 1, 1)).fill(1)
    flat = net_of(n=1)
    flat.weights.update(dict(net.weights))
    x = np.random.default_rng(0).standard_normal((T, 5)).astype(np.float32)
    assert_same(by_torch(net, {"a": x[:, :, None, None]}), by_torch(flat, {"a": x}))
    check_every_form(net)


def test_bottoms_that_do_not_fit_are_refused() -> None:
    with pytest.raises(LayerError, match=r"\(12, 5\) must be a multiple of batch_size: 5"):
        over(f'type: "Lstm" lstm_param {{ num_output: {D} batch_size: 5 }}', (12, 5))
    with pytest.raises(LayerError, match=r"must have at least 6 values, one per row, not \(4,\)"):
        net_of(4)


def top_of(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    return [Plain(net, values, net.ops[-1].param.batch_size).top()]


def limited(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    plain = Plain(net, values, 1, 0.1)
    return [plain.top(), *(grad.astype(np.float32) for grad in plain.backward())]


LAYER = f'bottom: "a" top: "y" lstm_param {{ num_output: {D} {FILLED} }}'
ALONE = [
    Alone("Lstm", "lstm_param.num_output", D, f'bottom: "a" top: "y" lstm_param {{ {FILLED} }}', [(T, F)], top_of,
          refused="num_output must be positive"),
    Alone("Lstm", "lstm_param.batch_size", 2, LAYER, [(T, F)], top_of),
    Alone("Lstm", "lstm_param.clipping_threshold", 0.1, LAYER, [(T, F)], limited, gradient=("a", "op[0]", "op[1]", "op[2]")),
]  # fmt: skip
