"""Reading and writing of weights files as NumPy arrays, and Caffe's fillers.

This module imports NumPy and h5py only when a file is read.
"""

from __future__ import annotations

import os

from ..errors import WeightsError
from .blobs import LayerBlobs
from .files import HDF5_SIGNATURE, Path, map_file, reject_foreign

__all__ = ["LayerBlobs", "read_weights"]

_NOT_WEIGHTS = {
    ".binaryproto": "is a .binaryproto (a mean image), not the weights of a net",
    ".solverstate": "is a .solverstate (a snapshot of the solver), not the weights of a net: "
    "use the .caffemodel written beside it",
}


def read_weights(path: Path) -> list[LayerBlobs]:
    """Read a Caffe weights file; the format is determined from its content, not its name.

    Args:
        path: a `.caffemodel` of any age, or a `.caffemodel.h5`.

    Returns:
        Name, type and blobs of each layer, in the file's order; see `protogen.weights.caffemodel.read` and
        `protogen.weights.hdf5.read`.

    Raises:
        WeightsError: the file is missing, a directory, empty, damaged, truncated, or of another kind (a prototxt, a PyTorch
            checkpoint, a Git LFS pointer, ...).
    """
    content = map_file(path)
    if content[: len(HDF5_SIGNATURE)] == HDF5_SIGNATURE:
        from . import hdf5

        return hdf5.read(path)
    reject_foreign(content, path)
    source = os.fspath(path)
    ending = os.path.splitext(source)[1].lower()
    if ending in (".h5", ".hdf5"):
        raise WeightsError(f"{source}: not an HDF5 file despite its name: it is truncated or damaged")
    if ending in _NOT_WEIGHTS:
        raise WeightsError(f"{source}: {_NOT_WEIGHTS[ending]}")

    from . import caffemodel

    return caffemodel.parse(content, source)
