"""Output of commands: files, lines, tables, a progress bar. Only this module prints."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from ..errors import printable

if TYPE_CHECKING:
    from ..report.table import PlainTable


def reopen_closed_streams() -> None:
    """Open the standard streams that the caller closed (`>&-`), so that no file of ours gets their descriptors.

    Standard output is opened such that writing to it fails, as it does for any program.
    """
    if sys.stdin is None:
        os.open(os.devnull, os.O_WRONLY)  # POSIX: the lowest free descriptor, which is that of the closed stream
    if sys.stdout is None:
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8")


def drop_output() -> None:
    """Send what standard output still holds to nowhere, since Python would try to write it at exit and fail again."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(*lines: str, err: bool = False) -> None:
    """Print lines of text, each made `printable`, so that names from files cannot control the terminal."""
    encoding = getattr(sys.stderr if err else sys.stdout, "encoding", None) or "utf-8"
    click.echo("".join(f"{printable(line, encoding)}\n" for line in lines), nl=False, err=err)


def say_json(data: Any) -> None:
    """Print plain data as JSON, in ASCII. Values of a mapping may be iterators: their items are printed one after the other."""
    pieces = _json(data) if isinstance(data, dict) else iter([json.dumps(data, indent=2)])
    while some := "".join(islice(pieces, 1000)):  # each echo flushes the stream
        click.echo(some, nl=False)
    click.echo()


def _json(data: dict[str, Any]) -> Iterator[str]:
    """Yield the pieces of what `json.dumps(data, indent=2)` returns; line breaks in texts are escaped, all others its own."""
    before = "{"
    for key, value in data.items():
        yield f"{before}\n  {json.dumps(key)}: "
        before = ","
        if not isinstance(value, Iterator):
            yield json.dumps(value, indent=2).replace("\n", "\n  ")
            continue
        opening = "["
        for item in value:
            yield f"{opening}\n    " + json.dumps(item, indent=2).replace("\n", "\n    ")
            opening = ","
        yield "[]" if opening == "[" else "\n  ]"
    yield "{}" if before == "{" else "\n}"


def write_text(output: str, text: str) -> None:
    """Write text atomically to a file, or to standard output ("-"); always as UTF-8, regardless of the terminal."""
    if output == "-":
        click.echo(text.encode("utf-8", "surrogateescape"), nl=False)
        return
    from ..files import write_text as write
    from ..targets.formats import FORMATS

    ending = next((ending for ending in FORMATS if ending != ".prototxt" and output.endswith(ending)), None)
    if ending is not None:
        raise click.UsageError(f"-o {output}: this command writes prototxt; protogen convert writes {ending} files")
    write(output, text)


def write_binary(write: Callable[[str], None]) -> None:
    """Copy the file written by the function `write` to standard output."""
    import os
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "converted")
        write(path)
        with open(path, "rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer, 1 << 20)
        sys.stdout.buffer.flush()


def print_table(table: PlainTable) -> None:
    """Print a table, fitted to the terminal, or at its natural width if the output is a pipe."""
    import shutil

    is_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if is_terminal else None
    lines = table.lines(width, sys.stdout.encoding or "utf-8")
    while some := list(islice(lines, 1000)):  # each echo flushes the stream
        click.echo("\n".join(click.style(text, bold=True) if bold and is_terminal else text for text, bold in some))


@contextmanager
def progress() -> Iterator[None]:
    """Show a progress bar on standard error if the block takes longer than a second and standard error is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    import time

    from ..progress import listening

    start = time.monotonic()
    bar: list[Any] = []

    def report(label: str, done: int, total: int) -> None:
        if not bar and time.monotonic() - start > 1:
            from rich.console import Console
            from rich.markup import escape
            from rich.progress import Progress

            bar.append(Progress(console=Console(stderr=True), transient=True))
            bar[0].start()
            bar.append(bar[0].add_task(escape(printable(label))))
        if bar:
            bar[0].update(bar[1], completed=done, total=total or None)

    try:
        with listening(report):
            yield
    finally:
        if bar:
            bar[0].stop()
