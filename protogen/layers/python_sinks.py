"""Python layers that only write files: they compute nothing that a net to use needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .python import PythonLayer, register_python

if TYPE_CHECKING:
    from torch import Tensor


@register_python("VisualizationLayer", "visualization_layer", "visualization_layer_norm")
class Visualization(PythonLayer):
    """Writes each channel of its bottom as a picture; the top (1,) is 0 (JunhyeongBak/Caffe_Light_Field, visualization_layer.py).

    protogen writes no pictures.
    """

    known_arguments = frozenset(("path", "name", "mult"))
    has_gradient = False
    only_trains = True
    onnx_note = "it only writes pictures"

    def setup(self) -> None:
        self.tops = [(1,)]

    def forward(self, x: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        return x.new_zeros(1)
