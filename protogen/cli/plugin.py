"""The option --plugin, which runs a file with layer types or models of the user's own."""

from __future__ import annotations

from collections.abc import Sequence

import click


def _load_plugins(context: click.Context, option: click.Parameter, paths: Sequence[str]) -> None:
    from ..plugins import load_file

    if not context.resilient_parsing:  # no foreign code for completion
        for path in paths:
            load_file(path)


PLUGIN = click.option(
    "--plugin", multiple=True, metavar="FILE.py", expose_value=False, is_eager=True, callback=_load_plugins,
    help="Python file that registers layer types (or models) of your own; it is run. Repeatable.",
)  # fmt: skip
