"""Options for ONNX models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

from ...arguments import mapping
from ...errors import ConversionError
from ..options import settings_of
from .opsets import DEFAULT_OPSET, require_supported

if TYPE_CHECKING:
    import numpy as np

    from ...graph.graph import Value


NAMES = ("blob", "layer")
"""What tensors can be named after."""


@dataclass(frozen=True)
class Preprocess:
    """Preprocessing of the image inside the model: `y = (x - mean) * scale` for each channel.

    The steps are those of OpenCV's `blobFromImage(image, scalefactor, size, mean, swapRB)` without the resizing: convert the
    layout, swap the channels, subtract `mean`, multiply by `scale`. So `mean` and `scale` are in the order of the *net's*
    channels, which for Caffe's models is blue, green, red: (104, 117, 123). Images are float32, in the range that the net was
    trained with (usually 0 to 255).

    Attributes:
        mean: subtracted from the image; one number, one per channel, or an image (C, H, W) as a NumPy array.
        scale: factor for the difference; one number, or one per channel.
        swap_rb: the image has red first (RGB) and the net blue first, or vice versa.
        nhwc: the image is (N, H, W, C), as in image libraries, rather than (N, C, H, W).
        input: name of the image's blob; by default that of the only input with 4 axes.

    Raises:
        ConversionError: a value is not finite, or a scale is 0.

    >>> Preprocess(mean=(104, 117, 123), scale=0.017, swap_rb=True, nhwc=True)
    Preprocess(mean=(104.0, 117.0, 123.0), scale=(0.017,), swap_rb=True, nhwc=True, input='')
    """

    mean: float | Sequence[float] | np.ndarray = 0.0
    scale: float | Sequence[float] = 1.0
    swap_rb: bool = False
    nhwc: bool = False
    input: str = ""

    def __post_init__(self) -> None:
        for name in ("mean", "scale"):
            value = getattr(self, name)
            numbers = value.reshape(-1).tolist() if name == "mean" and self.mean_image is not None else _numbers(value)
            if not numbers or not all(map(isfinite, numbers)):
                raise ConversionError(f"preprocessing: {name} must be one finite number, or one per channel, not {value!r}")
            if name == "scale" or self.mean_image is None:
                object.__setattr__(self, name, numbers)
        if 0 in self.scales:
            raise ConversionError("preprocessing: a scale of 0 erases the image")

    @property
    def mean_image(self) -> np.ndarray | None:
        """`mean` if it is an image, (C, H, W)."""
        mean: Any = self.mean
        return mean if getattr(mean, "ndim", None) == 3 else None

    @property
    def means(self) -> tuple[float, ...]:
        """`mean` as numbers: one, or one per channel; none if it is an image."""
        return () if self.mean_image is not None else _numbers(self.mean)

    @property
    def scales(self) -> tuple[float, ...]:
        """`scale` as numbers: one, or one per channel."""
        return _numbers(self.scale)

    @property
    def offset(self) -> np.ndarray:
        """`mean` as an array that fits an image (N, C, H, W), float32."""
        import numpy as np

        return np.asarray([[[number]] for number in self.means] if self.mean_image is None else self.mean_image, np.float32)

    @property
    def factor(self) -> np.ndarray:
        """`scale` as an array that fits an image (N, C, H, W), float32."""
        import numpy as np

        return np.asarray([[[number]] for number in self.scales], np.float32)

    def image_of(self, inputs: Sequence[Value]) -> Value:
        """Return the image among a graph's inputs: the one called `input`, or the only one with 4 axes.

        Raises:
            ConversionError: there is not exactly one, or mean or scale do not match its channels.
        """
        images = [value for value in inputs if len(value.shape) == 4 and self.input in ("", value.name)]
        if len(images) != 1:
            shapes = ", ".join(f"{value.name!r} {value.shape}" for value in inputs) or "none"
            called = f" called {self.input!r}" if self.input else ""
            raise ConversionError(f"preprocessing needs one image input (N, C, H, W){called}; the inputs are: {shapes}")
        image = images[0]
        channels = image.shape[1]
        if self.mean_image is not None and self.mean_image.shape != image.shape[1:]:
            raise ConversionError(
                f"preprocessing: the mean image is {self.mean_image.shape}, but {image.name!r} {image.shape[1:]}"
            )
        for name, numbers in (("mean", self.means), ("scale", self.scales)):
            if numbers and len(numbers) not in (1, channels):
                raise ConversionError(f"preprocessing: {name} has {len(numbers)} numbers, but {image.name!r} {channels} channels")
        if self.swap_rb and channels != 3:
            raise ConversionError(f"preprocessing: cannot swap red and blue: {image.name!r} has {channels} channels, not 3")
        return image

    def shape_of(self, blob: Sequence[int]) -> tuple[int, ...]:
        """Return the shape of the model's image for an input blob of shape (N, C, H, W)."""
        n, c, h, w = blob
        return (n, h, w, c) if self.nhwc else (n, c, h, w)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Preprocess an image with NumPy as the model does; return the net's input (N, C, H, W) as float32.

        >>> import numpy as np
        >>> Preprocess(mean=(1, 2, 3), scale=2, nhwc=True).apply(np.full((1, 2, 2, 3), 5.0))[0, :, 0, 0]
        array([8., 6., 4.], dtype=float32)
        """
        import numpy as np

        image = np.asarray(image, np.float32)
        image = image.transpose(0, 3, 1, 2) if self.nhwc else image
        image = image[:, ::-1] if self.swap_rb else image
        return np.ascontiguousarray((image - self.offset) * self.factor)

    def undo(self, blob: np.ndarray) -> np.ndarray:
        """Return the image that preprocessing maps to `blob` (N, C, H, W), up to rounding: the inverse of `apply`."""
        import numpy as np

        image = blob / self.factor + self.offset
        image = image[:, ::-1] if self.swap_rb else image
        return np.ascontiguousarray(image.transpose(0, 2, 3, 1) if self.nhwc else image, dtype=np.float32)

    def describe(self, image: str) -> str:
        """Describe the input `image` and its preprocessing, for the model's metadata."""
        steps = [f"{image}: float32 image, {'NHWC' if self.nhwc else 'NCHW'}"]
        if self.nhwc:
            steps.append("to NCHW")
        if self.swap_rb:
            steps.append("first and last channel swapped (RGB to the net's BGR)")
        if self.mean_image is not None:
            steps.append(f"minus a mean image of {'x'.join(map(str, self.mean_image.shape))}")
        if any(self.means):
            steps.append(f"minus ({', '.join(f'{number:g}' for number in self.means)})")
        if any(number != 1 for number in self.scales):
            steps.append(f"times ({', '.join(f'{number:g}' for number in self.scales)})")
        return "; ".join(steps)


