"""`protogen upgrade`: rewrite old dialects in today's."""

from __future__ import annotations

import click

from .options import OUTPUT, STRICT
from .output import write_text


@click.command()
@click.argument("prototxt")
@OUTPUT
@STRICT
def upgrade(prototxt: str, output: str, strict: bool | None) -> None:
    """Rewrite PROTOTXT ("-": standard input), a net or a solver, in today's dialect.

    As with Caffe's upgrade_net_proto_text, V0 and V1 layers become layer { }, and input fields an Input layer; the layers of
    both phases are kept. A file in today's dialect is only reformatted. Comments are lost.

    \b
    protogen upgrade old.prototxt -o new.prototxt
    """
    from ..prototxt.reader import kind_of, read_definition, read_solver, read_source
    from ..prototxt.writer import write

    text, source = read_source(prototxt)
    read = read_solver if kind_of(text) == "solver" else read_definition
    write_text(output, write(read(text, source, strict)))
