"""The command line: parse options, call the API, print. Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import ProtogenError, ProtogenWarning

if TYPE_CHECKING:
    from .net import Net

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and end the process: 0 done, 1 a file or net that is no good, 2 wrong use, 130 interrupted."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    warnings.showwarning = _show_warning
    warnings.simplefilter("always", ProtogenWarning)
    try:
        code = cli.main(arguments, prog_name="protogen", standalone_mode=False)
    except click.ClickException as error:
        where = f" (see '{error.ctx.command_path} --help')" if isinstance(error, click.UsageError) and error.ctx else ""
        _fail(f"{error.format_message()}{where}", error.exit_code)
    except click.Abort:
        _fail("interrupted", 130)
    except BrokenPipeError:
        # The reader has seen enough (`| head`); python must not complain when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (ProtogenError, OSError, MemoryError, RecursionError) as error:
        if "--debug" in arguments:
            raise
        _fail(str(error) or type(error).__name__, 1)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int) -> None:
    click.echo(f"Error: {message}", err=True)
    sys.exit(code)


def _show_warning(message: Warning | str, category: type[Warning], *rest: Any) -> None:
    if issubclass(category, ProtogenWarning):
        click.echo(f"Warning: {message}", err=True)


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="protogen", message="protogen %(version)s")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Build, read, check and convert Caffe networks without Caffe.

    \b
    protogen peleenet --size 224 -o peleenet.prototxt
    protogen summary peleenet.prototxt
    protogen convert deploy.prototxt model.caffemodel -o model.onnx
    protogen verify deploy.prototxt --weights model.caffemodel
    """


