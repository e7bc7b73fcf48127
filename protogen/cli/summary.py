"""`protogen summary`: show shapes, parameters, cost, and statistics of weights."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ..errors import ProtogenError, WeightsError
from .options import ReadOptions, files_of, reads_net, usage_error
from .output import print_table, say, say_json

if TYPE_CHECKING:
    from ..net import Net
    from ..reading import NetFiles
    from ..report.summary import Summary
    from ..report.table import PlainTable


_COLUMNS = (
    "Columns of the table, or all: layer, type, kernel, stride, input, output, memory (of the outputs), live (memory of all "
    "blobs held while the layer runs), field and jump (size of the receptive field in pixels, and its step from value to "
    "value), parameters, macs, share (of all MACs).  [default: layer,type,kernel,stride,output,parameters,macs,share]"
)


@click.command()
@click.argument("prototxt")
@click.argument("weights", required=False)
@click.option("--columns", metavar="NAME,...", help=_COLUMNS)
@click.option("--depth", type=click.IntRange(1), metavar="N", help="Show groups of layers below this depth as one line each.")
@click.option("--by-size", is_flag=True, help="Show the totals of the layers of each height and width, instead of the layers.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with everything.")
@reads_net()
def summary(
    prototxt: str, weights: str | None, columns: str | None, depth: int | None, by_size: bool, as_json: bool,
    reading: ReadOptions,
) -> None:  # fmt: skip
    """Show the layers of PROTOTXT ("-": standard input): windows, output shapes, parameters, multiply-accumulates and more.

    Layers whose names begin alike, up to a "/", form groups, with their totals. In a terminal that is too narrow, long names are
    wrapped, and whole columns are left out in this order: live, jump, field, memory, input, share, stride, kernel, type, macs,
    parameters. Output to a file or pipe has them all.

    With WEIGHTS, or a .caffemodel in place of PROTOTXT, a second table has the learnable blobs: shape, smallest and largest
    value, mean, share of zeros, NaN and infinite values. Other weights files alone (.caffemodel.h5, .pth, .safetensors) give
    that table only.

    \b
    protogen summary deploy.prototxt
    protogen summary deploy.prototxt --columns layer,output,field,jump --depth 1
    protogen summary model.caffemodel
    protogen summary train_val.prototxt --phase train --input data=32,3,224,224
    """
    from ..report.summary_table import check_columns, sizes_table
    from ..report.weights import weights_summary

    try:
        names = check_columns(columns.split(",") if columns is not None else None)
    except ProtogenError as mistake:
        raise usage_error(str(mistake)) from mistake
    files = files_of(prototxt, weights)
    statistics = weights_summary(files.weights) if files.weights is not None else None
    net = _net(files, reading, required=files.weights is None or weights is not None)
    result = net.summary() if net is not None else None
    for error in net.analysis.errors.values() if net is not None else ():
        say(*(f"Warning: {line}" for line in error.lines), err=True)
    if as_json:
        data: dict[str, Any] = result.parts() if result is not None else {}
        say_json({**data, "weights": statistics.as_dict()["rows"]} if statistics is not None else data)
        return
    if result is not None:
        show(result, sizes_table(result) if by_size else result.table(names, depth))
    if statistics is not None:
        print_table(statistics.table())
        say(statistics.totals)
        say(*(f"Warning: {line}" for line in statistics.warnings), err=True)


def show(result: Summary, table: PlainTable | None = None) -> None:
    """Print a net's layers, or another table of them, and its totals."""
    print_table(table or result.table())
    say(result.memory_totals, result.totals, *result.data)


def _net(files: NetFiles, reading: ReadOptions, required: bool) -> Net | None:
    """The net; None, with a note, if there is only a weights file whose net cannot be read."""
    try:
        return reading.net_of(files, lenient=True, optional=True)
    except ProtogenError as error:
        if required and not isinstance(error, WeightsError):
            raise
        first = "Warning: " if required else "Note: no table of layers: "
        say(f"{first}{error.lines[0]}", *error.lines[1:], err=True)
    # Weights that do not fit are shown all the same.
    return reading.net_of(replace(files, weights=None), lenient=True) if required else None
