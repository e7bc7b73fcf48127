"""The common base of convolutions and InnerProduct: W x + b, which can absorb a scale and a shift of each output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import BlobSpec, LayerType
from .fused_relu import FusedReLU

if TYPE_CHECKING:
    import numpy as np


class Linear(FusedReLU):
    """W x + b, optionally followed by a ReLU.

    Attributes:
        num_output: number of outputs, each with its own slice of W and of b.
        bias: whether there is a b.
    """

    num_output: int
    bias: bool

    @property
    def outputs_are_channels(self) -> bool:
        """Whether the outputs lie along axis 1 of a single top, and W is used as it is stored."""
        raise NotImplementedError

    def per_output(self, factors: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Factors (num_output,) in a shape that broadcasts against W."""
        return factors.reshape(-1, *(1,) * (weight.ndim - 1))

    def absorb(
        self, weights: list[np.ndarray], scale: np.ndarray, shift: np.ndarray
    ) -> tuple[LayerType, list[np.ndarray]] | None:
        import numpy as np

        if not self.outputs_are_channels or len(scale) != self.num_output or self.has_relu:
            return None
        bias = weights[1].astype(np.float64) if len(weights) > 1 else np.zeros(self.num_output)
        kernel = (weights[0] * self.per_output(scale, weights[0])).astype(np.float32)
        return self if self.bias else self._with_bias(), [kernel, (bias * scale + shift).astype(np.float32)]

    def _with_bias(self) -> LayerType:
        """The same layer with a bias."""
        blobs = [*self.blobs, BlobSpec("bias", (self.num_output,), self.param.bias_filler)]
        return self.derived({"bias_term": True}, bias=True, blobs=blobs)
