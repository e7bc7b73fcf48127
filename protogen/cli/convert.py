"""`protogen convert`: Caffe to ONNX and PyTorch, and PyTorch weights back to Caffe."""

from __future__ import annotations

import os
from typing import Any

import click
from click.core import ParameterSource

from ..errors import ConversionError
from ..targets.formats import FORMATS, Format, format_of
from .onnx_options import OPTION_OF, onnx_options, onnx_settings
from .options import (
    DYNAMIC_BATCH,
    FORCE,
    OPSET,
    SEED,
    TEMPLATES,
    ReadOptions,
    output_needed,
    reads_net,
    refuse_overwriting,
    usage_error,
)
from .output import progress, say, write_binary

ENDINGS = [ending[1:] for ending in FORMATS]
_KINDS = ", ".join(f"{ending} ({format.what})" for ending, format in FORMATS.items())


@click.command()
@click.argument("prototxt")
@click.argument("weights", required=False)
@click.option(
    "-o", "--output", metavar="FILE",
    help=f"The file to write, whose ending selects the format: {_KINDS}; or - for standard output, with --to. "
    "If PROTOTXT is a folder, the folder to write.",
)  # fmt: skip
@click.option(
    "--to", "ending", type=click.Choice(ENDINGS), help="The format, overriding the ending of FILE; of a folder, onnx by default."
)
@OPSET
@DYNAMIC_BATCH
@onnx_options
@click.option("--fold/--no-fold", default=None, help="Fold BatchNorm and Scale into convolutions (default for .onnx and .pt2).")
@TEMPLATES
@FORCE
@reads_net()
@SEED
@click.option(
    "-j", "--jobs", type=click.IntRange(1), metavar="N", help="For a folder: number of processes, by default one per core."
)
@click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS", help="For a folder: limit for each file.")
def convert(
    prototxt: str, weights: str | None, output: str | None, ending: str | None, opset: int, dynamic_batch: bool,
    fold: bool | None, seed: int, jobs: int | None, timeout: float | None, templates: str | None, force: bool,
    reading: ReadOptions, **onnx_only: Any,
) -> None:  # fmt: skip
    """Convert PROTOTXT with the weights of WEIGHTS to ONNX, PyTorch or Caffe; or every net of a folder.

    WEIGHTS is a .caffemodel or .caffemodel.h5, or a PyTorch state dict (.pth, .safetensors) of the converted net, so that
    weights trained in PyTorch can be converted back to Caffe. State dicts of torchvision and timm fit the models of protogen
    build with their layer sizes (--preset torchvision or timm, where there is one): their names are others, so they are matched
    by order and shape, and refused where that leaves a doubt. The weights expect what the model's --help says of images. A
    .caffemodel that Caffe saved needs no PROTOTXT: it holds its definition, which -o deploy.prototxt writes. Without
    WEIGHTS, those in PROTOTXT itself (blobs) are used or, for layers that have none there, the values of their fillers:
    random ones, or zeros for layers without fillers.

    If PROTOTXT is a folder, so is -o: every net in it and its folders is converted with the .caffemodel beside it, into the same
    place in the other folder. Files that fail do not stop the others; report.json there lists what became of each.

    \b
    protogen convert deploy.prototxt model.caffemodel -o model.onnx
    protogen convert deploy.prototxt -o model.onnx --dynamic-batch --opset 18
    protogen convert ssd.prototxt ssd.caffemodel -o heads.onnx --no-postprocess
    protogen convert deploy.prototxt model.caffemodel -o rgb.onnx --mean 104,117,123 --scale 0.017 --swap-rb --nhwc
    protogen convert deploy.prototxt model.caffemodel -o model.pth
    protogen convert deploy.prototxt trained.pth -o trained.caffemodel
    protogen convert resnet18.prototxt resnet18-torchvision.pth -o resnet18.caffemodel
    protogen convert model.caffemodel -o deploy.prototxt
    protogen convert models/ -o converted/ --to onnx --jobs 4
    """
    is_folder = os.path.isdir(prototxt)
    if output is None:
        raise output_needed(prototxt, weights, "_converted" if is_folder else f".{ending or 'onnx'}")
    if is_folder and weights is not None:
        raise usage_error(f"{prototxt} is a folder, whose nets take the weights beside them: WEIGHTS is for one net")
    if not is_folder and (jobs is not None or timeout is not None):
        raise usage_error("--jobs and --timeout are only for folders")
    try:
        target = format_of(output, f".{ending}" if ending else ".onnx" if is_folder else None)
    except ConversionError as error:
        raise usage_error(f"{error}, or use --to") from error
    _refuse_unused_options(target, output)
    refuse_overwriting([output], (prototxt, weights), force)
    values = {"opset": opset, "dynamic_batch": dynamic_batch, "seed": seed, "templates": templates, **onnx_settings(**onnx_only)}
    options = {name: value for name, value in values.items() if name in target.option_names}
    if fold is not None:
        options["fold"] = fold
    if is_folder:
        from .convert_folder import convert_folder

        convert_folder(prototxt, output, target.ending, jobs=jobs, timeout=timeout, reading=reading, options=options)
        return
    with progress():
        lenient = target.leaves_out(options)  # what only trains is left out, whether or not it fits
        net = reading.load(prototxt, weights, lenient, optional=target.is_definition and not fold)
        if lenient:  # here already, as the weights of what is left are looked at below
            net = net.known_part(options["postprocess"])
        if not net.weights.source and not target.is_definition and net.weights.missing:
            say(f"Note: {net.weights.fill_note}", err=True)
        if output == "-":
            write_binary(lambda path: net.save(path, target.ending, **options))
        else:
            net.save(output, target.ending, **options)


def _refuse_unused_options(target: Format, output: str) -> None:
    """Refuse options on the command line that would have no effect."""
    context = click.get_current_context()
    names = {name for format in FORMATS.values() for name in format.option_names}
    for param in context.command.params:
        option = OPTION_OF.get(str(param.name), str(param.name))
        if option not in names or context.get_parameter_source(str(param.name)) is not ParameterSource.COMMANDLINE:
            continue
        if option not in target.option_names:
            endings = [format.ending for format in FORMATS.values() if option in format.option_names]
            listed = " and ".join(filter(None, (", ".join(endings[:-1]), endings[-1])))
            raise usage_error(f"{param.opts[0]} is only for {listed} files")
        if option == "external_data" and output == "-":
            raise usage_error(f"{param.opts[0]} needs -o FILE instead of standard output")
