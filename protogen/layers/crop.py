"""Crop: one blob cut to the size of another, at offsets that are stated or follow from the layers before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import NetError
from ..prototxt.message import Message
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
    """The first bottom cut to the second one's size, from `axis` (2) on, starting at `offset` (caffe/layers/crop_layer.cpp).

    `offset` is one number for all cropped axes, or one each; the second bottom lends only its shape and gets no gradient.

    BVLC's Caffe takes 0 where the layer has no `crop_param`. In the Caffe of the first FCNs and of HED (crop_layer.cpp of
    longjon/caffe, branch future, and of s9xie/hed) no Crop has any parameters: it puts the pixels of its bottoms on each other,
    see coordinates.py. A `crop_param`, be it empty, is BVLC's, for the other cannot read it.

    Attributes:
        start: the first cropped axis.
        offsets: one for each cropped axis.
        debatable: whether the offsets are not stated, and not 0 by both rules.
    """

    param_name: ClassVar[str | None] = "crop_param"
    fields: ClassVar[Fields] = Fields("axis offset")
    n_bottoms = (2, 2)

    def setup(self) -> None:
        self.cut(self.param.axis, list(self.param.offset))

    def cut(self, axis: int, stated: list[int]) -> None:
        """`setup` for a first axis and the offsets stated."""
        shape, wanted = self.bottoms
        self.start = self.axis(axis)
        self.check(len(wanted) >= len(shape), f"its second bottom {wanted} has fewer axes than the first {shape}")
        axes = len(shape) - self.start
        fits = len(stated) in (0, 1, axes)
        self.check(fits, f"{len(stated)} offsets for the {axes} axes from axis {self.start} on; give one, or one each")
        self.offsets: list[int] = stated if len(stated) == axes else (stated or [0]) * axes
        self.check(not self._misfit(self.offsets), self._misfit(self.offsets))
        self.tops = [(*shape[: self.start], *wanted[self.start : len(shape)])]
        self.debatable = False

    def at(self, bottoms: Sequence[Shape]) -> Crop:
        twin = type(self)(self.layer, bottoms, self.phase)
        twin.offsets, twin.debatable = self.offsets, self.debatable
        misfit = twin._misfit(self.offsets)
        twin.check(not misfit, misfit)
        return twin

    def _misfit(self, offsets: Sequence[int]) -> str:
        """Where the second bottom reaches beyond the first, "" if nowhere."""
        shape, wanted = self.bottoms
        for i, offset in enumerate(offsets, self.start):
            if offset + wanted[i] > shape[i]:
                return f"axis {i}: {wanted[i]} values from offset {offset} on do not fit into the {shape[i]} of its bottom"
        return ""

    # ---- its place in the net

    @classmethod
    def is_placed(cls, message: Message) -> bool:
        return "crop_param" not in message

    def place(self, makers: Mapping[str, LayerType], crop: str) -> str:
        """Without `crop_param`: the offsets that align its bottoms, or BVLC's 0 by the rule "bvlc" and where there are none."""
        if not self.is_placed(self.layer.message):
            return ""
        self.offsets = [0] * (len(self.bottoms[0]) - self.start)
        try:
            aligned = self.aligned_offsets(makers)
        except NetError as reason:
            aligned, why = [], str(reason)
        self.debatable = any(aligned) or not aligned
        if crop != "aligned" or not self.debatable:
            return ""
        if not aligned:
            return (
                f"{self.label}: it has no crop_param, and no offset follows from the layers before it: {why}. It crops at offset "
                f"0, as in BVLC's Caffe; state crop_param {{ offset: 0 }} if that is meant, or choose that rule {BVLCS_RULE}"
            )
        self.offsets = aligned
        numbers = f"offset {aligned[0]}" if len(set(aligned)) == 1 else f"offsets {', '.join(map(str, aligned))}"
        return (
            f"{self.label}: it has no crop_param, so it crops at {numbers}, where its bottoms' pixels lie on each other, as in "
            f"the Caffe of HED and of the first FCNs; BVLC's Caffe takes 0 {BVLCS_RULE}"
        )

    def aligned_offsets(self, makers: Mapping[str, LayerType]) -> list[int]:
        """The offsets at which the pixels of both bottoms lie on each other; `makers` are the layers that first made each blob.

        Raises:
            NetError: there are none; the message is the reason.
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
        shape, wanted = self.bottoms
        follow = [i for i in range(self.start, len(shape)) if (graph.dynamic_batch if i == 0 else i > 1 and graph.dynamic_size)]
        axes = [i for i in range(self.start, len(shape)) if shape[i] != wanted[i] and i not in follow]
        starts = [self.offsets[i - self.start] for i in axes]
        if axes:
            x = graph.slice(x, starts, [start + wanted[i] for start, i in zip(starts, axes)], axes)
        if not follow:
            return x
        first = graph.ints(*(self.offsets[i - self.start] for i in follow))
        size = graph.add("Gather", graph.add("Shape", like), graph.ints(*follow))
        return graph.add("Slice", x, first, graph.add("Add", size, first), graph.ints(*follow))


@register("AutoCrop")
class AutoCrop(Crop):
    """The Crop of HED's Caffe beside BVLC's own: always aligned, a `crop_param` is not read (yun-liu/RCF, auto_crop_layer.cpp).

    Written out once its offsets are known, it is a Crop that states them: other Caffes know no AutoCrop.
    """

    param_name = None
    fields = Fields()

    def setup(self) -> None:
        self.cut(2, [])

    @classmethod
    def is_placed(cls, message: Message) -> bool:
        return True

    def place(self, makers: Mapping[str, LayerType], crop: str) -> str:
        """The offsets that align its bottoms, whatever the rule for Crop.

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
