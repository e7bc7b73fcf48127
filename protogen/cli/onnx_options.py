"""Options for ONNX models, shared by `convert` and `verify`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from ..targets.onnx.options import NAMES
from .options import finite, usage_error


class PerChannel(click.ParamType):
    """One number, or one per channel, separated by commas."""

    name = "X[,Y,Z]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Return the numbers."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(finite(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is neither a finite number, such as 0.017 or 1/255, nor a list of them, such as 104,117,123")


class Mean(PerChannel):
    """As `PerChannel`, or the .binaryproto of a mean image, of which the mean per channel is used."""

    name = "X[,Y,Z]|FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Return the numbers."""
        if isinstance(value, tuple) or not value.endswith(".binaryproto"):
            return super().convert(value, param, ctx)
        from ..weights import binaryproto

        image = binaryproto.read(value)
        if image.ndim != 4 or len(image) != 1 or not image.size:
            self.fail(f"{value}: contains a blob of shape {image.shape}, not a mean image (1, C, H, W)")
        return tuple(map(float, image[0].mean((1, 2), dtype="float64")))


ONNX_OPTIONS = (
    click.option("--dynamic-size", is_flag=True, help="Make height and width dynamic (if no weights depend on them)."),
    click.option("--no-postprocess", is_flag=True, help="Cut off detection layers at the end; the outputs are their bottoms."),
    click.option("--rename", "--rename-input", "--rename-output", "renames", multiple=True, metavar="OLD=NEW",
                 help="Rename an input or output; repeatable."),
    click.option("--names", type=click.Choice(NAMES), default=NAMES[0], show_default=True,
                 help="Name outputs after their blobs, or after the layers that make them, as OpenCV 4 did."),
    click.option("--mean", type=Mean(), help="Subtract this from the image inside the model: one number, or one per "
                 "channel in the net's order (blue, green, red for Caffe's models), or the channel means of a .binaryproto."),
    click.option("--scale", type=PerChannel(), help="Multiply the image by this inside the model, after --mean."),
    click.option("--swap-rb", is_flag=True, help="Make the model take RGB images for a net trained on BGR."),
    click.option("--nhwc", is_flag=True, help="Make the model take its image as (N, H, W, C)."),
    click.option("--preprocess-from-data", is_flag=True, help="Build in the mean and scale that the net's own data layer states, "
                 "for images as Caffe reads them: blue, green, red (or with --swap-rb red, green, blue), from 0 to 255."),
    click.option("--fp16", is_flag=True, help="Store weights as float16, in half the space; the model computes in float32."),
    click.option("--external-data", is_flag=True, help="Write the weights of an .onnx to FILE.data (always done above 2 GB)."),
)  # fmt: skip


OPTION_OF = {"renames": "rename", "no_postprocess": "postprocess"} | dict.fromkeys(
    ("mean", "scale", "swap_rb", "nhwc"), "preprocess"
)
"""Field of `OnnxOptions` that a command line parameter sets, where the names differ."""


def onnx_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options for ONNX models to a command."""
    for option in reversed(ONNX_OPTIONS):
        command = option(command)
    return command


def onnx_settings(
    renames: Sequence[str], mean: tuple[float, ...] | None, scale: tuple[float, ...] | None, swap_rb: bool, nhwc: bool,
    no_postprocess: bool, **same: bool | str,
) -> dict[str, Any]:  # fmt: skip
    """Convert command line options to the fields of `OnnxOptions`.

    Args:
        renames: OLD=NEW each.
        mean, scale, swap_rb, nhwc: fields of `Preprocess`; None if not set.
        no_postprocess: the opposite of `postprocess`.
        same: fields of the same name.

    Returns:
        Values by field name.

    Raises:
        UsageError: an invalid --rename, or --preprocess-from-data with a mean or scale of its own.
        ConversionError: invalid preprocessing.
    """
    from ..targets.onnx.options import Preprocess

    rename: dict[str, str] = {}
    for text in renames:
        old, equals, new = text.partition("=")
        if not (old and equals and new) or old in rename:
            raise usage_error(f"--rename takes OLD=NEW, once per name, not {text!r}")
        rename[old] = new
    preprocess = None
    if same.get("preprocess_from_data") and (mean or scale):
        raise usage_error("--preprocess-from-data takes mean and scale from the data layer; leave out --mean and --scale")
    if mean or scale or swap_rb or nhwc:
        preprocess = Preprocess(mean or 0.0, scale or 1.0, swap_rb, nhwc)
    return {"rename": rename, "preprocess": preprocess, "postprocess": not no_postprocess, **same}
