"""Weights inside a prototxt: the `blobs` of layers, which the text of a whole net has.

Caffe takes them when it makes the layer, in place of the fillers' values (constructor of `Layer`, caffe/layer.hpp). What a blob
must look like: `Blob::FromProto` (caffe/blob.cpp); its raw data: blob.cpp of NVIDIA/caffe.
"""

from __future__ import annotations

import math

import numpy as np

from ..errors import WeightsError
from ..prototxt.message import Message
from .caffemodel import MAX_AXES, MAX_COUNT, RAW_TYPES

_SIDES = ("num", "channels", "height", "width")
_TYPES = ("DOUBLE", "FLOAT", "FLOAT16")  # of RAW_TYPES, by number


def read(layer: Message, label: str) -> list[np.ndarray]:
    """The blobs of a LayerParameter, in its order.

    Args:
        layer: the message.
        label: what error messages call the layer.

    Returns:
        Read-only float32 arrays: of `shape`, or of the four old extents as they stand; () where a blob has neither.

    Raises:
        WeightsError: a blob's data do not have as many values as its shape says, or are of a kind that Caffe does not take.
    """
    return [_read_blob(blob, f"{label}, blob {i}") for i, blob in enumerate(layer.blobs)]


def _read_blob(blob: Message, label: str) -> np.ndarray:
    old = any(side in blob for side in _SIDES)
    shape = tuple(getattr(blob, side) for side in _SIDES) if old else tuple(blob.shape.dim)
    sound = len(shape) <= MAX_AXES and min(shape, default=0) >= 0 and math.prod(shape) <= MAX_COUNT
    if not sound:
        raise WeightsError(f"{label}: {shape[:MAX_AXES]} is no shape of a blob")
    values = _values(blob, label)
    if values.size != math.prod(shape):
        raise WeightsError(f"{label}: its shape {shape} takes {math.prod(shape):,} values, its data are {values.size:,}")
    array = values.reshape(shape)
    array.flags.writeable = False
    return array


def _values(blob: Message, label: str) -> np.ndarray:
    """A blob's values, in the order in which Caffe looks for them: doubles, floats, then NVIDIA's bytes."""
    if blob.double_data or blob.data or "raw_data" not in blob:
        with np.errstate(over="ignore"):  # beyond float32 they are infinite, as in Caffe
            return np.array(blob.double_data or blob.data, np.float64).astype(np.float32)
    kind, data = blob.get("raw_data_type"), blob.raw_data.encode("utf-8", "surrogateescape")
    if kind not in _TYPES:
        raise WeightsError(f"{label}: raw_data needs a raw_data_type of {', '.join(_TYPES)}, not {kind or 'none'}")
    dtype = RAW_TYPES[_TYPES.index(kind)]
    if len(data) % dtype.itemsize:
        raise WeightsError(f"{label}: {len(data):,} bytes of raw_data are no whole number of {kind} values")
    with np.errstate(over="ignore"):
        return np.frombuffer(data, dtype).astype(np.float32)
