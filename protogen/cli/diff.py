"""`protogen diff`: compare two nets."""

from __future__ import annotations

import sys

import click

from ..errors import ProtogenError
from .options import ReadOptions, reads_net
from .output import say, say_json


class Trouble(click.ClickException):
    """An error, whose exit code differs from that of a difference."""

    exit_code = 2


@click.command()
@click.argument("a")
@click.argument("b")
@click.option("--weights", nargs=2, metavar="A B", help="Also compare these weights.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reads_net()
def diff(a: str, b: str, weights: tuple[str, str] | None, as_json: bool, reading: ReadOptions) -> None:
    """Compare the nets of prototxt A and B: layers added, gone and changed, wiring, weights.

    Exit status: 0 if they are equal, 1 if they differ, 2 on errors, as for diff.

    \b
    protogen diff deploy.prototxt other.prototxt
    protogen diff a.prototxt b.prototxt --weights a.caffemodel b.caffemodel
    """
    from ..report.diff import diff as compare

    try:
        nets = [reading.load(path, file) for path, file in zip((a, b), weights or (None, None))]
        result = compare(*nets)
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
