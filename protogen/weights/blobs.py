"""What every weights reader returns: the learnable blobs of one layer, by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy


@dataclass(frozen=True, eq=False, slots=True)
class LayerBlobs:
    """The learnable blobs of one layer, as a weights file holds them.

    `type` is today's Caffe type name ("Convolution"), also for old files; "" when the file does not say.
    `blobs` holds read-only float32 arrays in Caffe's order; an array may be a view into the mapped file, and
    then need not be aligned (`numpy.require(blob, requirements="A")` gives an aligned one). Legacy blobs keep
    their four dimensions as stored. An entry is None only where an HDF5 file leaves out a blob that its layer
    shares from another.
    """

    name: str
    type: str
    blobs: list[numpy.ndarray | None] = field(default_factory=list)
