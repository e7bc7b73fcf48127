"""The PyTorch module of one layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...errors import printable
from ..own_types import blaming, is_built_in

if TYPE_CHECKING:
    from ..base import LayerType


def without_values(kind: type[nn.Module], *args: Any, **settings: Any) -> nn.Module:
    """Create a standard module whose parameters will be set later; drawing initial values would take most of the time.

    `torch.nn.utils.skip_init` does the same by operations on the meta device, which load all of sympy (half a second).

    Args:
        kind: the class, such as `torch.nn.Conv2d`.
        args, settings: its arguments.
    """
    blank = type(kind.__name__, (kind,), {"reset_parameters": lambda self: None})
    module: nn.Module = blank(*args, **settings)
    module.__class__ = kind
    return module


class LayerModule(nn.Module):
    """A module that holds a layer's learnable blobs, in Caffe's shapes, and calls its `LayerType.forward`."""

    def __init__(self, op: LayerType) -> None:
        super().__init__()
        self.op = op
        self.is_built_in = is_built_in(type(op))
        self.blob_names = [blob.name for blob in op.blobs]
        for blob in op.blobs:
            values = torch.zeros(blob.shape)
            if blob.trainable:
                self.register_parameter(blob.name, nn.Parameter(values))
            else:
                self.register_buffer(blob.name, values)

    def forward(self, *bottoms: Tensor) -> Tensor | Sequence[Tensor]:
        """The layer's top, or a sequence of its tops."""
        if self.is_built_in or torch.compiler.is_compiling():
            return self._compute(bottoms)
        with blaming(self.op, "forward"):
            return self._compute(bottoms)

    def _compute(self, bottoms: Sequence[Tensor]) -> Tensor | Sequence[Tensor]:
        blobs = [getattr(self, name) for name in self.blob_names]
        return self.op.forward(*bottoms, blobs=blobs, training=self.training)

    def extra_repr(self) -> str:
        """The layer's type and parameters, as `print(module)` shows them."""
        name = self.op.param_name
        text = printable(self.op.layer.type)
        if name is not None and name in self.op.layer.message:
            text += f", {', '.join(f'{k}={v!r}' for k, v in self.op.param.fields())}"
        return text
