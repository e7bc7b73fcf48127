"""Read and write `.caffemodel.h5` files, Caffe's weights in HDF5.

Layout (Net::ToHDF5 in Caffe's src/caffe/net.cpp): the group `data` contains one group per layer, named after it, with one
dataset per blob, named by its index. HDF5 takes a `/` in a name as a separator of nested groups. Blobs that a layer shares from
an earlier one are omitted.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import WeightsError, excerpt, install_hint
from ..files import replacing
from .blobs import LayerBlobs
from .caffemodel import FLOAT32, MAX_AXES, Layer, as_numbers
from .files import HDF5_SIGNATURE, Path, map_file
from .hdf5_target import open_to_write

if TYPE_CHECKING:
    import h5py

MAX_BLOBS = 1000
"""Most blobs of one layer, which bounds the index in a dataset's name."""
MAX_OBJECTS = 200_000
"""Most groups and datasets of one file."""
# Weights hardly compress: a file of some size that expands by more than this was crafted to fill memory.
_MAX_RATIO = 20
_ALWAYS_ALLOWED = 64 << 20
# Exceptions that h5py raises for damaged files.
_H5PY_ERRORS = (
    OSError,
    RuntimeError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    OverflowError,
    MemoryError,
)


def read(path: Path) -> list[LayerBlobs]:
    """Read the layers of a `.caffemodel.h5`.

    Contiguous float32 datasets, as Caffe writes them, become read-only views of the mapped file; others are read into float32
    arrays. Links to other files are not followed.

    Args:
        path: the file.

    Returns:
        The layers in file order (by name in files written by Caffe), including those without blobs. Types are "", because HDF5
        files lack them. A blob that the file omits between others, because its layer shares it, is None.

    Raises:
        WeightsError: the file is missing, empty, damaged or not a `.caffemodel.h5`, claims more data than it can hold, or h5py
            is not installed.
    """
    _require_h5py()
    source = os.fspath(path)
    content = map_file(path)
    if content[: len(HDF5_SIGNATURE)] != HDF5_SIGNATURE:
        raise WeightsError(f"{source}: not an HDF5 file")
    with _h5py_errors(source, "cannot read it as HDF5: it is truncated or damaged"):
        import h5py

        with h5py.File(path, "r") as file:
            return _Hdf5Reader(file, content, source).layers()


class _Hdf5Reader:
    """Walks the `data` group of one open file."""

    def __init__(self, file: h5py.File, content: mmap.mmap, source: str) -> None:
        self._file = file
        self._content = content
        self._source = source
        self._budget = max(_ALWAYS_ALLOWED, _MAX_RATIO * len(content))
        self._objects = 0
        self._groups: set[Any] = set()

    def layers(self) -> list[LayerBlobs]:
        import h5py

        data = self._file.get("data", getlink=False) if self._link_is_hard(self._file, "data") else None
        if not isinstance(data, h5py.Group):
            raise WeightsError(
                f"{self._source}: has no group 'data': not a .caffemodel.h5 (Keras files, for example, have another layout)"
            )
        layers: list[LayerBlobs] = []
        pending = [(name, group) for name, group in self._children(data, "") if isinstance(group, h5py.Group)]
        pending.reverse()
        while pending:
            name, group = pending.pop()
            children = self._children(group, name)
            nested = [(f"{name}/{key}", child) for key, child in children if isinstance(child, h5py.Group)]
            pending.extend(reversed(nested))
            datasets = {key: child for key, child in children if isinstance(child, h5py.Dataset)}
            # A group that contains only groups is the first part of names with a slash, not a layer.
            if datasets or not nested:
                layers.append(LayerBlobs(name, "", self._blobs(name, datasets)))
        if not layers:
            raise WeightsError(f"{self._source}: contains no layers")
        return layers

    def _children(self, group: h5py.Group, layer: str) -> list[tuple[str, Any]]:
        import h5py

        address = h5py.h5o.get_info(group.id).addr
        if address in self._groups:
            raise WeightsError(f"{self._source}: group {excerpt(layer)} appears twice: the file is damaged")
        self._groups.add(address)
        self._objects += len(group)
        if self._objects > MAX_OBJECTS:
            raise WeightsError(f"{self._source}: more than {MAX_OBJECTS} groups and datasets: not a net that Caffe wrote")
        for key in group:
            if not self._link_is_hard(group, key):
                raise WeightsError(f"{self._source}: {excerpt(layer)} contains a link {excerpt(key)}; links are not followed")
        return [(key, group[key]) for key in group]

    @staticmethod
    def _link_is_hard(group: h5py.Group, key: str) -> bool:
        import h5py

        return isinstance(group.get(key, getlink=True), h5py.HardLink)

    def _blobs(self, layer: str, datasets: dict[str, Any]) -> list[np.ndarray | None]:
        blobs: list[np.ndarray | None] = []
        for key in sorted(datasets, key=lambda key: (len(key), key)):
            if not (key.isascii() and key.isdigit() and str(int(key[:9])) == key and int(key) < MAX_BLOBS):
                raise WeightsError(
                    f"{self._source}: layer {excerpt(layer)}: dataset {excerpt(key)} is not named by the index of a blob"
                )
            blobs.extend([None] * (int(key) - len(blobs)))
            blobs.append(self._values(f"layer {excerpt(layer)}, blob {key}", datasets[key]))
        return blobs

    def _values(self, where: str, dataset: h5py.Dataset) -> np.ndarray:
        shape, dtype = dataset.shape, dataset.dtype
        if shape is None or len(shape) > MAX_AXES or dtype.kind not in "fiu":
            raise WeightsError(f"{self._source}: {where}: {dtype} data of shape {shape} is not a blob")
        if dataset.external or dataset.is_virtual:
            raise WeightsError(f"{self._source}: {where}: the data is in another file; external data is not read")
        size = dataset.size * max(dtype.itemsize, FLOAT32.itemsize)
        self._budget -= size
        if self._budget < 0:
            raise WeightsError(f"{self._source}: {where}: shape {shape} claims more data than the file can hold")
        view = self._mapped(dataset)
        if view is not None:
            return view
        values = np.empty(shape, FLOAT32)
        if values.size:
            dataset.read_direct(values)
        values.flags.writeable = False
        return values

    def _mapped(self, dataset: h5py.Dataset) -> np.ndarray | None:
        """Return a view of the mapped file if the dataset is contiguous little-endian float32, else None."""
        if dataset.dtype != FLOAT32 or dataset.chunks is not None or self._file.userblock_size or not dataset.size:
            return None
        offset = dataset.id.get_offset()
        stored = dataset.id.get_storage_size()
        if offset is None or stored != dataset.nbytes or offset + stored > len(self._content):
            return None
        return np.frombuffer(self._content, FLOAT32, dataset.size, offset).reshape(dataset.shape)


