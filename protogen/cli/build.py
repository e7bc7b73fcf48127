"""`protogen build NAME`, which writes published architectures as prototxt, and its shortcut `protogen peleenet`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ..errors import NetError
from .options import usage_error
from .output import write_text
from .plugin import PLUGIN

if TYPE_CHECKING:
    from ..models.registry import Model


class Models(click.Group):
    """A group with a command for each model, derived on demand from the model's function."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all models."""
        from ..models.registry import models

        return list(models())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a model's command; for an unknown name, raise an error that suggests the nearest one."""
        try:
            return _command(cmd_name, f"protogen build {cmd_name}")
        except NetError as error:
            if ctx.resilient_parsing:
                return None
            raise click.UsageError(str(error), ctx) from error


class Shortcut(click.Command):
    """A top-level command for a model, derived only when it runs, so that `protogen --help` imports no model."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Return the context of the model's command."""
        return _command(str(self.name), f"protogen {self.name}").make_context(info_name, args, parent, **extra)


def _command(name: str, usage: str) -> click.Command:
    from ..models.registry import find
    from .model_options import model_command

    model = find(name)
    return model_command(model, name, usage, partial(_write, model))


def _write(
    model: Model, /, *, output: str, templates: str | None, summary: bool, solver: str | None = None, **options: Any
) -> None:
    if summary and (output != "-" or solver is not None):
        raise usage_error("--summary shows the net instead of writing it; leave out -o and --solver, or --summary")
    if solver is not None and (options.get("phase") != "TRAIN" or output == "-"):
        raise usage_error("--solver needs --phase train and a file for the net (-o FILE)")
    try:
        net = model.build(**options)
    except NetError as error:
        raise usage_error(str(error)) from error
    if summary:
        from .summary import show

        show(net.summary())
        return
    write_text(output, net.to_prototxt(templates))
    if solver is not None and model.solver is not None:
        from ..prototxt.writer import write

        write_text(solver, write(model.solver(output), templates))


@click.group(cls=Models, invoke_without_command=True, options_metavar="", subcommand_metavar="[NAME [OPTIONS]]")
@PLUGIN
@click.pass_context
def build(ctx: click.Context) -> None:
    """Write a published architecture as prototxt; without NAME, list them.

    \b
    protogen build
    protogen build peleenet --help
    protogen build peleenet --size 304x320 --classes 20 -o deploy.prototxt
    protogen build resnet50 --size 256 --summary
    protogen build lenet --phase train -o train_val.prototxt --solver solver.prototxt
    """
    if ctx.invoked_subcommand is None:
        from .models import list_models

        list_models()


peleenet = Shortcut("peleenet", short_help="Write PeleeNet as prototxt (short for build peleenet).")
