"""Receptive fields: the part of the net's image that a value of each blob depends on.

After A. Araujo, W. Norris, J. Sim: Computing Receptive Fields of Convolutional Neural Networks (Distill, 2019): a layer of
kernel k, dilation d and stride s adds d (k - 1) times the distance of its bottom's neighbours, and multiplies this distance by
s. Where branches meet, the field covers those of all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from ..layers.base import LayerType, Shape
from ..layers.coordinates import IDENTITY, AxisMap

_CROPS = ("Crop", "AutoCrop")  # take no values from their second bottom


Number = int | Fraction  # a whole number is an int, which is faster


class AxisField(NamedTuple):
    """What the values of a blob see along one axis of the image.

    Attributes:
        low, high: the first and the last coordinate that the first value sees; on the border, some lie outside of the image.
        jump: the distance between what neighbouring values see, 0 if all see the same.

    Values of a Deconvolution see differently many pixels: the size is the largest of them, the place that of their middle.
    """

    low: Number
    high: Number
    jump: Number

    @property
    def pixels(self) -> int:
        """Its size: pixels from the first to the last that a value depends on."""
        return math.ceil(self.high - self.low) + 1


@dataclass(frozen=True)
class Field:
    """What the values of a blob see of the image.

    Attributes:
        axes: for each spatial axis; None if it differs between values otherwise than by place, or is not known.
        span: for each axis of the image, the first and the last coordinate that any value sees.
    """

    axes: tuple[AxisField, ...] | None
    span: tuple[tuple[Number, Number], ...]

    @property
    def is_whole(self) -> bool:
        """Whether each value sees the same."""
        return self.axes is not None and not any(axis.jump for axis in self.axes)

    @property
    def all(self) -> Field:
        """The field of values of which each depends on all values of the blob."""
        return Field(tuple(AxisField(low, high, 0) for low, high in self.span), self.span)


def receptive_fields(ops: Iterable[LayerType | None], shapes: Iterable[Sequence[Shape | None]]) -> list[list[Field | None]]:
    """Return the field of each top of each layer; None for what does not depend on an image, or in a way that is not known.

    Images are inputs with spatial axes, (N, C, ...). Fields of several images are taken together.

    Args:
        ops: the layers set up, in order; None for those that are not.
        shapes: of the tops of each layer.

    >>> import protogen
    >>> net = protogen.models.lenet()
    >>> fields = receptive_fields(net.ops, [op.tops for op in net.ops])
    >>> [(op.layer.name, field[0].axes[0].pixels) for op, field in zip(net.ops, fields)][:5]
    [('data', 1), ('conv1', 5), ('pool1', 6), ('conv2', 14), ('pool2', 16)]
    """
    current: dict[str, Field | None] = {}
    result: list[list[Field | None]] = []
    for op, tops in zip(ops, shapes):
        fields = [None] * len(tops) if op is None else _tops(op, tops, current)
        if op is not None:
            current.update(zip(op.layer.tops, fields))
        result.append(list(fields))
    return result


def _tops(op: LayerType, tops: Sequence[Shape | None], current: Mapping[str, Field | None]) -> Sequence[Field | None]:
    if not op.bottoms:
        return [_image(shape) if top in op.fed_tops else None for top, shape in zip(op.layer.tops, tops)]
    count = 1 if op.layer.type in _CROPS else len(op.bottoms)
    seen = [(current.get(name), shape) for name, shape in zip(op.layer.bottoms[:count], op.bottoms)]
    fields = [(field, shape) for field, shape in seen if field is not None and len(field.span) == len(_longest(seen).span)]
    if not fields:
        return [None] * len(tops)
    span = tuple((min(low for low, _ in axis), max(high for _, high in axis)) for axis in zip(*(f.span for f, _ in fields)))
    if op.sees_all or any(field.is_whole for field, _ in fields):
        return [Field(None, span).all] * len(tops)
    maps = op.coordinates()
    if len(fields) == 1 and maps is not None and all(step is IDENTITY for step in maps) and not any(op.reach()):
        field, shape = fields[0]
        if all(top == shape for top in tops):  # works on each value alone
            return [field] * len(tops)
    axes = None if maps is None else _joined([_through(op, maps, field, shape, tops[0]) for field, shape in fields])
    return [_made(axes, span, shape) for shape in tops]


def _longest(seen: Sequence[tuple[Field | None, Shape]]) -> Field:
    return max((field for field, _ in seen if field is not None), key=lambda field: len(field.span), default=Field(None, ()))


def _image(shape: Shape | None) -> Field | None:
    if shape is None or len(shape) < 3:
        return None
    axes = tuple(AxisField(0, 0, 1) for _ in shape[2:])
    return Field(axes, tuple((0, size - 1) for size in shape[2:]))


def _through(
    op: LayerType, maps: Sequence[AxisMap], field: Field, shape: Shape, top: Shape | None
) -> tuple[AxisField, ...] | None:
    """The field behind a layer with these maps, of what it takes from one bottom."""
    if field.axes is None or top is None:
        return None
    if shape[2:] != op.bottoms[0][2:] or len(shape) != len(top) or len(maps) - 2 != len(field.axes):
        return None
    if any(size != after for size, after, step in zip(shape[2:], top[2:], maps[2:]) if step == (1, 0)):  # joined along this axis
        return None
    return tuple(_moved(axis, step, far) for axis, step, far in zip(field.axes, maps[2:], op.reach()[2:]))


def _moved(axis: AxisField, step: AxisMap, far: int) -> AxisField:
    first, last, factor = _reads(step, far)
    return AxisField(axis.low + axis.jump * first, axis.high + axis.jump * last, axis.jump * factor)


@lru_cache(maxsize=1024)
def _reads(step: AxisMap, far: int) -> tuple[Number, Number, Number]:
    """The first and the last position of the bottom that the top's first value reads; the distance to what the next one reads."""
    centre, half = -step.shift / step.scale, Fraction(far, 2)
    return _plain(centre - half), _plain(centre + half), _plain(1 / step.scale)


def _plain(number: Fraction) -> Number:
    return number.numerator if number.denominator == 1 else number


def _joined(branches: Sequence[tuple[AxisField, ...] | None]) -> tuple[AxisField, ...] | None:
    """The field that covers those of all branches; None if one is unknown, or if their values move at different steps."""
    known = [branch for branch in branches if branch is not None]
    if len(known) < len(branches):
        return None
    if len(known) == 1:
        return known[0]
    joined = []
    for axes in zip(*known):
        if len({axis.jump for axis in axes}) > 1:
            return None
        joined.append(AxisField(min(axis.low for axis in axes), max(axis.high for axis in axes), axes[0].jump))
    return tuple(joined)


def _made(axes: tuple[AxisField, ...] | None, span: tuple[tuple[Number, Number], ...], shape: Shape | None) -> Field:
    """The field of a top: its span follows from its axes, where these are known."""
    if axes is None or shape is None or len(shape) - 2 != len(axes):
        return Field(axes, span)
    ends = tuple((axis.low, axis.high + (n - 1) * axis.jump) for n, axis in zip(shape[2:], axes))
    return Field(axes, ends)
