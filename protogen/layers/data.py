"""Sources and sinks: Input, the layers that read data sets, DummyData, Parameter, HDF5Output, Silence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .base import LayerType, Shape, register

if TYPE_CHECKING:
    import torch

    from ..convert.onnx_graph import OnnxGraph


class Source(LayerType):
    """A layer whose tops are fed from outside: an input of the net."""

    n_bottoms = (0, 0)
    n_tops = (1, None)
    is_input = True
    has_gradient = False
    onnx_note = "it is an input of the graph"

    def unknown(self) -> list[Shape | None]:
        """One unknown shape per top: `inputs=` must give them."""
        return [None] * len(self.layer.tops)


@register("Input")
class Input(Source):
    """Network inputs with the shapes of `input_param`: one for all tops, or one each."""

    param_name = "input_param"

    def setup(self) -> None:
        shapes = [tuple(shape.dim) for shape in self.param.shape]
        n = len(self.layer.tops)
        self.check(len(shapes) in (0, 1, n), f"has {n} tops and {len(shapes)} shapes; give one shape, or one per top")
        self.tops = (shapes * n if len(shapes) == 1 else shapes) or self.unknown()


@register("Data", "ImageData", "AnnotatedData", "WindowData", "ImageSegData", "ImageLabelmapData", "LaneData")
class ImageSource(Source):
    """Images read from a data base or a list: (batch, C, crop, crop), and labels (batch,) as a second top.

    Shapes are known when `transform_param` (or the layer's old parameters) crops; images have three channels unless
    `mean_value` or `force_gray` says otherwise. In all other cases Caffe looks into the data: `inputs=` must tell.
    """

    n_tops = (1, 3)
    _PARAMS = {"Data": "data_param", "AnnotatedData": "data_param", "WindowData": "window_data_param"}

    def setup(self) -> None:
        message = self.layer.message
        param = getattr(message, self._PARAMS.get(self.layer.type, "image_data_param"))
        transform = message.transform_param
        size = transform.crop_size or param.crop_size
        self.tops = self.unknown()
        if not (size and param.batch_size):
            return
        grey = transform.force_gray or len(transform.mean_value) == 1 or "is_color" in param and not param.is_color
        self.tops[0] = (param.batch_size, 1 if grey else 3, size, size)
        if len(self.tops) > 1 and self.layer.type in ("Data", "ImageData", "WindowData"):
            self.tops[1] = (param.batch_size,)


@register("MemoryData")
class MemoryData(Source):
    """Images (batch, channels, height, width) and labels (batch,) that the program sets."""

    param_name = "memory_data_param"
    n_tops = (2, 2)

    def setup(self) -> None:
        p = self.param
        shape = (p.batch_size, p.channels, p.height, p.width)
        self.check(all(dim > 0 for dim in shape), f"batch_size, channels, height and width must be positive, not {shape}")
        self.tops = [shape, (p.batch_size,)]


@register("HDF5Data", "DetectNetTransformation", "PythonData")
class HDF5Data(Source):
    """Blobs of an HDF5 file; only the file knows their shapes."""

    def setup(self) -> None:
        self.tops = self.unknown()


@register("Silence")
class Silence(LayerType):
    """Reads blobs so that they are no outputs; makes nothing."""

    n_bottoms = (1, None)
    n_tops = (0, 0)

    def setup(self) -> None:
        self.tops = []

    def forward(self, *bottoms: torch.Tensor, blobs: Sequence[torch.Tensor], training: bool) -> Sequence[torch.Tensor]:
        return []

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> Sequence[str]:
        return []
