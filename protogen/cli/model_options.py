"""Commands of models, derived from their functions: an option for each parameter, with help from the docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import click

from ..errors import ProtogenError
from ..models.registry import Model
from .options import OUTPUT, TEMPLATES, Numbers, Size

_SECTION = re.compile(r"(?:Args|Returns|Raises|Yields|Attributes|Notes?|Examples?):$|>>>", re.MULTILINE)
_ENTRY = re.compile(r"(\w+(?:, \w+)*)(?: \(.*?\))?: *(.*)")
_SOLVER = click.option("--solver", metavar="FILE", help="With --phase train, also write a solver for the net to FILE.")
_SUMMARY = click.option(
    "--summary",
    is_flag=True,
    help="Show the layers with shapes, parameters and MACs, as protogen summary does, and write nothing.",
)
_KINDS = "bool, int, float, str, Literal[...], Sequence[int] and int | Sequence[int], each optionally with | None"
_SIMPLE: dict[Any, Any] = {int: click.INT, float: click.FLOAT, str: click.STRING}


class OneOf(click.Choice):
    """One of several Python values, which are lower case on the command line."""

    def __init__(self, values: Iterable[Any]) -> None:
        self.values = {str(value).lower(): value for value in values}
        super().__init__(list(self.values), case_sensitive=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the Python value, for the model's function."""
        return self.values[str(super().convert(str(value), param, ctx))]


def model_command(model: Model, name: str, usage: str, write: Callable[..., None]) -> click.Command:
    """Return the command that builds a model.

    Args:
        model: as registered.
        name: of the command.
        usage: the command in the help's examples, such as "protogen build lenet".
        write: called with the parameters' values by name, and `output`, `templates`, `summary` and `solver`.

    Raises:
        ProtogenError: the signature has a parameter that cannot be an option.
    """
    command = click.Command(name, callback=write, params=list(model_options(model)), help=_help(model, usage))
    command.short_help = model.summary
    reserved = {"output": OUTPUT, "templates": TEMPLATES, "summary": _SUMMARY, **({"solver": _SOLVER} if model.solver else {})}
    for param in command.params:
        if param.name in ("output", "templates", "summary", "solver", "help"):
            raise _refusal(model, param.name, "has the name of an option of every model's command; choose another name")
    for option in reversed(reserved.values()):
        option(command)
    return command


def model_options(model: Model) -> list[click.Option]:
    """Return an option for each parameter of the model's function, in order.

    Raises:
        ProtogenError: a parameter cannot be an option.

    >>> from protogen.models import find
    >>> option = {option.name: option for option in model_options(find("peleenet"))}["stem_channels"]
    >>> option.opts, option.type.name, option.default, option.help
    (['--stem-channels', '--stem'], 'integer', 32, 'Output channels of the stem.')
    """
    texts = argument_texts(model.build.__doc__ or "")
    globals_ = getattr(inspect.unwrap(model.build), "__globals__", {})
    options = []
    for parameter in inspect.signature(model.build).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise _refusal(
                model, parameter.name, "cannot be passed by name, as an option requires (*args, **kwargs and the like)"
            )
        hint = parameter.annotation
        if isinstance(hint, str):
            try:
                hint = eval(hint, globals_)
            except NameError as error:
                raise _refusal(model, parameter.name, f"has an annotation that cannot be evaluated: {error}") from None
        options.append(_option(model, parameter, hint, texts.get(parameter.name, "")))
    return options


def _option(model: Model, parameter: inspect.Parameter, hint: Any, text: str) -> click.Option:
    name = parameter.name
    flag = name.strip("_").replace("_", "-")
    names = [f"--{flag}", *([f"--{model.options[name]}"] if name in model.options else [])]
    settings: dict[str, Any] = {"help": _sentence(text)}
    if parameter.default is inspect.Parameter.empty:
        settings["required"] = True
    elif parameter.default is not None:
        settings.update(default=parameter.default, show_default=True)
    kinds = _alternatives(hint)
    if kinds == [bool]:
        return click.Option([name, f"--{flag}/--no-{flag}"], **settings)
    kind = OneOf(model.choices[name]) if name in model.choices else _type(kinds)
    if kind is None:
        what = "no annotation" if hint is inspect.Parameter.empty else f"the unsupported annotation {_name_of(hint)}"
        raise _refusal(model, name, f"has {what}; supported are {_KINDS}")
    if "default" in settings:
        settings["default"] = _on_command_line(parameter.default, kind)
    return click.Option([name, *names], type=kind, metavar="N|HxW" if isinstance(kind, Size) else None, **settings)


def _alternatives(hint: Any) -> list[Any]:
    """Return the members of a union except None, or any other annotation itself."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return [kind for kind in kinds if kind is not NoneType]


def _type(kinds: list[Any]) -> click.ParamType | None:
    numbers = [kind for kind in kinds if _is_numbers(kind)]
    if len(kinds) == 2 and numbers and int in kinds:
        return Size()
    if len(kinds) != 1:
        return None
    if numbers:
        return Numbers()
    if get_origin(kinds[0]) is Literal:
        return OneOf(get_args(kinds[0]))
    return _SIMPLE.get(kinds[0])


def _is_numbers(hint: Any) -> bool:
    return get_origin(hint) in (Sequence, tuple, list) and set(get_args(hint)) - {Ellipsis} == {int}


def _on_command_line(default: Any, kind: click.ParamType) -> Any:
    """Return a default as it is written on the command line."""
    if isinstance(kind, OneOf):
        return str(default).lower()
    if isinstance(default, (tuple, list)):
        return ("x" if isinstance(kind, Size) else ",").join(map(str, default)) or ()
    return default


def _name_of(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)


def _refusal(model: Model, parameter: str | None, why: str) -> ProtogenError:
    return ProtogenError(f"model {model.name!r}: its parameter {parameter!r} {why}")


# ---- docstrings


def argument_texts(doc: str) -> dict[str, str]:
    """Return the text on each parameter in the `Args:` section of a docstring, as one line each.

    >>> argument_texts('''Builds a net.
    ...
    ...     Args:
    ...         size: of the image,
    ...             in pixels.
    ...         width, depth: of the net.
    ...     ''')
    {'size': 'of the image, in pixels.', 'width': 'of the net.', 'depth': 'of the net.'}
    """
    _, _, tail = f"\n{inspect.cleandoc(doc)}\n".partition("\nArgs:\n")
    section = re.split(r"^(?=\S)", tail, maxsplit=1, flags=re.MULTILINE)[0]
    texts: dict[str, str] = {}
    names: list[str] = []
    for line in inspect.cleandoc("\n" + section).splitlines():
        entry = _ENTRY.match(line)
        if entry:
            names = entry[1].split(", ")
        for name in names:
            texts[name] = entry[2] if entry else f"{texts[name]} {line.strip()}".strip()
    return texts


def _sentence(text: str) -> str:
    """Capitalise a help text unless it begins with a name."""
    first = text.partition(" ")[0]
    return text[:1].upper() + text[1:] if first.isalpha() and first.islower() else text


def _help(model: Model, usage: str) -> str:
    """Return the docstring up to its first section, the paper, and examples."""
    prose = _SECTION.split(inspect.cleandoc(model.build.__doc__ or ""), maxsplit=1)[0].strip()
    examples = [f"{usage} -o {model.name}.prototxt"]
    if model.solver is not None:
        examples.append(f"{usage} --phase train -o train_val.prototxt --solver solver.prototxt")
    return "\n\n".join([prose, model.paper, "\n".join(["\b", *examples])])
