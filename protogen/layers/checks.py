"""What Caffe checks of every layer, whatever its type: the number of bottoms and tops, loss weights, the sizes of blobs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import ProtogenError
from ..weights.filler_rules import check
from .own_types import class_name

if TYPE_CHECKING:
    from .base import LayerType

MAX_AXES = 32  # Caffe's kMaxBlobAxes
MAX_ELEMENTS = 2**31 - 1  # Caffe's Blob::Reshape refuses more: its counts are int32


def check_arity(op: LayerType, what: str, number: int, allowed: tuple[int, int | None]) -> None:
    """Check how many bottoms or tops a layer has.

    Args:
        op: the layer.
        what: "bottom" or "top".
        number: how many it has.
        allowed: the least and the most that its type takes; None for any number.

    Raises:
        LayerError: it has more or fewer.
    """
    least, most = allowed
    if least <= number and (most is None or number <= most):
        return
    needed = f"{least}" if least == most else f"at least {least}" if most is None else f"{least} to {most}"
    raise op.error(f"needs {needed} {what}{'' if needed.split()[-1] == '1' else 's'}, has {number}")


def check_loss_weight(op: LayerType) -> None:
    """Check `loss_weight` as Caffe's `SetLossWeights` does (caffe/layer.hpp): a loss without one gets one, so has one top.

    Raises:
        LayerError: there are neither none nor as many as tops.
    """
    number, n = len(op.layer.message.loss_weight), len(op.layer.tops)
    if number:
        op.check(number == n, f"has {n} top{'s' if n != 1 else ''} and {number} of loss_weight; set none, or one per top")
    elif op.is_loss:
        op.check(n == 1, f"is a loss with {n} tops: set loss_weight {n} times, once per top")


def check_fillers(op: LayerType) -> None:
    """Check the fillers of a layer's blobs, which Caffe runs when it sets the layer up, and protogen when a blob is needed.

    Raises:
        LayerError: the first that cannot fill its blob.
    """
    for blob in op.blobs:
        try:
            check(blob.filler, blob.shape)
        except ProtogenError as error:
            raise op.error(f"its {blob.name}: {error}") from None


def check_setup(op: LayerType) -> None:
    """Check what `setup` has set: one shape per top, and learnable blobs that are `BlobSpec`s.

    Raises:
        LayerError: the class, ours or a user's, sets something else.
    """
    n, tops, where = len(op.layer.tops), op.tops, f"{class_name(op)}.setup"
    if not isinstance(tops, Sequence) or not all(shape is None or _is_shape(shape) for shape in tops):
        raise op.error(f"{where} sets tops to {tops!r}: set self.tops to one shape per top, such as [self.bottoms[0]]")
    if len(tops) != n:
        raise op.error(f"{where} sets {len(tops)} tops, but the layer has {n}: set self.tops to one shape per top")
    if not all(hasattr(blob, "filler") for blob in op.blobs):
        raise op.error(f"{where} sets blobs to {op.blobs!r}: set self.blobs to a list of protogen.BlobSpec")


def _is_shape(value: object) -> bool:
    return isinstance(value, Sequence) and all(hasattr(dim, "__index__") for dim in value)


def check_size(op: LayerType, what: str, shape: Sequence[int]) -> None:
    """Check that Caffe could hold a blob of a layer.

    Args:
        op: the layer.
        what: names the blob in the message.
        shape: the blob's shape.

    Raises:
        LayerError: a negative size, too many axes or too many values.
    """
    if min(shape, default=0) < 0:
        raise op.error(f"{what} would have the shape {shape}: negative size")
    if len(shape) > MAX_AXES:
        raise op.error(f"{what} would have {len(shape)} axes, more than Caffe's {MAX_AXES}")
    count = math.prod(shape)
    if count > MAX_ELEMENTS:
        raise op.error(f"{what} would have the shape {shape}: {count:,} values, more than Caffe's 2^31-1")
