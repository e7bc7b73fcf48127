"""`protogen completion`: scripts for tab completion in shells."""

from __future__ import annotations

import click

from .output import write_text


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    eval "$(protogen completion bash)"
    protogen completion fish > ~/.config/fish/completions/protogen.fish
    """
    from click.shell_completion import get_completion_class

    script = get_completion_class(shell)
    root = click.get_current_context().find_root().command
    if script is not None:
        write_text("-", script(root, {}, "protogen", "_PROTOGEN_COMPLETE").source() + "\n")
