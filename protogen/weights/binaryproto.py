"""Read `.binaryproto` files, which hold one blob, usually the mean image that Caffe subtracts from its input."""

from __future__ import annotations

import os

import numpy as np

from ..errors import WeightsError
from .caffemodel import read_blob
from .files import Path, map_file, reject_foreign
from .wire import Wire


def read(path: Path) -> np.ndarray:
    """Read a `.binaryproto` mean.

    Args:
        path: a file as written by Caffe's compute_image_mean.

    Returns:
        A read-only float32 array; a mean image has shape (1, C, H, W), channels in Caffe's order (BGR).

    Raises:
        WeightsError: the file is missing, empty, damaged or of another kind.
    """
    content = map_file(path)
    reject_foreign(content, path)
    wire = Wire(content, os.fspath(path))
    try:
        return read_blob(wire, 0, len(content))
    except WeightsError as error:
        raise WeightsError(f"{error} (read as a .binaryproto mean)") from error
