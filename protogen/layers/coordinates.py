"""Coordinate maps between blobs, and the offsets at which a crop aligns two blobs.

Along each axis, a layer maps coordinate x of its first bottom to `scale * x + shift` of its tops (`LayerType.coordinates`). Two
blobs are aligned through their nearest common ancestor: the paths back from them go through the first bottom of each layer, and
skip layers that work in place.

Source: src/caffe/layers/crop_layer.cpp and include/caffe/util/coords.hpp of longjon/caffe (branch future) and s9xie/hed;
dilation as in BVLC's python/caffe/coord_map.py and in yun-liu/RCF. They agree wherever all of them define a map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from ..errors import NetError

if TYPE_CHECKING:
    from .base import LayerType


class AxisMap(NamedTuple):
    """Maps coordinate x of one blob to `scale * x + shift` of another, along one axis."""

    scale: Fraction
    shift: Fraction

    def after(self, first: AxisMap) -> AxisMap:
        """The composition of `first`, then this map."""
        return AxisMap(self.scale * first.scale, self.scale * first.shift + self.shift)

    def inverse(self) -> AxisMap:
        """The inverse map."""
        return AxisMap(1 / self.scale, -self.shift / self.scale)


IDENTITY = AxisMap(Fraction(1), Fraction(0))


@lru_cache(maxsize=1024)
def window(kernel: int, stride: int, pad: int, dilation: int = 1) -> AxisMap:
    """The map of a convolution or a pooling along one axis: a coordinate goes to the window that is centred on it.

    x goes to (x - ((k - 1) / 2 - pad)) / stride with k = dilation (kernel - 1) + 1; a deconvolution is the inverse.

    Args:
        kernel, stride, pad, dilation: the window's settings along the axis, in pixels; dilation 1 by default.

    >>> window(3, 1, 35).shift, window(2, 2, 0).scale
    (Fraction(34, 1), Fraction(1, 2))
    """
    return AxisMap(Fraction(stride), Fraction(dilation * (kernel - 1), 2) - pad).inverse()


def crop_offsets(cropped: str, like: str, makers: Mapping[str, LayerType], axes: range) -> list[int]:
    """The offsets along `axes` at which a crop of one blob is aligned with another.

    Args:
        cropped: the blob to crop.
        like: the blob to align it with.
        makers: the layer that first made each blob; layers that then write it in place do not move its pixels.
        axes: the axes to crop.

    Raises:
        NetError: there are no such offsets: the blobs have no common ancestor, a layer on the way has no coordinate map, their
            scales differ, or an offset would be negative or not a whole number. The message gives the reason, not the place.
    """
    path, other_path = way_back(cropped, makers), way_back(like, makers)
    on_path = set(path)
    ancestor = next((blob for blob in other_path if blob in on_path), None)
    if ancestor is None:
        raise NetError(f"{cropped!r} and {like!r} have no common ancestor")
    to_cropped, to_like = (_map_along(blobs[: blobs.index(ancestor)], makers) for blobs in (path, other_path))
    return _offsets(cropped, like, to_cropped, to_like, axes)


def crop_offsets_by_any_way(cropped: str, like: str, makers: Mapping[str, LayerType], axes: range) -> list[int]:
    """As `crop_offsets`, but the ways back go through all bottoms of a layer, as in BVLC's python/caffe/coord_map.py.

    Args:
        cropped, like, makers, axes: as for `crop_offsets`.

    Raises:
        NetError: as `crop_offsets`.
    """
    ways, other_ways = _ways_back(cropped, makers), _ways_back(like, makers)
    ancestor = next((blob for blob in other_ways if blob in ways), None)
    if ancestor is None:
        return crop_offsets(cropped, like, makers, axes)  # it says why there are none
    return _offsets(cropped, like, ways[ancestor], other_ways[ancestor], axes)


def _offsets(cropped: str, like: str, to_cropped: list[AxisMap], to_like: list[AxisMap], axes: range) -> list[int]:
    """The offsets that two maps from a common ancestor imply; no maps are the identity."""
    offsets = []
    for axis in axes:
        of_cropped, of_like = (maps[axis] if maps else IDENTITY for maps in (to_cropped, to_like))
        scale, shift = of_like.after(of_cropped.inverse())
        if scale != 1:
            raise NetError(f"along axis {axis}, one pixel of {cropped!r} corresponds to {scale} in {like!r}")
        if shift.denominator != 1:
            raise NetError(f"along axis {axis}, {like!r} begins between the pixels of {cropped!r}, at {-shift}")
        if shift > 0:
            raise NetError(f"along axis {axis}, {like!r} begins before {cropped!r}, at {-shift}")
        offsets.append(-int(shift))
    return offsets


def way_back(blob: str, makers: Mapping[str, LayerType]) -> list[str]:
    """The path from a blob back to an input, through the first bottom of each layer."""
    path = [blob]
    while path[-1] in makers and makers[path[-1]].layer.bottoms:
        path.append(makers[path[-1]].layer.bottoms[0])
    return path


def _map_along(blobs: Sequence[str], makers: Mapping[str, LayerType]) -> list[AxisMap]:
    """The map, for each axis, from the input of a path's last layer to the path's first blob; empty for an empty path."""
    total: list[AxisMap] = []
    for blob in blobs:
        op = makers[blob]
        maps = op.coordinates()
        if maps is None:
            raise NetError(f"layer {op.layer.name!r} ({op.layer.full_type}) has no map from its bottom's pixels to its top's")
        total = [later.after(earlier) for later, earlier in zip(total, maps)] if total else list(maps)
    return total


def _ways_back(blob: str, makers: Mapping[str, LayerType]) -> dict[str, list[AxisMap]]:
    """The map from each ancestor of a blob to the blob, the nearest first; a layer without a map ends its way."""
    ways: dict[str, list[AxisMap]] = {blob: []}
    queue = [blob]
    for near in queue:
        op = makers.get(near)
        maps = op.coordinates() if op is not None and op.layer.bottoms else None
        if op is None or maps is None:
            continue
        # The size that a Crop takes from its second bottom says nothing of where that one's pixels are.
        bottoms = op.layer.bottoms[:1] if op.layer.type in ("Crop", "AutoCrop") else op.layer.bottoms
        for far, shape in zip(bottoms, op.bottoms):
            if far not in ways and len(shape) == len(maps):
                ways[far] = [later.after(earlier) for later, earlier in zip(ways[near], maps)] if ways[near] else list(maps)
                queue.append(far)
    return ways
