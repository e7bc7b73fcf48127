"""How tests run the command line, in this process or in one of its own, and code in a fresh interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from protogen.cli import main

ROOT = Path(__file__).parents[1]  # of the checkout
Capture = pytest.CaptureFixture[str]


class Result(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]  # the fixture `run` of tests/cli


def run_command(capture: Capture, *arguments: object) -> Result:
    """Run the command line in this process; `capture` is pytest's capsys or capfd."""
    code = exit_code(*arguments)
    return Result(code, *capture.readouterr())


def exit_code(*arguments: object) -> int:
    """Run the command line in this process for its exit code alone."""
    with warnings.catch_warnings(), pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    assert end.value.code is None or isinstance(end.value.code, int)
    return end.value.code or 0


def process(*arguments: object, stdin: bytes | None = None, **settings: Any) -> subprocess.CompletedProcess[bytes]:
    """Run the command line as a process of its own, as a shell would; `settings` are those of `subprocess.run`."""
    command = [sys.executable, "-m", "protogen", *map(str, arguments)]
    if "stdout" not in settings:
        settings["capture_output"] = True
    return subprocess.run(command, input=stdin, timeout=120, **settings)


def fresh_python(code: str, *arguments: object, paths: tuple[Path, ...] = (), folder: Path = ROOT, **environment: str) -> str:
    """What a fresh interpreter prints; `paths` go behind the repository's on its path, `folder` is where it runs."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [ROOT, *paths])), **environment}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules_after(*arguments: object) -> set[str]:
    """Modules that a run of the command line has loaded at its end."""
    printed = fresh_python(
        "import sys\n"
        "from protogen.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "print('', *sys.modules, sep='\\nmodule ')",
        *arguments,
    )
    return {line.removeprefix("module ") for line in printed.splitlines() if line.startswith("module ")}


def completions(words: str) -> list[str]:
    """What bash is offered behind these words."""
    code = "import sys; sys.argv[0] = 'protogen'; from protogen.cli import main; main()"
    places = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    return fresh_python(code, _PROTOGEN_COMPLETE="bash_complete", **places).splitlines()
