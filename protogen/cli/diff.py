"""`protogen diff`: compare two nets."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from ..errors import ProtogenError
from .options import ReadOptions, in_order, reads_net
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
    from ..reading import is_caffemodel

    try:
        a, second = in_order(a, b)
        b = second or b
        if not is_caffemodel(a) and is_caffemodel(b) and not weights:
            result: Fit | NetDiff = _fit(a, b, reading)
        else:
            result = _diff(a, b, weights or (None, None), reading)
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


def _diff(a: str, b: str, weights: tuple[str | None, str | None], reading: ReadOptions) -> NetDiff:
    from ..report.diff import diff as compare

    return compare(*(reading.load(path, file) for path, file in zip((a, b), weights)))


def _fit(prototxt: str, weights: str, reading: ReadOptions) -> Fit:
    from ..report.fit import fit

    return fit(reading.load(prototxt), weights)
