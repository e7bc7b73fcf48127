"""`protogen upgrade`: rewrite old dialects in today's."""

from __future__ import annotations

import click

from ..errors import ProtogenError
from .options import FORCE, OUTPUT, TEMPLATES, ReadOptions, reads_net, refuse_overwriting
from .output import write_text


@click.command()
@click.argument("prototxt")
@OUTPUT
@TEMPLATES
@FORCE
@reads_net()
def upgrade(prototxt: str, output: str, templates: str | None, force: bool, reading: ReadOptions) -> None:
    """Rewrite PROTOTXT ("-": standard input), a net or a solver, in today's dialect.

    As with Caffe's upgrade_net_proto_text, V0 and V1 layers become layer { }, and input fields an Input layer; the layers of
    both phases are kept. A file in today's dialect is only reformatted. Comments are lost. The options that say how to read a
    net do here what they do for convert -o FILE.prototxt.

    \b
    protogen upgrade old.prototxt -o new.prototxt
    """
    from ..prototxt.reader import kind_of, read_solver, read_source
    from ..prototxt.writer import write

    refuse_overwriting([output], [prototxt], force)
    text, source = read_source(prototxt)
    if kind_of(text) == "solver":
        _refuse_options_of_nets(reading, source)
        result = write(read_solver(text, source, reading.strict), templates)
    else:
        result = _upgraded(text, source, templates, reading)
    write_text(output, result)


def _upgraded(text: str, source: str, templates: str | None, reading: ReadOptions) -> str:
    """Return a net's text in today's dialect; only options that ask for it have the layers set up."""
    from ..prototxt.reader import read_definition
    from ..prototxt.template import fill
    from ..prototxt.writer import write
    from ..reading import loads

    if reading.concerns_layers:
        return loads(text, source=source, lenient=True, **reading.settings()).to_prototxt(templates)
    filled = fill(text, reading.words) if reading.define else text
    return write(read_definition(filled, source, reading.strict), templates)


def _refuse_options_of_nets(reading: ReadOptions, source: str) -> None:
    if reading.concerns_layers or reading.define:
        raise ProtogenError(f"{source}: this is a solver, and the options that say how to read a net do not apply to it")
