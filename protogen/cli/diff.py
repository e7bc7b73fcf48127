"""`protogen diff`: two nets side by side."""

from __future__ import annotations

import sys

import click

from ..errors import ProtogenError
from .options import ReadOptions, reads_net
from .output import say, say_json


class Trouble(click.ClickException):
    """An error, told apart from a difference by its exit code."""

    exit_code = 2


@click.command()
@click.argument("a")
@click.argument("b")
@click.option("--weights", nargs=2, metavar="A B", help="The nets' weights, to be compared too.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@reads_net()
def diff(a: str, b: str, weights: tuple[str, str] | None, as_json: bool, reading: ReadOptions) -> None:
    """Compare the nets of prototxt A and B: layers added, gone and changed, wiring, weights.

    Ends with 0 if they are equal, 1 if they differ, 2 on errors, as diff does.

    \b
    protogen diff deploy.prototxt other.prototxt
    protogen diff a.prototxt b.prototxt --weights a.caffemodel b.caffemodel
    """
    from ..report.diff import diff as compare

    try:
        nets = [reading.load(path, file) for path, file in zip((a, b), weights or (None, None))]
        found = compare(*nets)
    except ProtogenError as error:
        raise Trouble(str(error)) from error
    if as_json:
        say_json(found.as_dict())
    else:
        say(*found.lines())
        if not found.equal:
            say(found.summary())
    if not found.equal:
        sys.exit(1)
