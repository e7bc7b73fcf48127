"""`protogen summary`: show shapes, parameters and cost."""

from __future__ import annotations

import click

from .options import ReadOptions, reads_net
from .output import print_table, say, say_json


@click.command()
@click.argument("prototxt")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@reads_net()
def summary(prototxt: str, as_json: bool, reading: ReadOptions) -> None:
    """Show the layers of PROTOTXT ("-": standard input) with output shapes, parameters and MACs.

    \b
    protogen summary deploy.prototxt
    protogen summary train_val.prototxt --phase train --input data=32,3,224,224
    """
    net = reading.load(prototxt, lenient=True)
    for error in net.analysis.errors:
        say(*(f"Warning: {line}" for line in error.lines), err=True)
    result = net.summary()
    if as_json:
        say_json(result.as_dict())
        return
    print_table(result.table())
    say(result.totals)
