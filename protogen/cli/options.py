"""Options and option types shared by commands."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import wraps
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from ..rules import DEFAULT, RULES, ReadingRules
from ..targets.onnx.opsets import DEFAULT_OPSET, OPSETS
from .output import say
from .plugin import PLUGIN

if TYPE_CHECKING:
    from ..net import Net
    from ..reading import NetFiles

Decorator = Callable[[Callable[..., None]], Callable[..., None]]


class Size(click.ParamType):
    """A size such as 224 or 224x320 (height x width)."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Return (height, width) in pixels."""
        if isinstance(value, tuple):
            return value
        parts = str(value).lower().split("x")
        if len(parts) > 2 or not all(part.isdecimal() and len(part) < 7 for part in parts):
            self.fail(f"{value!r} is not a size such as 224, or 224x320 (height x width)")
        return int(parts[0]), int(parts[-1])


def finite(text: str) -> float:
    """Return the number in a text such as 0.017 or 1/255.

    Raises:
        ValueError: it is not a number, or not finite.
    """
    numerator, slash, denominator = text.partition("/")
    number = float(numerator)
    if slash:
        divisor = float(denominator)
        number = number / divisor if divisor else math.inf
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not a finite number")
    return number


class Tolerance(click.ParamType):
    """A finite number of at least 0."""

    name = "X"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        try:
            number = finite(str(value))
        except ValueError:
            number = -1.0
        if number < 0:
            self.fail(f"{value!r} is not a tolerance such as 1e-5: a finite number of at least 0")
        return number


class FiniteRange(click.FloatRange):
    """As click's FloatRange, which lets NaN and infinity through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number")
        return number


class Numbers(click.ParamType):
    """Whole numbers, separated by commas."""

    name = "N,N,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Return the numbers."""
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(part.strip().isdecimal() and len(part) < 7 for part in parts):
            self.fail(f"{value!r} is not a list of whole numbers such as 3,4,8,6")
        return tuple(int(part) for part in parts)


OUTPUT = click.option("-o", "--output", default="-", metavar="FILE", help="File to write; standard output by default.")
INPUT = click.option(
    "--input", "inputs", multiple=True, metavar="NAME=N,C,H,W",
    help="Shape of an input, overriding or supplying that of the file; repeatable.",
)  # fmt: skip
SEED = click.option("--seed", default=0, show_default=True, help="Seed of random weights and inputs.")
_PHASE = click.option(
    "--phase", type=click.Choice(["test", "train"], case_sensitive=False),
    help="Phase that selects layers by their include/exclude rules.  [default: test, or train for a file with nothing else]",
)  # fmt: skip
_LEVEL = click.option("--level", default=0, show_default=True, help="Level for include/exclude rules.")
_STAGE = click.option("--stage", "stages", multiple=True, metavar="NAME", help="Stage for include/exclude rules; repeatable.")
STRICT = click.option(
    "--strict/--no-strict", default=None,
    help="Refuse all fields that the schema lacks, or none; by default those that look misspelt are refused. Conversion refuses "
    "fields that affect a layer's numbers and that protogen does not compute; with --no-strict it ignores them.",
)  # fmt: skip
_RULES: list[Decorator] = [
    click.option(
        "--" + name.replace("_", "-"), type=click.Choice(values, case_sensitive=False), default=values[0], show_default=True,
        help=help_text,
    )
    for name, (values, help_text) in reversed(RULES.items())
]  # fmt: skip
_DEFINE = click.option(
    "--define", multiple=True, metavar="WORD=VALUE", help="Fill in a word of a template, such as $WORD$; repeatable.",
)  # fmt: skip
_OUTPUTS = click.option(
    "--outputs", multiple=True, metavar="BLOB,...", help="Blobs to stop at: they become the outputs, and the rest is cut off.",
)  # fmt: skip
TEMPLATES = click.option(
    "--templates", metavar="DIR", help="Folder of prototxt templates that take precedence over the built-in ones."
)
FORCE = click.option("--force", is_flag=True, help="Overwrite the files that are read.")


OPSET = click.option(
    "--opset", type=click.IntRange(OPSETS[0], OPSETS[-1]), default=DEFAULT_OPSET, show_default=True,
    help="Version of the ONNX operator set.",
)  # fmt: skip
DYNAMIC_BATCH = click.option("--dynamic-batch", is_flag=True, help="Make the batch size dynamic.")