def write(path: Path, name: str, layers: Iterable[Layer]) -> None:
    """Write a `.caffemodel.h5` as Caffe does; the way to store more than 2 GB of weights.

    The file appears at `path` only when it is complete.

    Args:
        path: the file to write; an existing file is replaced.
        name: the net's name, which the format cannot store.
        layers: (name, type, bottoms, tops, blobs) of each layer, as for `protogen.weights.caffemodel.write`; only name and blobs
            are stored. A blob that is None is omitted, as Caffe does with shared ones.

    Raises:
        WeightsError: a layer's name is not a valid name of an HDF5 group or is used twice, a blob is not an array of real
            numbers, writing failed, or h5py is not installed.
    """
    _require_h5py()
    with replacing(path) as temporary, _h5py_errors(os.fspath(path), "cannot write HDF5"):
        import h5py

        with open_to_write(temporary) as target, h5py.File(target, "w") as file:
            # Keep the order of the layers for readers that use it; Caffe itself looks layers up by name.
            data = file.create_group("data", track_order=True)
            for layer, _, _, _, blobs in layers:
                group = _create_group(data, layer, os.fspath(path))
                for index, blob in enumerate(blobs):
                    if blob is not None:
                        values = as_numbers(blob, layer, index)
                        group.create_dataset(str(index), data=values, dtype=FLOAT32)


def _create_group(data: h5py.Group, layer: str, source: str) -> h5py.Group:
    if "\0" in layer or any(part in ("", ".") for part in layer.split("/")):
        raise WeightsError(f"{source}: HDF5 cannot store a layer named {excerpt(layer)}: rename it or write a .caffemodel")
    # The group may already exist as the first part of another layer's name ("a" of "a/b"); then it has no blobs yet.
    existing = data.get(layer)
    if existing is None:
        return data.create_group(layer)
    nested_only = hasattr(existing, "keys") and len(existing) and all(hasattr(v, "keys") for v in existing.values())
    if not nested_only:
        raise WeightsError(
            f"{source}: layer name {excerpt(layer)} is used twice, or clashes with the blob of another: "
            "HDF5 cannot store both; rename it or write a .caffemodel"
        )
    return existing


def _require_h5py() -> None:
    try:
        import h5py  # noqa: F401
    except ImportError as error:
        raise WeightsError(f"HDF5 weights need the package h5py: {install_hint('hdf5')}") from error


@contextmanager
def _h5py_errors(source: str, message: str) -> Iterator[None]:
    try:
        yield
    except _H5PY_ERRORS as error:
        raise WeightsError(f"{source}: {message} ({error})") from error
