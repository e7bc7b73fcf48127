"""The command line: commands parse options, call the API and print. A command's module is imported only when it runs."""

from __future__ import annotations

import errno
import gc
import os
import sys
import warnings
from collections.abc import Sequence
from io import TextIOWrapper
from types import TracebackType
from typing import Any

import click

from .. import __version__
from ..errors import ProtogenError, ProtogenNote, ProtogenWarning
from ..files import reason
from .output import drop_output, reopen_closed_streams, say

_WRITE_ERRORS = (errno.EBADF, errno.EIO, errno.ENOSPC)
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

# Module of this package that defines each command.
COMMANDS = {
    "build": "build",
    "peleenet": "build",
    "models": "models",
    "summary": "summary",
    "convert": "convert",
    "verify": "verify",
    "run": "run",
    "deploy": "deploy",
    "fold": "fold",
    "edit": "edit",
    "upgrade": "upgrade",
    "diff": "diff",
    "layers": "layers",
    "completion": "completion",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 on success, 1 on an error in a file or net, 2 on wrong usage, 130 if interrupted."""
    arguments, debug = _without_debug(list(sys.argv[1:] if arguments is None else arguments))
    arguments = arguments or ["--help"]
    sys.excepthook = _show_traceback
    reopen_closed_streams()
    # A command creates many small objects and hardly any cycles: by default the collector would inspect them over and over.
    gc.set_threshold(50_000, 20, 20)
    # Between the many short computations of a net, PyTorch's threads would otherwise spin: twice the CPU time, for nothing.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if "verify" not in arguments:
        # numpy starts a BLAS thread per core when it is imported, and nothing but verify's engines multiplies matrices.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names may contain characters that the terminal's encoding lacks
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    warnings.simplefilter("always", ProtogenWarning)
    try:
        code = cli.main(arguments, prog_name="protogen", standalone_mode=False)
    except click.ClickException as error:
        where = f" (see '{error.ctx.command_path} --help')" if isinstance(error, click.UsageError) and error.ctx else ""
        text = error.format_message()
        _fail([f"{text}{where}"] if isinstance(error, click.UsageError) else text.split("\n"), error.exit_code)
    except click.Abort:
        _fail(["interrupted"], 130)
    except BrokenPipeError:
        drop_output()  # the reader has closed the pipe (`| head`)
        sys.exit(0)
    except (ProtogenError, OSError, MemoryError, RecursionError) as error:
        if debug:
            raise
        _fail(_lines_of(error), 1)
    sys.exit(code if isinstance(code, int) else 0)


def _without_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """Take --debug out of the command line, anywhere before `--`; return what is left, and whether it was there."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    rest = [argument for argument in arguments[:end] if argument != "--debug"]
    return [*rest, *arguments[end:]], len(rest) < end


def _lines_of(error: Exception) -> Sequence[str]:
    if isinstance(error, ProtogenError):
        return error.lines
    if isinstance(error, OSError) and error.errno in _WRITE_ERRORS and error.filename is None:  # files are named
        drop_output()
        return [f"standard output: cannot write: {reason(error)}"]
    return [str(error) or type(error).__name__]


def _fail(lines: Sequence[str], code: int) -> None:
    say(f"Error: {lines[0]}", *lines[1:], err=True)
    sys.exit(code)


def _show_warning(message: Warning | str, category: type[Warning], *unused: Any) -> None:
    if isinstance(message, ProtogenWarning):
        kind = "Note" if isinstance(message, ProtogenNote) else "Warning"
        say(f"{kind}: {message.lines[0]}", *message.lines[1:], err=True)


def _show_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show a traceback as Python does, but printable: of our bugs, or of any error with --debug."""
    from traceback import format_exception

    say(*"".join(format_exception(kind, error, trace)).splitlines(), err=True)


class LazyGroup(click.Group):
    """A group that imports commands on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, in the order of `COMMANDS`."""
        return [*COMMANDS, *(name for name in super().list_commands(ctx) if name not in COMMANDS)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, importing it if it is one of `COMMANDS`."""
        if cmd_name not in self.commands and cmd_name in COMMANDS:
            from importlib import import_module

            self.add_command(getattr(import_module(f".{COMMANDS[cmd_name]}", __name__), cmd_name))
        return super().get_command(ctx, cmd_name)


@click.group(cls=LazyGroup, context_settings=CONTEXT)
@click.version_option(__version__, message="protogen %(version)s")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error; also after the command.")
def cli() -> None:
    """Build, read, check and convert Caffe networks without Caffe.

    \b
    protogen peleenet --size 224 -o peleenet.prototxt
    protogen summary peleenet.prototxt
    protogen convert deploy.prototxt model.caffemodel -o model.onnx
    protogen verify deploy.prototxt --weights model.caffemodel
    protogen run deploy.prototxt model.caffemodel photo.jpg --preprocess-from-data
    """
