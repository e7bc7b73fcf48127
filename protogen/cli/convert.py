"""`protogen convert`: Caffe to ONNX and PyTorch, and PyTorch's weights back to Caffe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from .options import INPUT, OPSET, PHASE, SEED, STRICT, load_net, wrong_use
from .output import progress, write_binary

ENDINGS = ("onnx", "pt2", "pth", "prototxt", "caffemodel", "h5")


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


ONNX_OPTIONS = (
    click.option("--dynamic-size", is_flag=True, help="Leave height and width open (fully convolutional nets only)."),
    click.option("--no-postprocess", is_flag=True, help="Cut off detection layers at the end: what they read is the output."),
    click.option("--rename", "--rename-input", "--rename-output", "renames", multiple=True, metavar="OLD=NEW",
                 help="Another name for an input or output; repeatable."),
    click.option("--mean", type=PerChannel(), help="Let the model subtract this from its image: one number, or one per channel "
                 "in the net's order (blue, green, red for Caffe's models)."),
    click.option("--scale", type=PerChannel(), help="Let the model multiply its image by this, after --mean."),
    click.option("--swap-rb", is_flag=True, help="Let the model take RGB images for a net trained on BGR."),
    click.option("--nhwc", is_flag=True, help="Let the model take its image as (N, H, W, C)."),
    click.option("--fp16", is_flag=True, help="Store weights as float16, in half the space; still computes in float32."),
    click.option("--external-data", is_flag=True, help="Put the weights of an .onnx into FILE.data (always done above 2 GB)."),
)  # fmt: skip


def onnx_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that only ONNX models take."""
    for option in reversed(ONNX_OPTIONS):
        command = option(command)
    return command


@click.command()
@click.argument("prototxt")
@click.argument("weights", required=False)
@click.option(
    "-o", "--output", required=True, metavar="FILE",
    help="Ends in .onnx, .pt2 (torch.export), .pth (state dict), .caffemodel, .caffemodel.h5 or .prototxt; - with --to.",
)  # fmt: skip
@click.option("--to", "ending", type=click.Choice(ENDINGS), help="The format, whatever FILE ends in.")
@OPSET
@click.option("--dynamic-batch", is_flag=True, help="Leave the batch size open.")
@onnx_options
@click.option("--fold/--no-fold", default=None, help="Fold BatchNorm and Scale into convolutions (default for .onnx and .pt2).")
@PHASE
@INPUT
@STRICT
@SEED
def convert(
    prototxt: str, weights: str | None, output: str, ending: str | None, opset: int, dynamic_batch: bool,
    fold: bool | None, phase: str, inputs: Sequence[str], strict: bool, seed: int, **onnx_only: Any,
) -> None:  # fmt: skip
    """Convert PROTOTXT with the weights of WEIGHTS to ONNX, PyTorch or Caffe.

    WEIGHTS is a .caffemodel or .caffemodel.h5, or a PyTorch state dict (.pth, .safetensors) of the net that convert or
    to_torch made: so weights trained in PyTorch go back to Caffe. Without WEIGHTS, the layers' fillers draw random ones.

    \b
    protogen convert deploy.prototxt model.caffemodel -o model.onnx
    protogen convert deploy.prototxt -o model.onnx --dynamic-batch --opset 18
    protogen convert ssd.prototxt ssd.caffemodel -o heads.onnx --no-postprocess
    protogen convert deploy.prototxt model.caffemodel -o rgb.onnx --mean 104,117,123 --scale 0.017 --swap-rb --nhwc
    protogen convert deploy.prototxt model.caffemodel -o model.pth
    protogen convert deploy.prototxt trained.pth -o trained.caffemodel
    """
    from ..convert.formats import FORMATS, Options
    from ..convert.formats import convert as write

    chosen = f".{ending}" if ending else Path(output).suffix.lower()
    if chosen not in FORMATS:
        raise wrong_use(f"{output}: no format for the ending {chosen!r}; known: {', '.join(FORMATS)}, or give --to")
    _check_onnx_only(chosen, output, onnx_only)
    with progress():
        net = load_net(prototxt, weights, phase, inputs, strict)
        if weights is None and chosen != ".prototxt" and net.param_shapes:
            click.echo("Note: no weights given; random ones from the layers' fillers are used", err=True)
        files = [path for path in (prototxt, weights) if path not in (None, "-")]
        options = Options(dynamic_batch, fold, seed, {"opset": opset, "sources": files, **_onnx_settings(**onnx_only)})
        if output == "-":
            write_binary(lambda path: write(net, path, options, chosen))
        else:
            write(net, output, options, chosen)


def _check_onnx_only(ending: str, output: str, given: dict[str, Any]) -> None:
    """Refuse options that would do nothing."""
    for name, value in given.items():
        if value and value != () and (ending != ".onnx" or (name == "external_data" and output == "-")):
            flag = "--rename" if name == "renames" else "--" + name.replace("_", "-")
            raise wrong_use(f"{flag} goes with an .onnx file")


def _onnx_settings(
    renames: Sequence[str], mean: tuple[float, ...] | None, scale: tuple[float, ...] | None, swap_rb: bool, nhwc: bool,
    no_postprocess: bool, **same: bool,
) -> dict[str, Any]:  # fmt: skip
    """Keyword arguments of `Net.to_onnx` from the options given."""
    from ..convert.onnx_options import Preprocess

    rename: dict[str, str] = {}
    for given in renames:
        old, equals, new = given.partition("=")
        if not (old and equals and new) or old in rename:
            raise wrong_use(f"--rename takes OLD=NEW, once for each name, not {given!r}")
        rename[old] = new
    preprocess = None
    if mean or scale or swap_rb or nhwc:
        preprocess = Preprocess(mean or 0.0, scale or 1.0, swap_rb, nhwc)
    return {"rename": rename, "preprocess": preprocess, "postprocess": not no_postprocess, **same}
