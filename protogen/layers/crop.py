"""Crop: one blob cropped to the size of another, at offsets that are set or follow from the layers before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import NetError
from ..prototxt.message import Message
from ..rules import ReadingRules
from .base import LayerType, Shape
from .fields import Fields
from .registry import register

if TYPE_CHECKING:
    from torch import Tensor

    from .coordinates import AxisMap
    from .forms.onnx_graph import OnnxGraph

BVLCS_RULE = '(--crop bvlc, or crop="bvlc")'


@register("Crop")
class Crop(LayerType):
    """The first bottom cropped to the second one's size along the axes from `axis` (2) on (caffe/layers/crop_layer.cpp).

    `offset`, where the crop starts, is one number for all cropped axes, or one per axis; only the shape of the second bottom is
    used, and it gets no gradient.

    Without a `crop_param`, BVLC's Caffe uses offset 0. In the Caffe of the first FCNs and of HED (crop_layer.cpp of
    longjon/caffe, branch future, and of s9xie/hed), Crop has no parameters and aligns the pixels of its bottoms, see
    coordinates.py. A layer with a `crop_param`, even an empty one, is BVLC's, as the other forks cannot read it.

    Attributes:
        start: the first cropped axis.
        offsets: one per cropped axis.
        debatable: whether the offsets are neither set nor 0 by both rules.
    """

    param_name: ClassVar[str | None] = "crop_param"
    fields: ClassVar[Fields] = Fields("axis offset")
    n_bottoms = (2, 2)

    def setup(self) -> None:
        self.cut(self.param.axis, list(self.param.offset))

    def cut(self, axis: int, offsets: list[int]) -> None:
        """Set up the layer for a first axis and for the offsets in the prototxt: none, one, or one per axis.

        Raises:
            LayerError: they do not fit the bottoms.
        """
        shape, like = self.bottoms
        self.start = self.axis(axis)
        self.check(len(like) >= len(shape), f"its second bottom {like} has fewer axes than the first {shape}")
        axes = len(shape) - self.start
        fits = len(offsets) in (0, 1, axes)
        self.check(fits, f"{len(offsets)} offsets for the {axes} axes from axis {self.start} on; give one, or one per axis")
        self.offsets: list[int] = offsets if len(offsets) == axes else (offsets or [0]) * axes
        self.check(not self._misfit(self.offsets), self._misfit(self.offsets))
        self.tops = [(*shape[: self.start], *like[self.start : len(shape)])]
        self.debatable = False

    def at(self, bottoms: Sequence[Shape]) -> Crop:
        twin = type(self)(self.layer, bottoms, self.phase, self.rules)
        twin.offsets, twin.debatable = self.offsets, self.debatable
        misfit = twin._misfit(self.offsets)
        twin.check(not misfit, misfit)
        return twin

    def _misfit(self, offsets: Sequence[int]) -> str:
        """The first axis along which the crop exceeds the first bottom, as a message; "" if there is none."""
        shape, like = self.bottoms
        for i, offset in enumerate(offsets, self.start):
            if offset + like[i] > shape[i]:
                return f"axis {i}: {like[i]} values from offset {offset} on do not fit into the {shape[i]} of its bottom"
        return ""

    # ---- its place in the net

    @classmethod
    def is_placed(cls, message: Message, rules: ReadingRules) -> bool:
        return "crop_param" not in message

    def place(self, makers: Mapping[str, LayerType]) -> str:
        """Without `crop_param`, use the offsets that align the bottoms, or BVLC's 0 by the rule "bvlc" or if there are none."""
        if not self.is_placed(self.layer.message, self.rules):
            return ""
        self.offsets = [0] * (len(self.bottoms[0]) - self.start)
        try:
            aligned = self.aligned_offsets(makers)
        except NetError as reason:
            aligned, why = [], str(reason)
        self.debatable = any(aligned) or not aligned
        if self.rules.crop != "aligned" or not self.debatable:
            return ""
        if not aligned:
            return (
                f"{self.label}: has no crop_param, and no offset follows from the layers before it: {why}. It crops at offset 0, "
                f"as in BVLC's Caffe; if that is intended, set crop_param {{ offset: 0 }}, or choose that rule {BVLCS_RULE}"
            )
        self.offsets = aligned
        numbers = f"offset {aligned[0]}" if len(set(aligned)) == 1 else f"offsets {', '.join(map(str, aligned))}"
        return (
            f"{self.label}: has no crop_param, so it crops at {numbers}, which aligns the pixels of its bottoms, as in the Caffe "
            f"of HED and of the first FCNs; BVLC's Caffe uses 0 {BVLCS_RULE}"
        )

    def aligned_offsets(self, makers: Mapping[str, LayerType]) -> list[int]:
        """The offsets that align the pixels of both bottoms; `makers` has the layer that first made each blob.

        Raises:
            NetError: there are none; the message gives the reason.
        """
        from .coordinates import crop_offsets

        cropped, like = self.layer.bottoms
        offsets = crop_offsets(cropped, like, makers, range(self.start, len(self.bottoms[0])))
        if self._misfit(offsets):
            raise NetError(self._misfit(offsets))
        return offsets

    def placed_fields(self) -> Mapping[str, Any]:
        return {"crop_param": {"axis": self.start, "offset": self.offsets}} if self.debatable else {}

    def coordinates(self) -> list[AxisMap]:
        from fractions import Fraction

        from .coordinates import IDENTITY, AxisMap

        return [IDENTITY] * self.start + [AxisMap(Fraction(1), Fraction(-offset)) for offset in self.offsets]

    # ---- forms

    def forward(self, x: Tensor, like: Tensor, *, blobs: Sequence[Tensor], training: bool) -> Tensor:
        for i, offset in enumerate(self.offsets, self.start):
            x = x.narrow(i, offset, like.shape[i])
        return x

    def onnx(self, graph: OnnxGraph, bottoms: Sequence[str], blobs: Sequence[str]) -> str:
        x, like = bottoms
        shape, target = self.bottoms
        dynamic = [i for i in range(self.start, len(shape)) if (graph.dynamic_batch if i == 0 else i > 1 and graph.dynamic_size)]
        axes = [i for i in range(self.start, len(shape)) if shape[i] != target[i] and i not in dynamic]
        starts = [self.offsets[i - self.start] for i in axes]
        if axes:
            x = graph.slice(x, starts, [start + target[i] for start, i in zip(starts, axes)], axes)
        if not dynamic:
            return x
        first = graph.ints(*(self.offsets[i - self.start] for i in dynamic))
        size = graph.add("Gather", graph.add("Shape", like), graph.ints(*dynamic))
        return graph.add("Slice", x, first, graph.add("Add", size, first), graph.ints(*dynamic))


@register("AutoCrop")
class AutoCrop(Crop):
    """HED's Crop in a fork that also has BVLC's: always aligned, never reads a `crop_param` (yun-liu/RCF, auto_crop_layer.cpp).

    Once its offsets are known, it is written as a Crop that sets them: other forks do not have AutoCrop.
    """

    param_name = None
    fields = Fields()

    def setup(self) -> None:
        self.cut(2, [])

    @classmethod
    def is_placed(cls, message: Message, rules: ReadingRules) -> bool:
        return True

    def place(self, makers: Mapping[str, LayerType]) -> str:
        """Use the offsets that align the bottoms, regardless of the rule for Crop.

        Raises:
            LayerError: there are none.
        """
        try:
            self.offsets = self.aligned_offsets(makers)
        except NetError as reason:
            raise self.error(f"no offsets follow from the layers before it: {reason}") from reason
        return ""

    def placed_fields(self) -> Mapping[str, Any]:
        return {"type": "Crop", "crop_param": {"axis": self.start, "offset": self.offsets}}
