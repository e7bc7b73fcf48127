"""What can be asked of an ONNX model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import TYPE_CHECKING, Any

from ...errors import ConversionError
from ..options import settings_of

if TYPE_CHECKING:
    import numpy as np

    from ...graph.graph import Value

OPSETS = range(11, 22)


@dataclass(frozen=True)
class Preprocess:
    """What the model does to its image before the net sees it: `y = (x - mean) * scale`, channel by channel.

    The order of things is that of OpenCV's `blobFromImage(image, scalefactor, size, mean, swapRB)`, without the resizing: layout
    first, then the channels are swapped, then `mean` is subtracted, then the difference is multiplied by `scale`. So `mean` and
    `scale` are in the order of the *net's* channels, which for Caffe's models is blue, green, red: (104, 117, 123). Images are
    float32, in the range the net was trained for (0 to 255 for most).

    Attributes:
        mean: subtracted from each channel; one number for all, or one each.
        scale: multiplied with the difference; one number for all, or one each.
        swap_rb: the image given has red first (RGB), while the net has blue first (or the other way round).
        nhwc: the image given is (N, H, W, C), as image libraries hold it, while the net has (N, C, H, W).

    >>> Preprocess(mean=(104, 117, 123), scale=0.017, swap_rb=True, nhwc=True)
    Preprocess(mean=(104.0, 117.0, 123.0), scale=(0.017,), swap_rb=True, nhwc=True)
    """

    mean: float | Sequence[float] = 0.0
    scale: float | Sequence[float] = 1.0
    swap_rb: bool = False
    nhwc: bool = False

    def __post_init__(self) -> None:
        for name in ("mean", "scale"):
            value = getattr(self, name)
            numbers = _numbers(value)
            if not numbers or not all(map(isfinite, numbers)):
                raise ConversionError(f"preprocessing: {name} takes one number, or one for each channel, not {value!r}")
            object.__setattr__(self, name, numbers)
        if 0 in self.scales:
            raise ConversionError("preprocessing: a scale of 0 leaves nothing of the image")

    @property
    def means(self) -> tuple[float, ...]:
        """`mean` as numbers: one, or one per channel."""
        return _numbers(self.mean)

    @property
    def scales(self) -> tuple[float, ...]:
        """`scale` as numbers: one, or one per channel."""
        return _numbers(self.scale)

    def image_of(self, inputs: Sequence[Value]) -> Value:
        """The one of a graph's inputs that is the image: the only one with 4 axes.

        Raises:
            ConversionError: there is none, or several; or the numbers given do not fit its channels.
        """
        images = [value for value in inputs if len(value.shape) == 4]
        if len(images) != 1:
            shapes = ", ".join(f"{value.name!r} {value.shape}" for value in inputs) or "none"
            raise ConversionError(f"preprocessing needs one image input (N, C, H, W); the inputs are: {shapes}")
        image = images[0]
        channels = image.shape[1]
        for name, numbers in (("mean", self.means), ("scale", self.scales)):
            if len(numbers) not in (1, channels):
                raise ConversionError(f"preprocessing: {name} has {len(numbers)} numbers, but {image.name!r} {channels} channels")
        if self.swap_rb and channels != 3:
            raise ConversionError(f"preprocessing: red and blue cannot be swapped: {image.name!r} has {channels} channels, not 3")
        return image

    def shape_of(self, blob: Sequence[int]) -> tuple[int, ...]:
        """Shape of the image that the model takes, for an input blob of this shape (N, C, H, W)."""
        n, c, h, w = blob
        return (n, h, w, c) if self.nhwc else (n, c, h, w)

    def apply(self, image: np.ndarray) -> np.ndarray:
        """What the net sees of an image, (N, C, H, W), as float32: the same in NumPy as the model does.

        >>> import numpy as np
        >>> Preprocess(mean=(1, 2, 3), scale=2, nhwc=True).apply(np.full((1, 2, 2, 3), 5.0))[0, :, 0, 0]
        array([8., 6., 4.], dtype=float32)
        """
        import numpy as np

        image = np.asarray(image, np.float32)
        image = image.transpose(0, 3, 1, 2) if self.nhwc else image
        image = image[:, ::-1] if self.swap_rb else image
        mean, scale = (np.array(numbers, np.float32).reshape(-1, 1, 1) for numbers in (self.means, self.scales))
        return np.ascontiguousarray((image - mean) * scale)

    def undo(self, blob: np.ndarray) -> np.ndarray:
        """An image, but for rounding, that the net sees as `blob` (N, C, H, W): the inverse of `apply`."""
        import numpy as np

        mean, scale = (np.array(numbers, np.float32).reshape(-1, 1, 1) for numbers in (self.means, self.scales))
        image = blob / scale + mean
        image = image[:, ::-1] if self.swap_rb else image
        return np.ascontiguousarray(image.transpose(0, 2, 3, 1) if self.nhwc else image, dtype=np.float32)

    def describe(self, image: str) -> str:
        """What to feed and what is done to it, for the model's metadata."""
        steps = [f"{image}: float32 image, {'NHWC' if self.nhwc else 'NCHW'}"]
        if self.nhwc:
            steps.append("to NCHW")
        if self.swap_rb:
            steps.append("first and last channel swapped (RGB to the net's BGR)")
        if any(self.means):
            steps.append(f"minus ({', '.join(f'{number:g}' for number in self.means)})")
        if any(number != 1 for number in self.scales):
            steps.append(f"times ({', '.join(f'{number:g}' for number in self.scales)})")
        return "; ".join(steps)


def _numbers(value: float | Sequence[float]) -> tuple[float, ...]:
    return tuple(map(float, value)) if isinstance(value, Sequence) else (float(value),)


@dataclass(frozen=True)
class OnnxOptions:
    """Keyword arguments of `Net.to_onnx`.

    Attributes:
        opset: version of the standard operator set, 11 to 21.
        dynamic_batch: leave the first axis of inputs and outputs open ("N").
        dynamic_size: leave height and width of 4-axis inputs open ("H", "W"), for nets whose weights do not depend on the size.
        fold: fold BatchNorm and Scale into convolutions and drop what does nothing in inference.
        seed: for Caffe's fillers, which fill blobs the net has no weights for.
        postprocess: with False, layers at the end that turn predictions into detections are cut off; what they read (boxes,
            confidences, prior boxes) becomes the outputs.
        preprocess: mean, scale, channel order and layout of the image, done by the model.
        rename: new names of inputs and outputs by their blob's name.
        fp16: store weights as float16, which halves the file. The model still computes in float32 (one Cast per weight, which
            runtimes do once, when they load it), so that it runs on every engine.
        external_data: write weights to `<path>.data` beside the model; beyond 2 GB they always go there.
        all_blobs: make every blob an output, as `verify` wants it.
    """

    opset: int = 17
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

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> OnnxOptions:
        """Options by name.

        Raises:
            ConversionError: there is no such option, or not with such a value.
        """
        return settings_of(cls, options, "an ONNX model")

    def __post_init__(self) -> None:
        if self.opset not in OPSETS:
            raise ConversionError(f"opset {self.opset} is not supported; choose one of {OPSETS[0]} to {OPSETS[-1]}")
