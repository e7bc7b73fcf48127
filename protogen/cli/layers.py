"""`protogen layers`: list the supported layer types and fields."""

from __future__ import annotations

import click

from .output import print_table, say, say_json, write_text
from .plugin import PLUGIN


@click.command()
@PLUGIN
@click.option("--markdown", "form", flag_value="markdown", help="Print a Markdown table.")
@click.option("--json", "form", flag_value="json", help="Print JSON.")
@click.option("--fields", "form", flag_value="fields", help="Print which fields of each type are computed, as Markdown.")
def layers(form: str | None) -> None:
    """List every layer type with its shape, PyTorch, gradient and ONNX support; those of plug-ins, too.

    \b
    protogen layers
    protogen layers --markdown
    protogen layers --fields
    protogen layers --plugin my_layers.py
    """
    if form == "fields":
        from ..report.fields import fields_page

        write_text("-", fields_page())
        return
    from ..report.layers import support_table

    support = support_table()
    if form == "json":
        say_json(support.as_list())
    elif form == "markdown":
        write_text("-", support.markdown())
    else:
        print_table(support.table())
        say(support.totals)
