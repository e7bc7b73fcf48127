"""`protogen diff`: compare two nets."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from ..errors import ProtogenError
from .options import ReadOptions, files_of, reads_net
from .output import say, say_json

if TYPE_CHECKING:
    from ..report.diff import NetDiff
    from ..report.fit import Fit


class Trouble(click.ClickException):
    """An error, whose exit code differs from that of a difference."""

    exit_code = 2


@click.command()
@click.argument("a")
@click.argument("b")
@click.option("--weights", nargs=2, metavar="A B", help="Also compare these weights of two nets.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reads_net()
def diff(a: str, b: str, weights: tuple[str, str] | None, as_json: bool, reading: ReadOptions) -> None:
    """Compare the nets of prototxt A and B: layers added, gone and changed, wiring, weights.

    A prototxt and a weights file (.caffemodel, .caffemodel.h5, .pth, .safetensors) are held against each other: layers
    without weights, weights without layers, and blobs, types and parameters that differ. Two .caffemodel files are compared as
    nets with their weights.

    Exit status: 0 if they are equal, 1 if they differ, 2 on errors, as for diff.

    \b
    protogen diff deploy.prototxt other.prototxt
    protogen diff deploy.prototxt model.caffemodel
    protogen diff a.prototxt b.prototxt --weights a.caffemodel b.caffemodel
    """
    try:
        result = _diff(a, b, weights, reading) if weights else _compared(a, b, reading)
    except ProtogenError as error:
        raise Trouble(str(error)) from error
    if as_json:
        say_json(result.as_dict())
    else:
        say(*result.lines())
        if not result.equal:
            say(result.summary())
    if not result.equal:
        sys.exit(1)


def _compared(a: str, b: str, reading: ReadOptions) -> Fit | NetDiff:
    """Compare two nets, or a net and a weights file if one of the two is a prototxt."""
    from ..reading import is_caffemodel
    from ..report.fit import fit

    files = files_of(a, b)
    if files.is_binary or files.weights is None or not is_caffemodel(files.weights):
        return _diff(a, b, (None, None), reading)
    return fit(reading.net_of(replace(files, weights=None)), files.weights)


def _diff(a: str, b: str, weights: tuple[str | None, str | None], reading: ReadOptions) -> NetDiff:
    from ..report.diff import diff as compare

    return compare(*(reading.load(path, file) for path, file in zip((a, b), weights)))
