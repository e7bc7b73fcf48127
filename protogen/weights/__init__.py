"""Weights files to numpy arrays and back, and Caffe's fillers.

Nothing here imports numpy or h5py before a file is read or written.
"""

from __future__ import annotations

import os

from protogen.errors import WeightsError
from protogen.weights.blobs import LayerBlobs
from protogen.weights.files import HDF5_SIGNATURE, Path, map_file, reject_foreign

__all__ = ["LayerBlobs", "read_weights"]

_NOT_WEIGHTS = {
    ".binaryproto": "is a .binaryproto (a mean image), not the weights of a net",
    ".solverstate": "is a .solverstate (a snapshot of the solver), not the weights of a net: "
    "give the .caffemodel written beside it",
}


def read_weights(path: Path) -> list[LayerBlobs]:
    """Read a weights file of Caffe; its content, not its name, tells the format.

    Args:
        path: a `.caffemodel` of any age, or a `.caffemodel.h5`.

    Returns:
        Name, type and blobs of each layer, in the file's order. See `protogen.weights.caffemodel.read` and
        `protogen.weights.hdf5.read`.

    Raises:
        WeightsError: with one line that says what is wrong: no such file, a directory, an empty, damaged or
            truncated file, or a file of another kind (a prototxt, a PyTorch checkpoint, a Git LFS pointer,
            ...).
    """
    content = map_file(path)
    if content[: len(HDF5_SIGNATURE)] == HDF5_SIGNATURE:
        from protogen.weights import hdf5

        return hdf5.read(path)
    reject_foreign(content, path)
    source = os.fspath(path)
    ending = os.path.splitext(source)[1].lower()
    if ending in (".h5", ".hdf5"):
        raise WeightsError(f"{source}: not an HDF5 file, though its name says so: it is cut short or damaged")
    if ending in _NOT_WEIGHTS:
        raise WeightsError(f"{source}: {_NOT_WEIGHTS[ending]}")

    from protogen.weights import caffemodel

    return caffemodel.parse(content, source)
