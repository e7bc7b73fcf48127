"""Settings of sliding windows, such as a convolution's kernel: one number for all spatial axes, or one per axis."""

from __future__ import annotations

from .base import LayerType


def per_axis(op: LayerType, what: str, axes: int, default: int | None = None) -> tuple[int, ...]:
    """A setting for each spatial axis, from its repeated field or from the pair of fields that end in `_h` and `_w`.

    Args:
        op: the layer that is being set up.
        what: "kernel", "stride", "pad", "dilation" or "hole".
        axes: number of spatial axes.
        default: the value if the layer does not set it; None if it must, which it need not without spatial axes.

    Raises:
        LayerError: the setting is missing, set twice, or does not fit the axes.
    """
    p, field = op.param, "kernel_size" if what == "kernel" else what
    high, wide = f"{what}_h", f"{what}_w"
    value = p.get(field, [])
    numbers = tuple(value) if isinstance(value, list) else (value,)
    if p.descriptor is not None and high in p.descriptor.fields and (high in p or wide in p):
        op.check(axes == 2, f"{high} and {wide} are for two spatial axes, not {axes}")
        op.check(not numbers, f"give either {field} or {high} and {wide}")
        return (p.get(high, 0), p.get(wide, 0))
    if not numbers:
        op.check(axes == 0 or default is not None, f"{field} (or {high} and {wide}) is missing")
        return (default or 0,) * axes
    op.check(len(numbers) in (1, axes), f"{len(numbers)} values of {field} for {axes} spatial axes; give one, or one per axis")
    return numbers * axes if len(numbers) == 1 else numbers
