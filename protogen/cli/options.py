"""Options and types of options that commands share, and the net they describe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ..net import Net

Decorator = Callable[[Callable[..., None]], Callable[..., None]]


class Size(click.ParamType):
    """224 or 224x320 (height x width)."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """(height, width) in pixels."""
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
        """The numbers."""
        if isinstance(value, tuple):
            return value
        parts = str(value).split(",")
        if not all(part.strip().isdecimal() and len(part) < 7 for part in parts):
            self.fail(f"{value!r} is not a list of whole numbers such as 3,4,8,6")
        return tuple(int(part) for part in parts)


OUTPUT = click.option("-o", "--output", default="-", metavar="FILE", help="File to write; standard output without it.")
INPUT = click.option(
    "--input", "inputs", multiple=True, metavar="NAME=N,C,H,W",
    help="Shape of an input, in place of the file's or where it gives none; repeatable.",
)  # fmt: skip
SEED = click.option("--seed", default=0, show_default=True, help="For random weights and inputs.")
_PHASE = click.option(
    "--phase", type=click.Choice(["test", "train"], case_sensitive=False), default="test", show_default=True,
    help="Which layers are active (include/exclude rules).",
)  # fmt: skip
_LEVEL = click.option("--level", default=0, show_default=True, help="The level that include/exclude rules compare with.")
_STAGE = click.option("--stage", "stages", multiple=True, metavar="NAME", help="A stage that rules ask for; repeatable.")
STRICT = click.option(
    "--strict/--no-strict", default=None,
    help="Refuse fields that the schema does not know, or keep them all; by default what looks misspelt is refused, and fields "
    "that would change a layer's numbers in a way unknown to protogen stop a conversion. --no-strict converts without them.",
)  # fmt: skip
_CROP = click.option(
    "--crop", type=click.Choice(["aligned", "bvlc"], case_sensitive=False), default="aligned", show_default=True,
    help="Where a Crop without crop_param begins: on its bottoms' pixels, as in HED's Caffe, or at 0, as in BVLC's.",
)  # fmt: skip
OPSET = click.option(
    "--opset", type=click.IntRange(11, 21), default=17, show_default=True, help="Version of ONNX's operator set.",
)  # fmt: skip
DYNAMIC_BATCH = click.option("--dynamic-batch", is_flag=True, help="Leave the batch size open.")


@dataclass(frozen=True)
class ReadOptions:
    """How a command should read a prototxt: active layers, input shapes, what of unknown fields and of Crops without offsets."""

    phase: str = "test"
    level: int = 0
    stages: Sequence[str] = ()
    inputs: Sequence[str] = ()
    strict: bool | None = None
    crop: str = "aligned"

    def load(self, prototxt: str, weights: str | None = None) -> Net:
        """The net of a prototxt and, if any, its weights."""
        from ..reading import load

        shapes = {name: _shape(name, text) for name, text in pairs(self.inputs)}
        phase = self.phase.upper()
        options: dict[str, Any] = {"level": self.level, "stages": self.stages, "strict": self.strict, "crop": self.crop}
        return load(prototxt, weights, phase, shapes, **options)


def reads_net(phase: bool = True, inputs: Decorator = INPUT) -> Decorator:
    """Decorator: the options of `ReadOptions`, which the command gets as its parameter `reading`.

    Args:
        phase: whether --phase is among them; without it, it is TEST.
        inputs: the option --input, where it means more than shapes.
    """

    def add(command: Callable[..., None]) -> Callable[..., None]:
        def collected(*args: Any, **given: Any) -> None:
            names = {field.name for field in fields(ReadOptions)}
            reading = ReadOptions(**{name: given.pop(name) for name in names & set(given)})
            command(*args, reading=reading, **given)

        made: Callable[..., None] = wraps(command)(collected)
        options: list[Decorator] = [_CROP, STRICT, inputs, _STAGE, _LEVEL, *([_PHASE] if phase else [])]
        for option in options:
            made = option(made)
        return made

    return add


def pairs(inputs: Sequence[str]) -> list[tuple[str, str]]:
    """NAME=VALUE of each `--input`."""
    found = []
    for given in inputs:
        name, equals, text = given.partition("=")
        if not equals or not name:
            raise usage_error(f"--input takes NAME=N,C,H,W, not {given!r}")
        found.append((name, text))
    return found


def _shape(name: str, text: str) -> tuple[int, ...]:
    parts = text.replace("x", ",").split(",")
    if not all(part.strip().isdecimal() and len(part) < 12 and 0 < int(part) < 2**31 for part in parts):
        raise usage_error(f"--input {name}: {text!r} is not a shape such as 1,3,224,224")
    return tuple(int(part) for part in parts)


def usage_error(message: str) -> click.UsageError:
    """An error about the options given; ends the process with 2."""
    return click.UsageError(message, click.get_current_context())
