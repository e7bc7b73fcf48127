"""`JoinBuilder`, the base of `NetBuilder` with the layers of several equal bottoms, and Crop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from ..errors import LayerError, NetError
from .composer import Composer


class JoinBuilder(Composer):
    """Joins blobs; see `NetBuilder`."""

    def concat(self, *bottoms: str | Sequence[str], axis: int = 1, name: str | None = None) -> str:
        """Add a Concat.

        Args:
            bottoms: blobs whose shapes differ only along `axis`, or one list of them.
            axis: 1 (channels) by default.
            name: of the layer and its top; by default "concat" with a number.
        """
        return self.layer("Concat", *_blobs(bottoms), name=name or self.unused("concat"), axis=axis)

    def eltwise(
        self,
        *bottoms: str | Sequence[str],
        operation: str = "SUM",
        coeff: Sequence[float] | None = None,
        name: str | None = None,
    ) -> str:
        """Add an Eltwise.

        Args:
            bottoms: two or more blobs of the same shape, or one list of them.
            operation: "SUM", "PROD" or "MAX".
            coeff: factor of each bottom in a sum; 1 by default.
            name: of the layer and its top; by default "eltwise" with a number.
        """
        name = name or self.unused("eltwise")
        return self.layer("Eltwise", *_blobs(bottoms), name=name, operation=operation.upper(), coeff=coeff)

    def crop(self, bottom: str, like: str, *, axis: int = 2, offset: Sequence[int] | None = None, name: str | None = None) -> str:
        """Add a Crop: the part of one blob that lies on another one's pixels, as pycaffe's `coord_map.crop` finds it.

        Args:
            bottom: the blob to crop, (N, C, H, W).
            like: the blob that gives the size.
            axis: the first axis to crop; 2 (height) by default.
            offset: where the part begins, one number for all axes or one per axis; by default it follows from the layers between
                the two blobs and their nearest common ancestor, by any bottoms.
            name: of the layer and its top; by default "crop" with a number.

        Returns:
            The blob (N, C, height of `like`, width of `like`).

        Raises:
            NetError: no such blob, or no offset follows; the message says why.

        >>> from protogen import NetBuilder
        >>> b = NetBuilder()
        >>> x = b.input("data", (1, 3, 32, 32))
        >>> up = b.deconv(b.conv(x, 8, 3, stride=2, pad=10, name="down"), 8, 3, stride=2, name="up")
        >>> b.shape(b.crop(up, x)), list(b.build().layer("crop1").message.crop_param.offset)
        ((1, 8, 32, 32), [10, 10])
        """
        name = name or self.unused("crop")
        if offset is None:
            from ..layers.coordinates import crop_offsets_by_any_way

            axes = range(axis, len(self.shape(bottom)))
            self.shape(like)
            try:
                offset = crop_offsets_by_any_way(bottom, like, self._analysis.first_makers, axes)
            except NetError as error:
                raise LayerError(
                    f"layer {self.qualified(name)!r} (Crop): no offset follows: {error}; state it with offset="
                ) from None
        return self.layer("Crop", bottom, like, name=name, crop_param={"axis": axis, "offset": list(offset)})


def _blobs(bottoms: Sequence[str | Sequence[str]]) -> Sequence[str]:
    """Return the blobs of a call, one argument for each or all in one list."""
    one = bottoms[0] if len(bottoms) == 1 else None
    return cast(Sequence[str], one if isinstance(one, (list, tuple)) else bottoms)
