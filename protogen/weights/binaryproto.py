"""Read `.binaryproto` files: one blob, usually the mean image that Caffe subtracts from its input."""

from __future__ import annotations

import os

import numpy

from protogen.errors import WeightsError
from protogen.weights.caffemodel import read_blob
from protogen.weights.files import Path, map_file, reject_foreign
from protogen.weights.wire import Wire


def read(path: Path) -> numpy.ndarray:
    """Read a `.binaryproto` mean.

    Args:
        path: the file, as Caffe's compute_image_mean writes it.

    Returns:
        A read-only float32 array; a mean image has shape (1, C, H, W), channels in Caffe's order (BGR).

    Raises:
        WeightsError: the file is missing, empty, damaged or something else.
    """
    content = map_file(path)
    reject_foreign(content, path)
    wire = Wire(content, os.fspath(path))
    try:
        return read_blob(wire, 0, len(content))
    except WeightsError as error:
        raise WeightsError(f"{error} (read as a .binaryproto mean)") from error
