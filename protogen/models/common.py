"""What the models of this package share: a classifier's first and last layers, checks of options, and fillers.

>>> b = classifier("Own", "TRAIN")
>>> x = images(b, 32, batch=1, phase="TRAIN")
>>> x = b.fc(b.global_pool(b.conv_block(x, 8)), 10, name="classifier")
>>> classified(b, x, "TRAIN").at("TEST").outputs
['loss', 'accuracy/top1', 'accuracy/top5']
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..builder import NetBuilder
from ..errors import NetError
from ..net import Net
from ..training import TRAIN_DEFAULTS, data_layers, is_train, losses, with_train_defaults

MAX_WIDTH = 64


def classifier(
    name: str,
    phase: str,
    defaults: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    train: Mapping[str, Mapping[str, Any]] = TRAIN_DEFAULTS,
) -> NetBuilder:
    """Return the builder of a classifier's deploy or train/val net; `images` and `classified` add its first and last layers.

    Args:
        name: of the net.
        phase: the model's own option.
        defaults: default fields by layer type.
        train: those of a train/val net, which take precedence.

    Raises:
        NetError: no such phase.
    """
    return NetBuilder(name, phase=phase, defaults=with_train_defaults(defaults, train) if is_train(phase) else defaults)


def images(
    b: NetBuilder, size: int | Sequence[int], *, batch: int, phase: str, channels: int = 3, name: str = "data",
    data_name: str = "data", **data: Any,
) -> str:  # fmt: skip
    """Add what a classifier reads: the Input of a deploy net, or the data layers of a train/val net.

    Args:
        b: the builder.
        size: of the image in pixels; one number for a square.
        batch: images per pass of a deploy net.
        phase: the model's own option.
        channels: of the image.
        name: of the Input layer.
        data_name: of the data layers.
        data: further arguments of `data_layers`.

    Returns:
        The images (batch, channels, height, width).

    Raises:
        NetError: a value is out of range.
    """
    height, width = image_size(size)
    check_positive(batch=batch, channels=channels)
    if is_train(phase):
        return data_layers(b, (height, width), name=data_name, channels=channels, **data)
    top = b.layer("Input", name=name, top="data", shape={"dim": [batch, channels, height, width]})
    return str(top)


def classified(b: NetBuilder, scores: str, phase: str, *, prob: str = "prob", **losses_: Any) -> Net:
    """Add what comes after a classifier's scores, and return the net: a Softmax, or in a train/val net loss and accuracies.

    Args:
        b: the builder.
        scores: (N, classes) or (N, classes, 1, 1).
        phase: the model's own option.
        prob: name of the Softmax.
        losses_: further arguments of `losses`.
    """
    if is_train(phase):
        losses(b, scores, **losses_)
    else:
        b.softmax(scores, name=prob)
    return b.build()


def image_size(size: int | Sequence[int]) -> tuple[int, int]:
    """Return a model's `size` as (height, width).

    Raises:
        NetError: it is not one or two positive numbers.
    """
    sides = (size, size) if isinstance(size, int) else tuple(size)
    if len(sides) != 2:
        raise NetError(f"size takes one number, or height and width, not {len(sides)} numbers")
    check_positive(height=sides[0], width=sides[1])
    return sides


def check_positive(**numbers: int) -> None:
    """Check options of a model, by name.

    Raises:
        NetError: one of them is below 1.
    """
    for what, value in numbers.items():
        if value < 1:
            raise NetError(f"{what} must be positive, not {value}")


def stages(numbers: Sequence[int], count: int | None = None, what: str = "modules") -> Sequence[int]:
    """Return a model's numbers per stage.

    Args:
        numbers: the option's value.
        count: stages that there are; None for any number of them.
        what: the option.

    Raises:
        NetError: too many or too few numbers, or one below 1.
    """
    if not numbers or min(numbers) < 1 or len(numbers) != (count or len(numbers)):
        many = f"{count} positive numbers" if count else "positive numbers"
        raise NetError(f"{what} takes {many}, one per stage, not {','.join(map(str, numbers)) or 'none'}")
    return numbers


def scaled(channels: int, width: float, multiple: int = 8) -> int:
    """Return a layer's channels times a width multiplier, as the MobileNets round them.

    Args:
        channels: at width 1.
        width: the multiplier.
        multiple: the result is the nearest multiple of it, or the next one if that is more than a tenth too small.

    Raises:
        NetError: the multiplier is not positive, or absurdly large.

    >>> scaled(32, 1.0), scaled(24, 0.35), scaled(24, 0.75)
    (32, 8, 24)
    """
    if not 0 < width <= MAX_WIDTH:
        raise NetError(f"width must be positive and at most {MAX_WIDTH}, not {width}")
    result = max(multiple, int(channels * width + multiple / 2) // multiple * multiple)
    return result + multiple if result < 0.9 * channels * width else result


def gaussian(std: float) -> dict[str, Any]:
    """Return a filler of normally distributed values."""
    return {"type": "gaussian", "std": std}


def constant(value: float) -> dict[str, Any]:
    """Return a filler of one value."""
    return {"type": "constant", "value": value}
