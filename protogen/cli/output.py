"""What commands write and what people see: files, standard output, tables, a progress bar."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click


def write_text(output: str, text: str) -> None:
    """Write a text file in one step, or to standard output ("-")."""
    if output == "-":
        click.echo(text, nl=False)
        return
    from ..files import write_text as write

    write(output, text)


def write_binary(write: Callable[[str], None]) -> None:
    """Send to standard output the file that a function writes."""
    import os
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "converted")
        write(path)
        with open(path, "rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer, 1 << 20)


def print_table(table: Any) -> None:
    """A rich table: fitted to a terminal, at its natural width into a pipe."""
    from rich.console import Console

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 4096, highlight=False)
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as text:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in text.get().splitlines()))


@contextmanager
def progress() -> Iterator[None]:
    """A progress bar on standard error for work that takes longer than a second; none when that is no terminal."""
    if not sys.stderr.isatty():
        yield
        return
    import time

    from ..progress import listening

    begun = time.monotonic()
    bar: list[Any] = []

    def report(label: str, done: int, total: int) -> None:
        if not bar and time.monotonic() - begun > 1:
            from rich.console import Console
            from rich.progress import Progress

            bar.append(Progress(console=Console(stderr=True), transient=True))
            bar[0].start()
            bar.append(bar[0].add_task(label))
        if bar:
            bar[0].update(bar[1], description=label, completed=done, total=total or None)

    try:
        with listening(report):
            yield
    finally:
        if bar:
            bar[0].stop()