class Size(click.ParamType):
    """224 or 224x320 (height x width)."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        parts = str(value).lower().split("x")
        if len(parts) > 2 or not all(part.isdecimal() and len(part) < 7 for part in parts):
            self.fail(f"{value!r} is not a size; give pixels as 224, or height and width as 224x320")
        return int(parts[0]), int(parts[-1])


class Numbers(click.ParamType):
    """Whole numbers separated by commas."""

    name = "N,N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(part.strip().isdecimal() and len(part) < 7 for part in parts):
            self.fail(f"{value!r} is not a list of whole numbers such as 3,4,8,6")
        return tuple(int(part) for part in parts)


# ---- options that commands share

_OUTPUT = click.option("-o", "--output", default="-", metavar="FILE", help="File to write; standard output without it.")
_PHASE = click.option(
    "--phase", type=click.Choice(["test", "train"], case_sensitive=False), default="test", show_default=True,
    help="Which layers are active (include/exclude rules).",
)  # fmt: skip
_INPUT = click.option(
    "--input", "inputs", multiple=True, metavar="NAME=N,C,H,W",
    help="Shape of an input, in place of the file's or where it gives none; repeatable.",
)  # fmt: skip
_STRICT = click.option("--strict", is_flag=True, help="Refuse fields that the schema does not know.")
_SEED = click.option("--seed", default=0, show_default=True, help="For random weights and inputs.")
_OPSET = click.option("--opset", type=click.IntRange(11, 21), default=17, show_default=True, help="Version of ONNX's operator set.")


@cli.command()
@click.option("--size", type=Size(), default="224", show_default=True, help="Image size in pixels, or HxW.")
@click.option("--batch", default=1, show_default=True, help="Images per pass.")
@click.option("--classes", default=1000, show_default=True, help="Outputs of the classifier.")
@click.option("--growth-rate", default=32, show_default=True, help="Channels each dense layer adds.")
@click.option("--blocks", type=Numbers(), default="3,4,8,6", show_default=True, help="Dense layers in each stage.")
@click.option("--bottleneck", type=Numbers(), default="1,2,4,4", show_default=True, help="Width of the 1x1 convolutions of each stage.")
@click.option("--stem", default=32, show_default=True, help="Channels the stem makes.")
@click.option("--transition-pool", type=click.Choice(["max", "ave"], case_sensitive=False), help="Pooling between stages; the preset's by default.")
@click.option("--name", help="Name of the net; the preset's by default.")
@click.option(
    "--preset", type=click.Choice(["genpelee", "official"]), default="genpelee", show_default=True,
    help="genpelee: names a1, b1, ..., MAX transition pooling. official: the authors' file, which their weights fit.",
)  # fmt: skip
@click.option("--phase", type=click.Choice(["test", "train"]), default="test", show_default=True, help="A deploy net, or a train/val net.")
@click.option("--solver", metavar="FILE", help="With --phase train, also write a solver for the net.")
@click.option("--templates", metavar="DIR", help="Folder of prototxt templates that go before the built-in ones.")
@_OUTPUT
def peleenet(size: tuple[int, int], output: str, solver: str | None, templates: str | None, **options: Any) -> None:
    """Write PeleeNet as prototxt.

    \b
    protogen peleenet --size 224 -o peleenet.prototxt
    protogen peleenet --size 304x320 --classes 20 > deploy.prototxt
    protogen peleenet --phase train -o train_val.prototxt --solver solver.prototxt
    """
    from .errors import NetError
    from .models.peleenet import peleenet as build
    from .models.peleenet import peleenet_solver

    options["stem_channels"] = options.pop("stem")
    options["phase"] = options["phase"].upper()
    if solver is not None and (options["phase"] != "TRAIN" or output == "-"):
        raise click.UsageError("--solver goes with --phase train and a file for the net (-o FILE)", click.get_current_context())
    try:
        net = build(size, **options)
    except NetError as error:
        raise click.UsageError(str(error), click.get_current_context()) from error
    _write_text(output, net.to_prototxt(templates))
    if solver is not None:
        from .prototxt.writer import write

        _write_text(solver, write(peleenet_solver(output), templates))


@cli.command()
def models() -> None:
    """List the architectures protogen can build."""
    from .models import models as registered

    for name, model in registered().items():
        click.echo(f"{name:12} {model.summary}\n{'':12} {model.paper}")


@cli.command()
@click.argument("prototxt")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
@_PHASE
@_INPUT
@_STRICT
def summary(prototxt: str, as_json: bool, phase: str, inputs: Sequence[str], strict: bool) -> None:
    """Show the layers of PROTOTXT ("-": standard input) with output shapes, parameters and MACs.

    \b
    protogen summary deploy.prototxt
    protogen summary train_val.prototxt --phase train --input data=32,3,224,224
    """
    net = _load(prototxt, None, phase, inputs, strict)
    result = net.summary()
    if as_json:
        import json

        click.echo(json.dumps(result.as_dict(), indent=2))
        return
    _print_table(result.table())
    click.echo(result.totals)


@cli.command()
@click.argument("prototxt")
@click.argument("weights", required=False)
@click.option("-o", "--output", required=True, metavar="FILE", help="Ends in .onnx, .pt2 (torch.export), .pth (state dict) or .prototxt; - with --to.")
@click.option("--to", "ending", type=click.Choice(["onnx", "pt2", "pth", "prototxt"]), help="The format, whatever FILE ends in.")
@_OPSET
@click.option("--dynamic-batch", is_flag=True, help="Leave the batch size open.")
@click.option("--fold/--no-fold", default=None, help="Fold BatchNorm and Scale into convolutions (default for .onnx and .pt2).")
@_PHASE
@_INPUT
@_STRICT
@_SEED
def convert(
    prototxt: str, weights: str | None, output: str, ending: str | None, opset: int, dynamic_batch: bool, fold: bool | None,
    phase: str, inputs: Sequence[str], strict: bool, seed: int,
) -> None:  # fmt: skip
    """Convert PROTOTXT with the weights of WEIGHTS (.caffemodel) to ONNX, PyTorch or prototxt.

    Without WEIGHTS, the layers' fillers draw random ones.

    \b
    protogen convert deploy.prototxt model.caffemodel -o model.onnx
    protogen convert deploy.prototxt -o model.onnx --dynamic-batch --opset 18
    protogen convert deploy.prototxt model.caffemodel -o model.pth
    """
    from .convert.formats import FORMATS, Options
    from .convert.formats import convert as write

    chosen = f".{ending}" if ending else Path(output).suffix.lower()
    if chosen not in FORMATS:
        raise click.UsageError(f"{output}: no format for the ending {chosen!r}; known: {', '.join(FORMATS)}, or give --to", click.get_current_context())
    with _progress():
        net = _load(prototxt, weights, phase, inputs, strict)
        if net.param_shapes and weights is None and chosen != ".prototxt":
            click.echo("Note: no weights given; random ones from the layers' fillers are used", err=True)
        options = Options(opset, dynamic_batch, fold, seed)
        if output == "-":
            _write_binary(lambda path: write(net, path, options, chosen))
        else:
            write(net, output, options, chosen)


@cli.command()
@click.argument("prototxt")
@click.option("--weights", metavar="FILE", help="A .caffemodel; without it, random weights.")
@click.option("--device", default="cpu", show_default=True, help="Where PyTorch runs: cpu, cuda, cuda:1.")
@click.option(
    "--dtype", type=click.Choice(["float32", "float16", "bfloat16"]), default="float32", show_default=True,
    help="In half precision, PyTorch is compared with PyTorch in float32.",
)  # fmt: skip
@click.option("--tolerance", type=float, help="Largest error, relative to a blob's largest value.  [default: 1e-5 in float32]")
@click.option("--input", "inputs", multiple=True, metavar="NAME=...", help="A shape (data=1,3,224,224) or values (data=x.npy); repeatable.")
@click.option("--all", "show_all", is_flag=True, help="List every blob, not only outputs and those that differ.")
@_OPSET
@_STRICT
@_SEED
def verify(
    prototxt: str, weights: str | None, device: str, dtype: str, tolerance: float | None, inputs: Sequence[str], show_all: bool,
    opset: int, strict: bool, seed: int,
) -> None:  # fmt: skip
    """Run PROTOTXT through PyTorch and ONNX Runtime, and compare every blob.

    Ends with 0 if all agree, with 1 if not, naming the first blob that differs.

    \b
    protogen verify deploy.prototxt --weights model.caffemodel
    protogen verify deploy.prototxt --input data=x.npy --device cuda
    """
    from .verification import verify as run

    values = {name: path for name, path in _pairs(inputs) if path.endswith(".npy")}
    shapes = [f"{name}={text}" for name, text in _pairs(inputs) if name not in values]
    with _progress():
        net = _load(prototxt, weights, "test", shapes, strict)
        arrays = {name: _array(path) for name, path in values.items()}
        report = run(net, device=device, tolerance=tolerance, dtype=dtype, inputs=arrays, seed=seed, opset=opset)
    _print_table(_verify_table(report, set(net.outputs), show_all))
    click.echo(report.verdict)
    if not report.ok:
        sys.exit(1)


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    eval "$(protogen completion bash)"
    protogen completion fish > ~/.config/fish/completions/protogen.fish
    """
    from click.shell_completion import get_completion_class

    script = get_completion_class(shell)
    if script is not None:
        click.echo(script(cli, {}, "protogen", "_PROTOGEN_COMPLETE").source())


