"""Rows of what Caffe's own unit tests expect of one layer, restated with numbers that can be worked out by hand.

A row names the test that states the fact (`test_x.cpp TestY` is BVLC Caffe's src/caffe/test), a layer, its bottoms, and what must
follow: values, shapes, gradients, or a refusal. The numbers are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch

import protogen
from tests.layers.nets import text_of

Array = np.ndarray
Shape = tuple[int, ...]


def v(*numbers: float, shape: Shape | None = None) -> Array:
    """Numbers as a blob, by default a row (1, n)."""
    return np.array(numbers, "float32").reshape(shape or (1, len(numbers)))


def ramp(*shape: int, start: int = 0) -> Array:
    """0, 1, 2, ... in the order of memory."""
    return (start + np.arange(np.prod(shape))).astype("float32").reshape(shape)


def full(value: float, *shape: int) -> Array:
    return np.full(shape, value, "float32")


@dataclass(frozen=True)
class Row:
    """One expectation.

    Attributes:
        source: the test that states it.
        layer: the layer's type and parameters; bottoms are added, and tops "y0", "y1", ...
        bottoms: their values, or shapes where values do not matter.
        tops: values of the tops, or shapes.
        weights: values of the learnable blobs.
        phase: "TEST" or "TRAIN".
        grads: gradients of the first bottoms for the sum of all tops.
        error: a part of the refusal's message, in place of tops.
    """

    source: str
    layer: str
    bottoms: Sequence[Array | Shape]
    tops: Sequence[Array | Shape] = ()
    weights: Sequence[Array] = ()
    phase: str = "TEST"
    grads: Sequence[Array] = ()
    error: str = ""
    n_tops: int = 1

    @property
    def text(self) -> str:
        bottoms = " ".join(f'bottom: "{name}"' for name, _ in zip("abcde", self.bottoms))
        tops = " ".join(f'top: "y{i}"' for i in range(len(self.tops) or self.n_tops))
        return text_of(f"{bottoms} {tops} {self.layer}", *map(_shape, self.bottoms))

    def check(self) -> None:
        """Raises AssertionError where the expectation does not hold."""
        if self.error:
            with pytest.raises(protogen.ProtogenError, match=self.error):
                protogen.loads(self.text, phase=self.phase)
            return
        net = protogen.loads(self.text, phase=self.phase)
        assert [net.shapes[f"y{i}"] for i, _ in enumerate(self.tops)] == list(map(_shape, self.tops))
        values = [blob for blob in self.bottoms if isinstance(blob, Array)]
        if len(values) == len(self.bottoms):
            self._check_values(net, values)

    def _check_values(self, net: protogen.Net, bottoms: Sequence[Array]) -> None:
        if self.weights:
            net.weights["op"] = [
                np.reshape(blob, shape) for blob, shape in zip(self.weights, net.param_shapes["op"], strict=True)
            ]
        inputs = [torch.tensor(blob, requires_grad=i < len(self.grads)) for i, blob in enumerate(bottoms)]
        blobs = net.to_torch().blobs(*inputs)
        made = [blobs[f"y{i}"] for i, _ in enumerate(self.tops)]
        for top, expected in zip(made, self.tops):
            if isinstance(expected, Array):
                np.testing.assert_allclose(top.detach().numpy(), expected, rtol=1e-5, atol=1e-6)
        if self.grads:
            sum(top.sum() for top in made if top.requires_grad).backward()
        for bottom, expected in zip(inputs, self.grads):
            np.testing.assert_allclose(bottom.grad, expected, rtol=1e-4, atol=1e-5)


def _shape(blob: Array | Shape) -> Shape:
    return tuple(blob.shape) if isinstance(blob, Array) else blob
