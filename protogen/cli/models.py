"""`protogen models`: list the architectures that `protogen build` can write."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

import click

from .output import say, say_json
from .plugin import PLUGIN

if TYPE_CHECKING:
    from ..models.registry import Model


@click.command()
@PLUGIN
@click.option("--cost", is_flag=True, help="Also show parameters and MACs for one image, with default options.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(cost: bool, as_json: bool) -> None:
    """List the architectures that `protogen build NAME` can write.

    \b
    protogen models
    protogen models --cost
    """
    list_models(cost, as_json)


def list_models(cost: bool = False, as_json: bool = False) -> None:
    """Print every model's name, summary and paper, and if `cost` its parameters and MACs."""
    from ..models.registry import models as all_models

    entries = [_entry(model, cost) for model in all_models().values()]
    if as_json:
        say_json(entries)
        return
    for entry in entries:
        say(f"{entry['name']:12} {entry['summary']}", f"{'':12} {entry['paper']}")
        if cost:
            say(f"{'':12} {entry['parameters']:,} parameters, {entry['macs']:,} multiply-accumulates")


def _entry(model: Model, cost: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": model.name, "summary": model.summary, "paper": model.paper, "year": model.year}
    if cost:
        net = model.build(**({"batch": 1} if "batch" in signature(model.build).parameters else {}))
        entry.update(parameters=net.param_count, macs=net.macs)
    return entry
