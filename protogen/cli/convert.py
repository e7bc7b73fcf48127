"""`protogen convert`: Caffe to ONNX and PyTorch, and PyTorch's weights back to Caffe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from .options import INPUT, OPSET, PHASE, SEED, STRICT, load_net, wrong_use
from .output import progress, write_binary

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
@click.option("--dynamic-batch", is_flag=True, help="Leave the batch size open.")
@click.option("--external-data", is_flag=True, help="Put the weights of an .onnx into FILE.data (always done above 2 GB).")
@click.option("--fold/--no-fold", default=None, help="Fold BatchNorm and Scale into convolutions (default for .onnx and .pt2).")
@PHASE
@INPUT
@STRICT
@SEED
def convert(
    prototxt: str, weights: str | None, output: str, ending: str | None, opset: int, dynamic_batch: bool, external_data: bool,
    fold: bool | None, phase: str, inputs: Sequence[str], strict: bool, seed: int,
) -> None:  # fmt: skip
    """Convert PROTOTXT with the weights of WEIGHTS to ONNX, PyTorch or Caffe.

    WEIGHTS is a .caffemodel or .caffemodel.h5, or a PyTorch state dict (.pth, .safetensors) of the net that convert or
    to_torch made: so weights trained in PyTorch go back to Caffe. Without WEIGHTS, the layers' fillers draw random ones.

    \b
    protogen convert deploy.prototxt model.caffemodel -o model.onnx
    protogen convert deploy.prototxt -o model.onnx --dynamic-batch --opset 18
    protogen convert deploy.prototxt model.caffemodel -o model.pth
    protogen convert deploy.prototxt trained.pth -o trained.caffemodel
    """
    from ..convert.formats import FORMATS, Options
    from ..convert.formats import convert as write

    chosen = f".{ending}" if ending else Path(output).suffix.lower()
    if chosen not in FORMATS:
        raise wrong_use(f"{output}: no format for the ending {chosen!r}; known: {', '.join(FORMATS)}, or give --to")
    if external_data and (chosen != ".onnx" or output == "-"):
        raise wrong_use("--external-data goes with an .onnx file")
    with progress():
        net = load_net(prototxt, weights, phase, inputs, strict)
        if weights is None and chosen != ".prototxt" and net.param_shapes:
            click.echo("Note: no weights given; random ones from the layers' fillers are used", err=True)
        options = Options(opset, dynamic_batch, fold, seed, external_data)
        if output == "-":
            write_binary(lambda path: write(net, path, options, chosen))
        else:
            write(net, output, options, chosen)
