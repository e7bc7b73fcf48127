"""Which Pooling layers the rule `pooling` of `ReadingRules` concerns, and how a prototxt says what they then compute.

"floor" is for files whose engine rounds sizes down. "same" is for files that darknet2caffe made: of a maxpool of size 2 and
stride 1 they lack darknet's padding, one pixel on the right and at the bottom (src/maxpool_layer.c of AlexeyAB/darknet pads by
size - 1, half of it, rounded down, on the left and at the top; padding is -FLT_MAX). Darknet's maxpools of odd size have the same
padding on all sides, which the files state; with size and stride 2, darknet's padding gives the size that Caffe rounds up to.
"""

from __future__ import annotations

from collections.abc import Container

from ..errors import ConversionError, printable
from ..prototxt.message import Message
from ..prototxt.names import unused
from ..rules import ReadingRules

_KERNEL, _STRIDE, _PAD = (
    ("kernel_size", "kernel_h", "kernel_w"),
    ("stride", "stride_h", "stride_w"),
    ("pad", "pad_h", "pad_w"),
)


def rounds_down(param: Message, rules: ReadingRules) -> bool:
    """Whether the rule decides that a layer's size is rounded down: none of its own fields says how it is rounded."""
    return rules.pooling == "floor" and not any(name in param for name in ("round_mode", "ceil_mode", "torch_pooling"))


def keeps_size(param: Message, rules: ReadingRules) -> bool:
    """Whether the rule has a row and a column of padding behind the image: this may be darknet's maxpool of stride 1."""
    if rules.pooling != "same" or param.pool != "MAX" or param.global_pooling:
        return False
    kernel, stride, pad = ({getattr(param, name) for name in names if name in param} for names in (_KERNEL, _STRIDE, _PAD))
    return kernel == {2} and stride <= {1} and pad <= {0}


def needs_floor(param: Message, rules: ReadingRules) -> bool:
    """Whether a layer must be written with `round_mode: FLOOR`: the rule rounds down, and for some images that matters."""
    strides = (param.stride, param.stride_h, param.stride_w)
    return rounds_down(param, rules) and not param.global_pooling and max(strides) > 1


def padded_and_cropped(message: Message, blobs: Container[str]) -> list[Message]:
    """The layers that compute in any Caffe what `keeps_size` says: no Pooling has a field for padding on one side.

    A Pooling with padding on all sides, whose top is larger by one, and a Crop that takes the first row and column off; one Crop
    per top.

    Args:
        message: the Pooling's LayerParameter; not modified.
        blobs: names that the blobs between these layers cannot have.

    Raises:
        ConversionError: the layer works in place, where no Crop can follow.
    """
    bottom, tops = message.bottom[0], list(message.top)
    if bottom in tops:
        raise ConversionError(
            printable(f"layer {message.name!r} (Pooling): pads on one side, which a prototxt can only say with a Crop behind it, "
                      f"but it works in place; give its top a name other than {bottom!r}")
        )  # fmt: skip
    pooling = message.copy()
    param = pooling.pooling_param.copy().update({"pad": 1})
    for name in ("pad_h", "pad_w"):
        param.remove(name)
    pooling.set("pooling_param", param)
    padded = [unused(f"{top}_padded", blobs) for top in tops]
    pooling.set("top", padded)
    crops = [_crop(message, blob, top) for blob, top in zip(padded, tops)]
    return [pooling, *crops]


def _crop(message: Message, padded: str, top: str) -> Message:
    """The Crop of one top of a Pooling, with the Pooling's own phase rules."""
    crop = message.without("pooling_param", "propagate_down", "loss_weight", "param").copy()
    return crop.update({
        "name": f"{top}_crop", "type": "Crop", "bottom": [padded, message.bottom[0]], "top": [top],
        "crop_param": {"axis": 2, "offset": 1},
    })  # fmt: skip