def _numbers(value: Any) -> tuple[float, ...]:
    return tuple(map(float, value)) if isinstance(value, Sequence) or getattr(value, "ndim", None) == 1 else (float(value),)


def of_preprocess(value: Any) -> Preprocess | None:
    """Return a `Preprocess` or None.

    Raises:
        ConversionError: it is something else.
    """
    if value is None or isinstance(value, Preprocess):
        return value
    raise ConversionError(f"preprocess takes protogen.Preprocess(mean=..., scale=...), not {value!r}")


@dataclass(frozen=True)
class OnnxOptions:
    """Keyword arguments of `Net.to_onnx`.

    Attributes:
        opset: version of the standard operator set, 11 to 28 (`opsets.OPSETS`).
        dynamic_batch: make the first axis of inputs and outputs dynamic ("N").
        dynamic_size: make height and width of 4-axis inputs dynamic ("H", "W"), for nets whose weights do not depend on them.
        fold: fold BatchNorm and Scale into convolutions, and remove layers that do nothing in inference.
        seed: for Caffe's fillers, which fill blobs the net has no weights for.
        postprocess: if False, cut off the layers at the end that turn predictions into detections; the blobs they read (boxes,
            confidences, prior boxes) become outputs.
        preprocess: preprocessing of the image inside the model.
        preprocess_from_data: take mean and scale from the net's own data layer; `preprocess` may then only swap channels or take
            another layout.
        rename: new names of inputs and outputs, by the names that they would have.
        fp16: store weights as float16, which halves the file. The model still computes in float32 (with one Cast per weight,
            which runtimes execute once, when they load it), so it runs on every engine.
        external_data: write the weights to `<path>.data`; always done beyond 2 GB.
        all_blobs: make every blob an output, for `verify`.
        names: "blob" names tensors after their blobs; "layer" after the layers that make them, as OpenCV 4's Caffe importer
            called them (see `protogen.graph.layer_names`). Inputs keep their blobs' names.

    Raises:
        ConversionError: the opset is not supported, or `names` is neither.
    """

    opset: int = DEFAULT_OPSET
    dynamic_batch: bool = False
    fold: bool = True
    seed: int = 0
    external_data: bool = False
    dynamic_size: bool = False
    postprocess: bool = True
    preprocess: Preprocess | None = None
    rename: Mapping[str, str] = field(default_factory=dict)
    fp16: bool = False
    all_blobs: bool = False
    preprocess_from_data: bool = False
    names: str = "blob"

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> OnnxOptions:
        """Create the options from values by name.

        Raises:
            ConversionError: no such option, or an invalid value.
        """
        return settings_of(cls, options, "an ONNX model")

    def __post_init__(self) -> None:
        require_supported(self.opset)
        if self.names not in NAMES:
            raise ConversionError(f"names must be {' or '.join(map(repr, NAMES))}, not {self.names!r}")
        own = of_preprocess(self.preprocess)
        mapping(self.rename, "rename=", "{'data': 'image'}")
        if self.preprocess_from_data and own is not None and (own.offset.any() or (own.factor != 1).any()):
            raise ConversionError("preprocess_from_data takes mean and scale from the data layer; give none with preprocess")
        if self.dynamic_size and own is not None and own.mean_image is not None:
            raise ConversionError("preprocessing: a mean image fits one size only; with a dynamic size, give means per channel")
