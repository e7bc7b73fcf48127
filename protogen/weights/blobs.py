"""`LayerBlobs`, the learnable blobs of one layer, which the readers of weights files return."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, eq=False, slots=True)
class LayerBlobs:
    """The learnable blobs of one layer in a weights file.

    Attributes:
        name: of the layer.
        type: today's Caffe type name ("Convolution"), even for old files; "" if the file has none.
        blobs: read-only float32 arrays in Caffe's order. They may be views of the mapped file and thus unaligned
            (`np.require(blob, requirements="A")` returns an aligned array). Legacy blobs keep their four dimensions. An entry is
            None only where an HDF5 file omits a blob that the layer shares with another.
    """

    name: str
    type: str
    blobs: list[np.ndarray | None] = field(default_factory=list)
