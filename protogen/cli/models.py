"""`protogen models`: list the architectures that `protogen build` can write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .output import print_table, say_json
from .plugin import PLUGIN

if TYPE_CHECKING:
    from ..models.registry import Model


@click.command()
@PLUGIN
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with a sentence on each model.")
@click.option("--cost", is_flag=True, hidden=True, expose_value=False)  # what it asked for is always shown now
def models(as_json: bool) -> None:
    """List the architectures that `protogen build NAME` can write, with parameters and MACs for one image by default.

    \b
    protogen models
    protogen models --json
    """
    list_models(as_json)


def list_models(as_json: bool = False) -> None:
    """Print every model's name, year, parameters, MACs and paper."""
    from ..models.registry import models as all_models

    entries = [_entry(model) for model in all_models().values()]
    if as_json:
        say_json(entries)
        return
    from ..report.table import Column, PlainTable

    table = PlainTable(
        Column("model"), Column("year", right=True), Column("parameters", right=True), Column("MACs", right=True),
        Column("paper", "words", drop=1),
    )  # fmt: skip
    for entry in entries:
        table.add_row(
            entry["name"], str(entry["year"]), f"{entry['parameters']:,}", f"{entry['macs']:,}",
            entry["paper"].removesuffix(f" {entry['year']}").removesuffix(","),
        )  # fmt: skip
    print_table(table)


def _entry(model: Model) -> dict[str, Any]:
    from ..models.registry import cost

    parameters, macs = cost(model)
    return {
        "name": model.name, "summary": model.summary, "paper": model.paper, "year": model.year, "parameters": parameters,
        "macs": macs,
    }  # fmt: skip