# ---- reading and writing


def _load(prototxt: str, weights: str | None, phase: str, inputs: Sequence[str], strict: bool) -> Net:
    from .prototxt.reader import load

    return load(prototxt, weights, phase.upper(), {name: _shape(name, text) for name, text in _pairs(inputs)}, strict=strict)


def _pairs(inputs: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for given in inputs:
        name, equals, text = given.partition("=")
        if not equals or not name:
            raise click.UsageError(f"--input takes NAME=N,C,H,W, not {given!r}", click.get_current_context())
        pairs.append((name, text))
    return pairs


def _shape(name: str, text: str) -> tuple[int, ...]:
    parts = text.replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and 0 < int(part) < 2**31 for part in parts):
        raise click.UsageError(f"--input {name}: {text!r} is not a shape such as 1,3,224,224", click.get_current_context())
    return tuple(int(part) for part in parts)


def _array(path: str) -> Any:
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ProtogenError(f"{path}: not a readable .npy file: {error}") from error


def _write_text(output: str, text: str) -> None:
    if output == "-":
        click.echo(text, nl=False)
        return
    from .files import write_text

    write_text(output, text)


def _write_binary(write: Any) -> None:
    """Send a file that a function writes to standard output."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "converted"
        write(path)
        sys.stdout.buffer.write(path.read_bytes())


# ---- what people see


def _print_table(table: Any) -> None:
    """A rich table: fitted to a terminal, at its natural width into a pipe."""
    from rich.console import Console

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 4096, highlight=False)
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as text:
        console.print(table)
    click.echo("\n".join(line.rstrip() for line in text.get().splitlines()))


def _verify_table(report: Any, outputs: set[str], show_all: bool) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from .report.summary import printable

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for header, justify in (("comparison", "left"), ("blob", "left"), ("shape", "left"), ("max abs", "right"), ("max rel", "right"), ("", "left")):
        table.add_column(header, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    for row in report.rows:
        if show_all or not row.ok or row.blob in outputs:
            shape = "x".join(map(str, row.shape))
            table.add_row(row.comparison, Text(printable(row.blob)), shape, f"{row.max_abs:.2e}", f"{row.max_rel:.2e}", "" if row.ok else "differs")
    return table


@contextmanager
def _progress() -> Iterator[None]:
    """A progress bar on standard error for work that takes longer than a second; none when that is no terminal."""
    if not sys.stderr.isatty():
        yield
        return
    import time

    from .progress import listening

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
