"""`protogen convert`: Caffe to ONNX and PyTorch, and PyTorch's weights back to Caffe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from .onnx_options import onnx_options, onnx_settings
from .options import DYNAMIC_BATCH, OPSET, SEED, Reading, reads_net, wrong_use
from .output import progress, say, write_binary

if TYPE_CHECKING:
    from ..net import Net

ENDINGS = ("onnx", "pt2", "pth", "prototxt", "caffemodel", "h5")


@click.command()
@click.argument("prototxt")
@click.argument("weights", required=False)
@click.option(
    "-o", "--output", required=True, metavar="FILE",
    help="Ends in .onnx, .pt2 (torch.export), .pth (state dict), .caffemodel, .caffemodel.h5 or .prototxt; - with --to.",
)  # fmt: skip
@click.option("--to", "ending", type=click.Choice(ENDINGS), help="The format, whatever FILE ends in.")
@OPSET
@DYNAMIC_BATCH
@onnx_options
@click.option("--fold/--no-fold", default=None, help="Fold BatchNorm and Scale into convolutions (default for .onnx and .pt2).")
@reads_net()
@SEED
def convert(
    prototxt: str, weights: str | None, output: str, ending: str | None, opset: int, dynamic_batch: bool,
    fold: bool | None, seed: int, reading: Reading, **onnx_only: Any,
) -> None:  # fmt: skip
    """Convert PROTOTXT with the weights of WEIGHTS to ONNX, PyTorch or Caffe.

    WEIGHTS is a .caffemodel or .caffemodel.h5, or a PyTorch state dict (.pth, .safetensors) of the net that convert or
    to_torch made: so weights trained in PyTorch go back to Caffe. Without WEIGHTS they are those that PROTOTXT itself holds
    (blobs) or, where it has none, what the layers' fillers make: random ones, or zeros where a layer names no filler.

    \b
    protogen convert deploy.prototxt model.caffemodel -o model.onnx
    protogen convert deploy.prototxt -o model.onnx --dynamic-batch --opset 18
    protogen convert ssd.prototxt ssd.caffemodel -o heads.onnx --no-postprocess
    protogen convert deploy.prototxt model.caffemodel -o rgb.onnx --mean 104,117,123 --scale 0.017 --swap-rb --nhwc
    protogen convert deploy.prototxt model.caffemodel -o model.pth
    protogen convert deploy.prototxt trained.pth -o trained.caffemodel
    """
    from ..targets.formats import FORMATS, Options
    from ..targets.formats import convert as write

    chosen = f".{ending}" if ending else Path(output).suffix.lower()
    if chosen not in FORMATS:
        raise wrong_use(f"{output}: no format for the ending {chosen!r}; known: {', '.join(FORMATS)}, or give --to")
    _refuse_idle_options(chosen, output, {**onnx_only, "dynamic_batch": dynamic_batch, "opset": _given("opset")})
    with progress():
        net = reading.load(prototxt, weights)
        if weights is None and chosen != ".prototxt" and net.weights.missing:
            say(f"Note: no weights given{_fillers_make(net)}", err=True)
        options = Options(dynamic_batch, fold, seed, {"opset": opset, **onnx_settings(**onnx_only)})
        if output == "-":
            write_binary(lambda path: write(net, path, options, chosen))
        else:
            write(net, output, options, chosen)


def _fillers_make(net: Net) -> str:
    from ..graph.store import some

    missing, zeros = net.weights.missing, net.weights.zero_filled
    where = f" for {some(missing)}" if len(missing) < len(net.weights.shapes) else ""  # the prototxt has the others
    if not zeros:
        return f"{where}; random ones from the layers' fillers are used"
    return f"{where}; those of the layers' fillers are used: all zeros in {some(zeros)}"


def _given(option: str) -> bool:
    """Whether the user gave an option, if only its default."""
    return click.get_current_context().get_parameter_source(option) is ParameterSource.COMMANDLINE


def _refuse_idle_options(ending: str, output: str, given: dict[str, Any]) -> None:
    """Refuse options that would do nothing."""
    for name, value in given.items():
        endings = (".onnx", ".pt2") if name == "dynamic_batch" else (".onnx",)
        if value and (ending not in endings or (name == "external_data" and output == "-")):
            flag = "--rename" if name == "renames" else "--" + name.replace("_", "-")
            raise wrong_use(f"{flag} goes with an {' or '.join(endings)} file")
