"""Sources and sinks: Input, the layers that read datasets, DummyData, Parameter, HDF5Output, Silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from ..prototxt.message import Message
from .base import BlobSpec, LayerType, Shape, constant_filler
from .fields import Fields
from .registry import register
from .source import Source
from .transform import Transform

if TYPE_CHECKING:
    import torch

    from ..prototxt.layer import Layer
    from .forms.onnx_graph import OnnxGraph


@register("Input")
class Input(Source):
    """Inputs of the net with the shapes in `input_param`, one for all tops or one per top."""

    param_name = "input_param"
    fields = Fields("shape")

    def setup(self) -> None:
        shapes = [tuple(shape.dim) for shape in self.param.shape]
        n = len(self.layer.tops)
        self.check(len(shapes) in (0, 1, n), f"has {n} tops and {len(shapes)} shapes; give one shape, or one per top")
        self.tops = (shapes * n if len(shapes) == 1 else shapes) or self.unknown()


@register("Data", "ImageData", "AnnotatedData", "WindowData", "ImageSegData", "ImageLabelmapData", "DenseImageData", "LaneData")
class ImageSource(Source):
    """Images read from a database or a list: (batch, C, H, W); the second top of most types is labels (batch,).

    The shape is known if `transform_param` (or the layer's legacy parameters) crops, or if images are resized, by `new_height`
    and `new_width` or SSD's `resize_param`; images have three channels unless `force_gray` or `is_color` implies one, or several
    values of `mean_value` another number. Otherwise Caffe takes the shape from the data: set it by `inputs=`.
    """

    n_tops = (1, 3)
    _PARAMS: ClassVar[dict[str, str]] = {
        "Data": "data_param",
        "AnnotatedData": "data_param",
        "WindowData": "window_data_param",
        "DenseImageData": "dense_image_data_param",
    }

    def setup(self) -> None:
        message = self.layer.message
        param = getattr(message, self._PARAMS.get(self.layer.type, "image_data_param"))
        settings, transform = message.transform_param, self.transform
        crop = settings.crop_size or param.crop_size
        size = (crop, crop) if crop else transform and transform.size
        self.tops = self.unknown()
        if not (size and param.batch_size):
            return
        grey = settings.force_gray or ("is_color" in param and not param.is_color)
        stated = len(settings.mean_value)  # one value stands for every channel, however many there are
        self.tops[0] = (param.batch_size, 1 if grey else stated if stated > 1 else 3, *size)

    @property
    def transform(self) -> Transform | None:
        return Transform.of(self.layer.message)

    def feed(self, given: Mapping[str, Shape]) -> None:
        """As for any source; the shape of the labels follows from that of the images unless it is in `given`, too."""
        super().feed(given)
        if self.tops[0] and len(self.tops) > 1 and self.layer.tops[1] not in given:
            self.tops[1] = self._labels(self.tops[0]) or self.tops[1]

    def _labels(self, images: Shape) -> Shape | None:
        """The labels' shape: one per image or per pixel; boxes in Caffe's initial shape, or padded as in YOLO's forks."""
        kind = self.layer.type
        if kind in ("Data", "ImageData", "WindowData"):
            return images[:1]
        if kind in ("ImageSegData", "ImageLabelmapData", "DenseImageData") and len(images) == 4:
            return (images[0], 1, *images[2:])
        if kind == "AnnotatedData":
            padded = self.layer.message.annotated_data_param.get("yolo_data_type", 0) == 1
            return (images[0], 1, 300, 5) if padded else (1, 1, 1, 8)
        return None


@register("MemoryData")
class MemoryData(Source):
    """Images (batch, channels, height, width) and labels (batch,) that the program sets."""

    param_name = "memory_data_param"
    fields = Fields("batch_size channels height width")
    n_tops = (2, 2)

    def setup(self) -> None:
        p = self.param
        shape = (p.batch_size, p.channels, p.height, p.width)
        self.check(all(dim > 0 for dim in shape), f"batch_size, channels, height and width must be positive, not {shape}")
        self.tops = [shape, (p.batch_size,)]

    def feed(self, given: Mapping[str, Shape]) -> None:
        """As for any source; the number of labels follows from that of the images."""
        super().feed({self.layer.tops[1]: given.get(self.layer.tops[0], self.tops[0])[:1], **given})

    @property
    def transform(self) -> Transform | None:
        return Transform.of(self.layer.message)


@register("HDF5Data", "DetectNetTransformation", "PythonData")
class HDF5Data(Source):
    """Blobs from a file or from Python code, whose shapes are not in the prototxt."""

    def setup(self) -> None:
        self.tops = self.unknown()


def _dummy_shapes(op: LayerType) -> list[Shape]:
    """Shapes of a DummyData layer's tops, from `shape` or from the legacy `num`, `channels`, `height` and `width`."""
    p, n = op.param, len(op.layer.tops)
    old = {name: list(getattr(p, name)) for name in ("num", "channels", "height", "width")}
    fillers = len(p.data_filler)
    op.check(fillers in (0, 1, n), f"has {n} tops and {fillers} data fillers; give one filler, or one per top")
    if not any(old.values()):
        shapes = [tuple(shape.dim) for shape in p.shape]
        op.check(len(shapes) in (1, n), f"has {n} tops and {len(shapes)} shapes; give one shape, or one per top")
        return shapes * n if len(shapes) == 1 else shapes
    op.check(not p.shape, "give either shape, or num, channels, height and width")
    for name, values in old.items():
        op.check(len(values) in (1, n), f"has {n} tops and {len(values)} values of {name}; give one, or one per top")
    columns = [values * n if len(values) == 1 else values for values in old.values()]
    return list(zip(*columns))


@register("DummyData")
class DummyData(LayerType):
    """Constant blobs, each filled with the `value` of its `data_filler`, by default 0 (caffe/layers/dummy_data_layer.cpp).

    A top with a random filler stands in for data: it is an input of the net. For layers with random fillers only, see
    `RandomData`.

    Attributes:
        values: the value of each top, None where it is random.
    """

    param_name = "dummy_data_param"
    fields = Fields("data_filler num channels height width shape")
    n_bottoms = (0, 0)
    n_tops = (1, None)
    has_gradient = False

    @classmethod
    def select(cls, layer: Layer) -> type[LayerType]:
        fillers = layer.message.dummy_data_param.data_filler
        return RandomData if fillers and all(filler.type != "constant" for filler in fillers) else cls

    def setup(self) -> None:
        self.tops = _dummy_shapes(self)
        fillers: list[Message] = list(self.param.data_filler) or [constant_filler()]
        self.values: list[float | None] = [filler.value if filler.type == "constant" else None for filler in fillers]
        if len(self.values) == 1:
            self.values *= len(self.tops)

    @property
    def fed_tops(self) -> list[str]:
        """The tops with random fillers."""
        return [top for top, value in zip(self.layer.tops, self.values) if value is None]

    def with_tops(self, indices: Sequence[int]) -> Message:
        """A DummyData layer with the shapes and fillers of these tops."""
        fillers = list(self.param.data_filler)
        param = {
            "shape": [{"dim": list(self.tops[i])} for i in indices],
            "data_filler": [fillers[i] for i in indices] if len(fillers) > 1 else fillers,
        }
        return Message.of("LayerParameter", name=self.layer.name, type="DummyData", dummy_data_param=param)

    def _constants(self) -> list[tuple[float, Shape]]:
        return [(value, shape) for value, shape in zip(self.values, self.tops) if value is not None]

    def module(self) -> torch.nn.Module:
        from .forms.constant import ConstantModule

        values, shapes = zip(*self._constants())
        return ConstantModule(values, shapes)

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> Sequence[str]:
        from onnx import TensorProto, helper

        tensors = [(helper.make_tensor("value", TensorProto.FLOAT, [1], [value]), shape) for value, shape in self._constants()]
        return [graph.add("ConstantOfShape", graph.ints(*shape), value=tensor) for tensor, shape in tensors]


class RandomData(Source):
    """DummyData with random fillers only: inputs of the net with the shapes of `dummy_data_param`."""

    types = ("DummyData",)
    param_name = "dummy_data_param"

    def setup(self) -> None:
        self.tops = list(_dummy_shapes(self))


@register("Parameter")
class Parameter(LayerType):
    """A learnable blob as a top, with the shape in `parameter_param` (caffe/layers/parameter_layer.hpp).

    Its initial values are zeros, or drawn from a fork's `blob_filler`.
    """

    param_name = "parameter_param"
    fields = Fields("shape blob_filler")
    n_bottoms = (0, 0)

    def setup(self) -> None:
        p = self.param
        self.check("shape" in p, "parameter_param { shape { dim: ... } } is missing")
        filler = p.blob_filler if "blob_filler" in p else constant_filler()
        self.tops = [tuple(p.shape.dim)]
        self.blobs = [BlobSpec("weight", self.tops[0], filler)]

    def forward(self, *bottoms: torch.Tensor, blobs: Sequence[torch.Tensor], training: bool) -> torch.Tensor:
        return blobs[0]

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        return blobs[0]


class Sink(LayerType):
    """Reads blobs so that they are not outputs of the net; has no tops."""

    n_bottoms: ClassVar[tuple[int, int | None]] = (1, None)
    n_tops = (0, 0)

    def setup(self) -> None:
        self.tops = []

    def forward(self, *bottoms: torch.Tensor, blobs: Sequence[torch.Tensor], training: bool) -> Sequence[torch.Tensor]:
        return []

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> Sequence[str]:
        return []


@register("Silence")
class Silence(Sink):
    """Reads blobs so that they are not outputs of the net; has no tops (caffe/layers/silence_layer.cpp)."""


@register("HDF5Output")
class HDF5Output(Sink):
    """Writes data and labels to a file in Caffe; in protogen it only reads them (caffe/layers/hdf5_output_layer.cpp)."""

    param_name = "hdf5_output_param"
    fields = Fields("file_name")
    n_bottoms = (2, 2)

    def setup(self) -> None:
        super().setup()
        data, label = self.bottoms
        self.check("file_name" in self.param, "hdf5_output_param { file_name: ... } is missing")
        self.check(data[:1] == label[:1], f"data {data} and labels {label} differ in the first axis")
