"""Weights in a prototxt: the `blobs` of layers.

Caffe takes them in place of the fillers' values when it creates the layer (constructor of `Layer`, caffe/layer.hpp). Format of
a blob: `Blob::FromProto` (caffe/blob.cpp); of its raw data: blob.cpp of NVIDIA/caffe.
"""

from __future__ import annotations

import math

import numpy as np

from ..errors import WeightsError
from ..prototxt.message import Message
from .caffemodel import MAX_AXES, MAX_COUNT, RAW_TYPES

_SIDES = ("num", "channels", "height", "width")
_TYPES = ("DOUBLE", "FLOAT", "FLOAT16")  # names of RAW_TYPES, in the order of their numbers


def read(layer: Message, label: str) -> list[np.ndarray]:
    """Return the blobs of a LayerParameter in order.

    Args:
        layer: the message.
        label: the layer in error messages.

    Returns:
        Read-only float32 arrays in the shape of `shape`, of the four legacy dimensions, or () if a blob has neither.

    Raises:
        WeightsError: a blob's shape does not match its data, or its data are of an unknown type.
    """
    return [_read_blob(blob, f"{label}, blob {i}") for i, blob in enumerate(layer.blobs)]


def _read_blob(blob: Message, label: str) -> np.ndarray:
    legacy = any(side in blob for side in _SIDES)
    shape = tuple(getattr(blob, side) for side in _SIDES) if legacy else tuple(blob.shape.dim)
    valid = len(shape) <= MAX_AXES and min(shape, default=0) >= 0 and math.prod(shape) <= MAX_COUNT
    if not valid:
        raise WeightsError(f"{label}: {shape[:MAX_AXES]} is not a valid shape of a blob")
    values = _values(blob, label)
    if values.size != math.prod(shape):
        raise WeightsError(f"{label}: shape {shape} has {math.prod(shape):,} elements, but there are {values.size:,} values")
    array = values.reshape(shape)
    array.flags.writeable = False
    return array


def _values(blob: Message, label: str) -> np.ndarray:
    """Return a blob's values, with Caffe's precedence: doubles, floats, then NVIDIA's raw data."""
    if blob.double_data or blob.data or "raw_data" not in blob:
        with np.errstate(over="ignore"):  # values beyond float32's range become infinite, as in Caffe
            return np.array(blob.double_data or blob.data, np.float64).astype(np.float32)
    kind, data = blob.get("raw_data_type"), blob.raw_data.encode("utf-8", "surrogateescape")
    if kind not in _TYPES:
        raise WeightsError(f"{label}: raw_data needs a raw_data_type of {', '.join(_TYPES)}, not {kind or 'none'}")
    dtype = RAW_TYPES[_TYPES.index(kind)]
    if len(data) % dtype.itemsize:
        raise WeightsError(f"{label}: {len(data):,} bytes of raw_data are not a whole number of {kind} values")
    with np.errstate(over="ignore"):
        return np.frombuffer(data, dtype).astype(np.float32)
