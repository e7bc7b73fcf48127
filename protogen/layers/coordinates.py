"""Where the pixels of one blob lie in another, and the offsets at which a crop puts two blobs on each other.

Along each axis, a layer places coordinate x of its first bottom at `scale * x + shift` of its tops (`LayerType.coordinates`).
Two blobs are aligned through the blob where the ways back from them meet; a way back goes through the first bottom of each layer,
and past layers that work in place.

Source: src/caffe/layers/crop_layer.cpp and include/caffe/util/coords.hpp of longjon/caffe (branch future) and s9xie/hed;
dilation as in BVLC's python/caffe/coord_map.py and in yun-liu/RCF. All of these agree where all have a map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from ..errors import NetError

if TYPE_CHECKING:
    from .base import LayerType


class AxisMap(NamedTuple):
    """Coordinate x of one blob lies at `scale * x + shift` of another, along one axis."""

    scale: Fraction
    shift: Fraction

    def after(self, first: AxisMap) -> AxisMap:
        """The map that goes by `first`, then by this one."""
        return AxisMap(self.scale * first.scale, self.scale * first.shift + self.shift)

    def inverse(self) -> AxisMap:
        """The way back."""
        return AxisMap(1 / self.scale, -self.shift / self.scale)


IDENTITY = AxisMap(Fraction(1), Fraction(0))


def window(kernel: int, stride: int, pad: int, dilation: int = 1) -> AxisMap:
    """Where a convolution or a pooling places a coordinate: at the window whose centre it is.

    x goes to (x - ((k - 1) / 2 - pad)) / stride with k = dilation (kernel - 1) + 1; a deconvolution is the inverse.

    >>> window(3, 1, 35).shift, window(2, 2, 0).scale
    (Fraction(34, 1), Fraction(1, 2))
    """
    return AxisMap(Fraction(stride), Fraction(dilation * (kernel - 1), 2) - pad).inverse()


def crop_offsets(cropped: str, like: str, makers: Mapping[str, LayerType], axes: range) -> list[int]:
    """The offsets along `axes` at which a crop of one blob lies on another.

    Args:
        cropped, like: the blobs.
        makers: the layer that first made each blob; those that write it in place afterwards leave its pixels where they are.
        axes: those to be cropped, of the blobs' own.

    Raises:
        NetError: no such offsets: the blobs have no common origin, a layer on the way has no coordinate map, their scales differ,
            or an offset would be negative or no whole number. The message is the reason, without the place.
    """
    way, other_way = way_back(cropped, makers), way_back(like, makers)
    on_way = set(way)
    meeting = next((blob for blob in other_way if blob in on_way), None)
    if meeting is None:
        raise NetError(f"{cropped!r} and {like!r} come from no common blob")
    to_cropped = _map_along(way[: way.index(meeting)], makers)
    to_like = _map_along(other_way[: other_way.index(meeting)], makers)
    offsets = []
    for axis in axes:
        of_cropped, of_like = (maps[axis] if maps else IDENTITY for maps in (to_cropped, to_like))
        scale, shift = of_like.after(of_cropped.inverse())
        if scale != 1:
            raise NetError(f"along axis {axis}, a step of one pixel in {cropped!r} is one of {scale} in {like!r}")
        if shift.denominator != 1:
            raise NetError(f"along axis {axis}, {like!r} begins between the pixels of {cropped!r}, at {-shift}")
        if shift > 0:
            raise NetError(f"along axis {axis}, {like!r} begins before {cropped!r}, at {-shift}")
        offsets.append(-int(shift))
    return offsets


def way_back(blob: str, makers: Mapping[str, LayerType]) -> list[str]:
    """The blob, the first bottom of the layer that made it, and so on back to an input."""
    way = [blob]
    while way[-1] in makers and makers[way[-1]].layer.bottoms:
        way.append(makers[way[-1]].layer.bottoms[0])
    return way


def _map_along(blobs: Sequence[str], makers: Mapping[str, LayerType]) -> list[AxisMap]:
    """From the blob before the last of a way back to its first, for each axis; of no layers, an empty list."""
    total: list[AxisMap] = []
    for blob in blobs:
        op = makers[blob]
        maps = op.coordinates()
        if maps is None:
            raise NetError(f"nothing tells where layer {op.layer.name!r} ({op.layer.full_type}) places the pixels of its bottom")
        total = [later.after(earlier) for later, earlier in zip(total, maps)] if total else list(maps)
    return total