@dataclass(frozen=True)
class ReadOptions:
    """Options for reading a prototxt: state for phase rules, inputs and outputs, treatment of unknown fields, and rules."""

    phase: str | None = None
    level: int = 0
    stages: Sequence[str] = ()
    inputs: Sequence[str] = ()
    strict: bool | None = None
    outputs: Sequence[str] = ()
    define: Sequence[str] = ()
    rules: ReadingRules = DEFAULT

    @property
    def output_names(self) -> list[str]:
        """Names of the blobs of --outputs."""
        return [name for text in self.outputs for name in text.split(",")]

    @property
    def concerns_layers(self) -> bool:
        """Whether an option says how to set up the net's layers, rather than how to read its text."""
        return replace(self, strict=None, define=()) != ReadOptions()

    def settings(self) -> dict[str, Any]:
        """Return the keyword arguments of `protogen.load` that these options stand for."""
        define = {"define": self.words} if self.define else {}
        return {**self._for_net, **define, **asdict(self.rules)}

    @property
    def words(self) -> dict[str, str]:
        """Text by word of --define.

        Raises:
            UsageError: a value is not of the form WORD=VALUE.
        """
        return dict(pairs(self.define, "--define takes WORD=VALUE"))

    @property
    def _for_net(self) -> dict[str, Any]:
        """Keyword arguments about the net, however it is read."""
        inputs = {name: _shape(name, text) for name, text in pairs(self.inputs)}
        outputs = {"outputs": self.output_names} if self.outputs else {}
        phase = self.phase and self.phase.upper()
        return {"phase": phase, "level": self.level, "stages": self.stages, "strict": self.strict, "inputs": inputs, **outputs}

    def load(self, prototxt: str, weights: str | None = None, lenient: bool = False, optional: bool = False) -> Net:
        """Read the net of a prototxt and, if given, its weights.

        Args:
            prototxt, weights: the files.
            lenient: accept layers that cannot be set up, as `protogen.load` does.
            optional: load no weights where shapes of the net are unknown.

        Raises:
            ProtogenError: as `protogen.load`.
        """
        return self.net_of(files_of(prototxt, weights), lenient, optional)

    def net_of(self, files: NetFiles, lenient: bool = False, optional: bool = False) -> Net:
        """Read the net of files that are told apart already; otherwise as `load`."""
        from ..reading import net_of

        settings = self._for_net
        definition, source = files.read(self.strict, self.words)
        return net_of(definition, files.weights, source=source, rules=self.rules, lenient=lenient, optional=optional, **settings)


def files_of(prototxt: str, weights: str | None = None) -> NetFiles:
    """Return a net's files; a note says where they came the other way round."""
    from ..reading import NetFiles

    files = NetFiles.of(prototxt, weights)
    if files.swapped:
        say(f"Note: {weights} is the net and {prototxt} its weights; read in this order", err=True)
    return files


def reads_net(inputs: Decorator = INPUT) -> Decorator:
    """Return a decorator that adds the options of `ReadOptions`, passed to the command as its parameter `reading`.

    Args:
        inputs: the option --input, for commands that accept more than shapes.
    """

    def add(command: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any, **values: Any) -> None:
            names = {field.name for field in fields(ReadOptions)}
            rules = ReadingRules(**{name: values.pop(name) for name in RULES})
            reading = ReadOptions(**{name: values.pop(name) for name in names & set(values)}, rules=rules)
            command(*args, reading=reading, **values)

        decorated: Callable[..., None] = wraps(command)(call)
        options: list[Decorator] = [PLUGIN, _DEFINE, *_RULES, STRICT, _OUTPUTS, inputs, _STAGE, _LEVEL, _PHASE]
        for option in options:
            decorated = option(decorated)
        return decorated

    return add


def pairs(items: Sequence[str], usage: str = "--input takes NAME=N,C,H,W") -> list[tuple[str, str]]:
    """Split each value NAME=VALUE of a repeatable option.

    Args:
        items: the values.
        usage: what the option takes, for the message.

    Raises:
        UsageError: a value is not of this form.
    """
    result = []
    for item in items:
        name, equals, text = item.partition("=")
        if not equals or not name:
            raise usage_error(f"{usage}, not {item!r}")
        result.append((name, text))
    return result


def _shape(name: str, text: str) -> tuple[int, ...]:
    parts = text.replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and len(part) < 12 and 0 < int(part) < 2**31 for part in parts):
        raise usage_error(f"--input {name}: {text!r} is not a shape such as 1,3,224,224")
    return tuple(int(part) for part in parts)


def usage_error(message: str) -> click.UsageError:
    """Return an error about the command line, which exits with status 2."""
    return click.UsageError(message, click.get_current_context())


def refuse_overwriting(targets: Sequence[str], sources: Sequence[str | None], force: bool) -> None:
    """Refuse to write over a file that is read, unless that is wanted.

    Args:
        targets: files to write.
        sources: files that are read, None where there is none.
        force: whether --force is given.

    Raises:
        UsageError: names the file.
    """
    for target in targets:
        for source in filter(None, sources):
            if not force and os.path.isfile(target) and os.path.isfile(source) and os.path.samefile(target, source):
                raise usage_error(f"{target} would overwrite the input {source}; choose another output file, or give --force")


def output_needed(prototxt: str, weights: str | None, ending: str) -> click.UsageError:
    """Return an error for a command without -o FILE, which suggests a name.

    Args:
        prototxt, weights: the files that are read.
        ending: of the file to write, with what distinguishes it from its source.
    """
    source = prototxt if prototxt != "-" else weights or "net"
    stem = os.path.splitext(os.path.basename(os.path.abspath(source)))[0] or "net"
    return usage_error(f"say which file to write with -o, such as -o {quote(stem + ending)}")
