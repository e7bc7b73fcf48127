"""Options that only ONNX models take, shared by `convert` and `verify`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from .options import usage_error


class PerChannel(click.ParamType):
    """A number, or one for each channel, separated by commas."""

    name = "X[,Y,Z]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """The numbers."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is neither a number nor numbers such as 104,117,123")


class Mean(PerChannel):
    """As `PerChannel`, or the mean image of a training set, whose channels' means are taken."""

    name = "X[,Y,Z]|FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """The numbers."""
        if isinstance(value, tuple) or not value.endswith(".binaryproto"):
            return super().convert(value, param, ctx)
        from ..weights import binaryproto

        image = binaryproto.read(value)
        if image.ndim != 4 or len(image) != 1 or not image.size:
            self.fail(f"{value}: holds a blob {image.shape}, not a mean image (1, C, H, W)")
        return tuple(map(float, image[0].mean((1, 2), dtype="float64")))


ONNX_OPTIONS = (
    click.option("--dynamic-size", is_flag=True, help="Leave height and width open (nets whose weights do not depend on them)."),
    click.option("--no-postprocess", is_flag=True, help="Cut off detection layers at the end: what they read is the output."),
    click.option("--rename", "--rename-input", "--rename-output", "renames", multiple=True, metavar="OLD=NEW",
                 help="Another name for an input or output; repeatable."),
    click.option("--mean", type=Mean(), help="Let the model subtract this from its image: one number, or one per channel "
                 "in the net's order (blue, green, red for Caffe's models), or the channels' means of a .binaryproto."),
    click.option("--scale", type=PerChannel(), help="Let the model multiply its image by this, after --mean."),
    click.option("--swap-rb", is_flag=True, help="Let the model take RGB images for a net trained on BGR."),
    click.option("--nhwc", is_flag=True, help="Let the model take its image as (N, H, W, C)."),
    click.option("--fp16", is_flag=True, help="Store weights as float16, in half the space; still computes in float32."),
    click.option("--external-data", is_flag=True, help="Put the weights of an .onnx into FILE.data (always done above 2 GB)."),
)  # fmt: skip


OPTION_OF = {"renames": "rename", "no_postprocess": "postprocess"} | dict.fromkeys(
    ("mean", "scale", "swap_rb", "nhwc"), "preprocess"
)
"""What of `OnnxOptions` a parameter of the command line sets, where the names differ."""


def onnx_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that only ONNX models take."""
    for option in reversed(ONNX_OPTIONS):
        command = option(command)
    return command


def onnx_settings(
    renames: Sequence[str], mean: tuple[float, ...] | None, scale: tuple[float, ...] | None, swap_rb: bool, nhwc: bool,
    no_postprocess: bool, **same: bool,
) -> dict[str, Any]:  # fmt: skip
    """Values of `OnnxOptions`' fields, by name, from the options of the command line."""
    from ..targets.onnx.options import Preprocess

    rename: dict[str, str] = {}
    for given in renames:
        old, equals, new = given.partition("=")
        if not (old and equals and new) or old in rename:
            raise usage_error(f"--rename takes OLD=NEW, once for each name, not {given!r}")
        rename[old] = new
    preprocess = None
    if mean or scale or swap_rb or nhwc:
        preprocess = Preprocess(mean or 0.0, scale or 1.0, swap_rb, nhwc)
    return {"rename": rename, "preprocess": preprocess, "postprocess": not no_postprocess, **same}
