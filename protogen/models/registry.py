"""Registry of published architectures, which stand in the modules of this package, imported when a model is first needed.

index.json has for each model its module, and its parameters and multiply-accumulates for one image with default options, which
take seconds to find out for all; `python -m protogen.models` writes it.
"""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..errors import NetError, ProtogenError, did_you_mean
from ..plugins import MODELS, load_entry_points

if TYPE_CHECKING:
    from ..net import Net
    from ..prototxt.message import Message

_T = TypeVar("_T")
_F = TypeVar("_F", bound="Callable[..., Net]")
_PACKAGE = "protogen.models"
INDEX = Path(__file__).with_name("index.json")


@dataclass(frozen=True)
class Model:
    """A registered architecture.

    Attributes:
        name: as the command line calls it.
        build: builds the net; its signature defines the model's command line.
        summary: first line of its docstring.
        paper: authors, title, venue and year.
        year: of the paper.
        solver: returns the SolverParameter for the path of a train/val net; None if the model has none.
        choices: valid values of parameters of `build`, where the annotation does not list them.
        options: alternative names of command line options, by parameter.
    """

    name: str
    build: Callable[..., Net]
    summary: str
    paper: str
    year: int
    solver: Callable[..., Message] | None = None
    choices: Mapping[str, Iterable[Any]] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)


_MODELS: dict[str, Model] = {}


def model(
    *,
    paper: str,
    year: int,
    solver: Callable[..., Message] | None = None,
    choices: Mapping[str, Iterable[Any]] | None = None,
    options: Mapping[str, str] | None = None,
) -> Callable[[_F], _F]:
    """Register a function that builds a published architecture, under its own name.

    `protogen build NAME` has an option for each of its parameters, with type and default from the signature and help from the
    docstring's `Args:`. A parameter `phase` selects the net: "TEST" for a deploy net, "TRAIN" for a train/val net.

    Args:
        paper: its authors, title and venue.
        year: of the paper.
        solver: a function that returns the SolverParameter for the path of a train/val net, for `--solver`.
        choices: valid values by parameter; not needed for annotations such as `Literal["a", "b"]`.
        options: alternative option names by parameter: {"stem_channels": "stem"}.

    Raises:
        ProtogenError: another module has registered the name.
    """

    def add(build: _F) -> _F:
        name, summary = build.__name__, next(iter((build.__doc__ or "").strip().splitlines()), "")
        other = _MODELS.get(name)
        if other is not None and other.build.__module__ != build.__module__:
            raise ProtogenError(f"model {name!r} is already registered by {other.build.__module__}; "
                                f"{build.__module__} must choose another name")  # fmt: skip
        _MODELS[name] = Model(name, build, summary, f"{paper} {year}", year, solver, choices or {}, options or {})
        return build

    return add


def variant(family: _F, name: str, summary: str, /, *, paper: str | None = None, year: int | None = None, **fixed: Any) -> _F:
    """Register a member of a family: the family's function with some of its options fixed, which the member then lacks.

    Args:
        family: a function under `@model`.
        name: of the member.
        summary: what it is, for lists and as the first line of its docstring.
        paper, year: where they differ from the family's.
        fixed: values of keyword-only parameters of the family.

    Returns:
        The member's function.
    """
    parent = _MODELS[family.__name__]
    signature = inspect.signature(family)

    @functools.wraps(family)
    def build(*args: Any, **options: Any) -> Net:
        taken = [option for option in options if option in fixed]
        if taken:
            raise TypeError(f"{name}() has no argument {taken[0]!r}; {family.__name__}() has it")
        return family(*args, **options, **fixed)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"{summary}\n\n{_arguments(family.__doc__ or '')}"
    build.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[each for each in signature.parameters.values() if each.name not in fixed]
    )
    choices = {option: values for option, values in parent.choices.items() if option not in fixed}
    add = model(
        paper=paper or parent.paper.removesuffix(f" {parent.year}"), year=year or parent.year, solver=parent.solver,
        choices=choices, options=parent.options,
    )  # fmt: skip
    return cast(_F, add(build))


def chosen(value: str, known: Mapping[str, _T], what: str = "preset") -> _T:
    """Return what a name stands for.

    Args:
        value: an option's value.
        known: what there is, by name.
        what: the option.

    Raises:
        NetError: an unknown name; the message suggests the nearest one.
    """
    if value not in known:
        raise NetError(f"unknown {what} {value!r}{did_you_mean(value, known)} (known: {', '.join(known)})")
    return known[value]


def _arguments(doc: str) -> str:
    """Return a docstring from `Args:` up to its examples."""
    _, args, rest = inspect.cleandoc(doc).partition("Args:\n")
    return (args + rest.partition(">>>")[0]).rstrip() + "\n"


def find(name: str) -> Model:
    """Return the model called `name`; only its own module is imported, unless another package provides it.

    Raises:
        NetError: no such model; the message suggests the nearest name.
    """
    if name not in _MODELS and name in _index():
        _import(_index()[name]["module"])
    candidates = _MODELS if name in _MODELS else models()
    if name not in candidates:
        raise NetError(f"unknown model {name!r}{did_you_mean(name, candidates)} (`protogen models` lists all)")
    return candidates[name]


def models() -> dict[str, Model]:
    """Return all models by name, in alphabetical order: those of this package, of other packages, and registered by hand."""
    from pkgutil import iter_modules

    for module in iter_modules(import_module(_PACKAGE).__path__):
        if module.name != "__main__":
            _import(module.name)
    load_entry_points(MODELS)
    return dict(sorted(_MODELS.items()))


def cost(model: Model) -> tuple[int, int]:
    """Return a model's parameters and multiply-accumulates for one image, with default options otherwise."""
    entry = _index().get(model.name)
    if entry is not None and model.build.__module__ == f"{_PACKAGE}.{entry['module']}":
        return entry["parameters"], entry["macs"]
    return _cost_of(model)


def _cost_of(model: Model) -> tuple[int, int]:
    net = model.build(**({"batch": 1} if "batch" in inspect.signature(model.build).parameters else {}))
    return net.param_count, net.macs


@functools.lru_cache(maxsize=1)
def _index() -> dict[str, dict[str, Any]]:
    index: dict[str, dict[str, Any]] = json.loads(INDEX.read_bytes()) if INDEX.exists() else {}
    return index


def index_of_models() -> dict[str, dict[str, Any]]:
    """Return the up-to-date content of index.json."""
    models()
    index = {}
    for name, entry in sorted(_MODELS.items()):
        package, _, module = entry.build.__module__.rpartition(".")
        if package == _PACKAGE:
            parameters, macs = _cost_of(entry)
            index[name] = {"module": module, "parameters": parameters, "macs": macs}
    return index


def _import(name: str) -> None:
    import_module(f"{_PACKAGE}.{name}")
