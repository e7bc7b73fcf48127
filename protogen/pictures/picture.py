"""Pictures as arrays: read from a file, resized and cropped as Caffe's tools do it, and written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import ProtogenError
from ..files import reason, replacing

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


_DEEP = ("I;16", "I;16B", "I;16L", "I;16N")  # grey with 16 bits
_MAX_PIXELS = 64_000_000  # a larger picture takes many seconds and gigabytes to end up as the few pixels that a net sees


def read_picture(path: str | os.PathLike[str], channels: int = 3) -> np.ndarray:
    """Read a picture as float32 (H, W, channels): red, green, blue, or grey, from 0 to 255.

    It is turned upright as its EXIF data says; of 16 bits the upper 8 count; transparency is dropped, a palette resolved, and a
    grey picture has three equal channels, as OpenCV's `imread`, which Caffe uses, has it. Of an animation, the first picture
    counts.

    Args:
        path: the file.
        channels: 3 for colours, 1 for grey: 0.299 red + 0.587 green + 0.114 blue.

    Raises:
        ProtogenError: the file cannot be read, is no picture or a damaged one, has more than 64 million pixels, or values that
            are no colours.
    """
    import numpy as np

    image_module, operations = _pillow()
    with _one_line(path), image_module.open(path) as file:
        if file.width * file.height > _MAX_PIXELS:
            raise ProtogenError(_too_large(path, f"{file.width}x{file.height}"))
        file.load()
        image = operations.exif_transpose(file)
    if image.mode in _DEEP:
        image = image_module.fromarray((np.asarray(image) // 256).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ProtogenError(f"{os.fspath(path)}: its values have 32 bits, which are no colours: give them as a .npy with --input")
    with _one_line(path):
        array = np.asarray(image.convert("L" if channels == 1 else "RGB"), np.float32)
    return array.reshape(*array.shape[:2], channels)


@contextmanager
def _one_line(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what goes wrong in reading a picture into a ProtogenError: of damaged files, Pillow's formats raise anything."""
    module, _ = _pillow()
    try:
        yield
    except ProtogenError:
        raise
    except module.UnidentifiedImageError as error:
        raise ProtogenError(f"{os.fspath(path)}: not a picture in a format that Pillow reads") from error
    except module.DecompressionBombError as error:
        raise ProtogenError(_too_large(path, "more than 10000x10000")) from error
    except Exception as error:
        raise ProtogenError(f"{os.fspath(path)}: cannot read this picture: {reason(error)}") from error


def _too_large(path: str | os.PathLike[str], size: str) -> str:
    million = _MAX_PIXELS // 1_000_000
    return f"{os.fspath(path)}: a picture of {size} pixels; at most {million} million are read: make it smaller first"


def resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a picture (H, W, C) of another size, interpolated bilinearly between the centres of pixels.

    So do pycaffe's `resize_image` and OpenCV's `resize`, which Caffe uses: without smoothing before a picture is made smaller.

    >>> import numpy as np
    >>> resized(np.array([[[0.0], [4.0]]]), 1, 4)[0, :, 0]
    array([0., 1., 3., 4.])
    """
    for axis, size in enumerate((height, width)):
        picture = _along(picture, axis, size)
    return picture


def _along(picture: np.ndarray, axis: int, size: int) -> np.ndarray:
    import numpy as np

    old = picture.shape[axis]
    if old == size:
        return picture
    places = np.clip((np.arange(size) + 0.5) * (old / size) - 0.5, 0, old - 1)
    low = places.astype(int)
    share = (places - low).reshape([-1 if i == axis else 1 for i in range(3)]).astype(picture.dtype)
    before, after = picture.take(low, axis), picture.take(np.minimum(low + 1, old - 1), axis)
    return before + (after - before) * share


def fitted(picture: np.ndarray, target: tuple[int, int], size: tuple[int, int] | None) -> np.ndarray:
    """Return the part of a picture that a net sees: the centre of the picture warped to `size`, as in pycaffe's classify.py.

    Args:
        picture: (H, W, C).
        target: height and width of the net's image.
        size: what the picture is resized to, whatever its proportions; None: `target`, of which nothing is cut off.

    Raises:
        ProtogenError: `size` is smaller than `target`.
    """
    height, width = size or target
    if height < target[0] or width < target[1]:
        raise ProtogenError(f"a picture of size {height}x{width} is smaller than the net's input, {target[0]}x{target[1]}")
    top, left = (height - target[0]) // 2, (width - target[1]) // 2
    return resized(picture, height, width)[top : top + target[0], left : left + target[1]]


def seen_part(target: tuple[int, int], size: tuple[int, int] | None) -> tuple[float, float, float, float]:
    """The part of a picture that `fitted` keeps: left, top, width and height, as shares of the whole."""
    height, width = size or target
    top, left = (height - target[0]) // 2, (width - target[1]) // 2
    return left / width, top / height, target[1] / width, target[0] / height


def image_of(array: np.ndarray) -> Image.Image:
    """Return an array (H, W, 3) or (H, W), from 0 to 255, as a picture of Pillow."""
    import numpy as np

    module, _ = _pillow()
    return module.fromarray(np.clip(np.rint(array), 0, 255).astype(np.uint8))


def write_picture(path: str | os.PathLike[str], image: Image.Image) -> None:
    """Write a picture as PNG, whole or not at all.

    Raises:
        ProtogenError: as `files.replacing`.
    """
    with replacing(path) as temporary:
        image.save(temporary, format="PNG")


def _pillow() -> tuple[Any, Any]:
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise ProtogenError("pictures need the package Pillow: pip install pillow") from error
    return Image, ImageOps
