"""Runs the blocks of a Markdown page in order, in one folder, and compares what they print with what the page shows.

`python -m tests.pages PAGE ...` writes what the commands of a page print now into it, for `git diff` to show.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.commands import ROOT

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MEASURED = re.compile(r"\b\d+(\.\d+)?(e[+-]\d+)\b|\b\d+\.\d+(?= s\b)")  # roundings and seconds differ between machines
WIDTH = "130"


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    line: int


@dataclass
class Page:
    """A page being run: its Python names live on from block to block."""

    path: Path
    folder: Path
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})

    def mistakes(self) -> Iterator[str]:
        """Run every block; what each does otherwise than the page says."""
        for block in blocks(self.path):
            where = f"{self.path.name}:{block.line}"
            if block.language == "console":
                yield from (f"{where}: {mistake}" for mistake in self.console(block))
            elif block.language in ("python", "pycon"):
                run = self.script if block.language == "python" else self.session
                with inside(self.folder):
                    yield from (f"{where}: {mistake}" for mistake in run(block))

    def console(self, block: Block) -> Iterator[str]:
        """Commands after "$ ", each with its output."""
        for command, expected in commands(block.text):
            printed = self.shell(command)
            if not same(printed, expected):
                yield f"$ {command}\nprints\n{printed}\nnot\n{expected}"

    def shell(self, command: str) -> str:
        """What a command prints, messages included, as a terminal shows it."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": WIDTH, "PYTHONIOENCODING": "utf-8"}
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder, env=environment, text=True, encoding="utf-8", timeout=300,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        return done.stdout

    def script(self, block: Block) -> Iterator[str]:
        """Statements that run without an error."""
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(block.text, f"{self.path.name}:{block.line}", "exec"), self.names)
        except Exception as error:
            yield f"{type(error).__name__}: {error}"

    def session(self, block: Block) -> Iterator[str]:
        """Statements after ">>> ", each with its output."""
        test = doctest.DocTestParser().get_doctest(block.text, self.names, self.path.name, str(self.path), block.line)
        report = io.StringIO()
        runner = doctest.DocTestRunner(verbose=False)
        if runner.run(test, out=report.write, clear_globs=False).failed:
            yield report.getvalue()
        self.names.update(test.globs)


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """With `folder` as the current one, and warnings unseen."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.chdir(before)


def blocks(path: Path) -> list[Block]:
    """The fenced blocks of a page."""
    text = path.read_text(encoding="utf-8")
    return [Block(match[1], match[2], text.count("\n", 0, match.start()) + 1) for match in BLOCK.finditer(text)]


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Commands and the output below each; a command goes on in lines that begin with "> "."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        first, *lines = part.splitlines()
        while lines and lines[0].startswith("> "):
            first += "\n" + lines.pop(0)[2:]
        yield first, "\n".join(lines)


def same(printed: str, expected: str) -> bool:
    """Whether two outputs are one but for blanks at the ends of lines, and for measured digits."""
    return [plain(line) for line in printed.strip().splitlines()] == [plain(line) for line in expected.strip().splitlines()]


def plain(line: str) -> str:
    """A line with every measured number in one form."""
    return MEASURED.sub("0", line.rstrip())


def update(path: Path) -> None:
    """Put what a page's commands print now in the place of what it shows."""
    with tempfile.TemporaryDirectory() as folder:
        page = Page(path, Path(folder))

        def renewed(match: re.Match[str]) -> str:
            block = Block(match[1], match[2], 0)
            if block.language in ("python", "pycon"):
                with inside(page.folder):
                    print(*(page.script if block.language == "python" else page.session)(block), end="")
            if block.language != "console":
                return match[0]
            parts = []
            for command, expected in commands(block.text):
                printed = page.shell(command).strip("\n")
                shown = expected if same(printed, expected) else printed
                parts.append("$ " + command.replace("\n", "\n> ") + "\n" + (shown + "\n" if shown else ""))
            return f"```console\n{''.join(parts)}```"

        text = BLOCK.sub(renewed, path.read_text(encoding="utf-8"))
    path.write_text("".join(line.rstrip() + "\n" for line in text.splitlines()), encoding="utf-8")


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        update(Path(argument))
