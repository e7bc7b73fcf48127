"""Results as pictures: boxes drawn on the picture, maps as grey values or as classes in colours."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ProtogenNote
from .picture import image_of
from .result import tell_of_nan

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from .result import Detection, Result


def colour(number: int) -> tuple[int, int, int]:
    """Return the colour of a class, as in the segmentations of PASCAL VOC: black for class 0, the background.

    >>> [colour(number) for number in range(4)]
    [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0)]
    """
    red = green = blue = 0
    for bit in range(7, -1, -1):
        red |= (number & 1) << bit
        green |= (number >> 1 & 1) << bit
        blue |= (number >> 2 & 1) << bit
        number >>= 3
    return red, green, blue


def drawn_detections(result: Result, threshold: float = 0.5, name: str | None = None) -> Image.Image:
    """Return the picture with a box, the label and the score of each detection.

    Boxes with infinite or NaN sides are not drawn; a note says how many there are.

    Args:
        result: with detections.
        threshold: lowest score.
        name: as for `Result.detections`.

    Raises:
        ProtogenError: as `Result.detections`.
    """
    from PIL import ImageDraw, ImageFont

    picture = result.picture
    image = image_of(picture if picture.shape[2] == 3 else picture.repeat(3, 2))
    height, width = picture.shape[:2]
    line = max(round(min(height, width) / 150), 1)
    font = ImageFont.load_default(size=max(min(height, width) / 25, 10))
    pen = ImageDraw.Draw(image)
    for box in reversed(_drawable_boxes(result.detections(threshold, name))):  # the best on top
        left, right = sorted(min(max(round(side), 0), width - 1) for side in (box.left, box.right))
        top, bottom = sorted(min(max(round(side), 0), height - 1) for side in (box.top, box.bottom))
        tint = colour(box.number)
        pen.rectangle((left, top, right, bottom), outline=tint, width=line)
        text = f"{_drawable(box.label or str(box.number))} {box.score:.2f}"
        frame = pen.textbbox((0, 0), text, font=font)
        size = frame[2] + 4, frame[3] + 4
        corner = min(left, max(width - size[0], 0)), top - size[1] if top >= size[1] else top
        pen.rectangle((*corner, corner[0] + size[0], corner[1] + size[1]), fill=tint)
        ink = "black" if sum(tint) > 380 else "white"
        pen.text((corner[0] + 2, corner[1] + 2), text, fill=ink, font=font)
    return image


def _drawable_boxes(boxes: Sequence[Detection]) -> list[Detection]:
    """The boxes that have a place; a note counts the others."""
    finite = [box for box in boxes if all(map(math.isfinite, (box.left, box.top, box.right, box.bottom)))]
    if len(finite) < len(boxes):
        count = len(boxes) - len(finite)
        text = f"{count} of {len(boxes)} detections {'is' if count == 1 else 'are'} not drawn: sides of a box are infinite or NaN"
        warnings.warn(ProtogenNote(text), stacklevel=3)
    return finite


def _drawable(text: str) -> str:
    """Text that fits on a label: its first name, of characters that fonts have."""
    return "".join(letter if letter.isprintable() else "?" for letter in text.split(",")[0])[:40]


def drawn_map(result: Result, name: str) -> Image.Image:
    """Return an output of maps as a picture: one channel in grey, several as the class of each position, in colours.

    Grey runs from 0 to 1, where all values are there, and otherwise from the smallest to the largest value.

    Args:
        result: with maps.
        name: the output.

    Raises:
        ProtogenError: as `Result.maps`.
    """
    import numpy as np

    maps = result.maps(name)
    if len(maps) == 1:
        tell_of_nan(maps)
        return image_of(255 * _unit(maps[0]))
    palette = np.array([colour(number) for number in range(len(maps))], np.float32)
    return image_of(palette[result.class_map(name)])


def _unit(values: np.ndarray) -> np.ndarray:
    """Values as shares from 0 to 1: infinite ones are as the largest or smallest of the others, NaN is 0."""
    import numpy as np

    values = values.astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
    shares = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    if low < 0 or high > 1:
        shares = (shares - low) / ((high - low) or 1.0)
    shares[np.isnan(values)] = 0
    return shares
