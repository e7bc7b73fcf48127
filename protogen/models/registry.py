"""Registry of published architectures; each is a module of this package, imported when its model is first needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import NetError, ProtogenError, did_you_mean
from ..plugins import MODELS, load_entry_points

if TYPE_CHECKING:
    from ..net import Net
    from ..prototxt.message import Message

_F = TypeVar("_F", bound="Callable[..., Net]")
_PACKAGE = __name__.rpartition(".")[0]


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


def find(name: str) -> Model:
    """Return the model called `name`; only its own module is imported, unless another package provides it.

    Raises:
        NetError: no such model; the message suggests the nearest name.
    """
    if name not in _MODELS and name.isidentifier() and not name.startswith("_"):
        _import(name)
    known = _MODELS if name in _MODELS else models()
    if name not in known:
        raise NetError(f"unknown model {name!r}{did_you_mean(name, known)} (known: {', '.join(known)})")
    return known[name]


def models() -> dict[str, Model]:
    """Return all models by name, in alphabetical order: those of this package, of other packages, and registered by hand."""
    from pkgutil import iter_modules

    for module in iter_modules(import_module(_PACKAGE).__path__):
        _import(module.name)
    load_entry_points(MODELS)
    return dict(sorted(_MODELS.items()))


def _import(name: str) -> None:
    """Import a module of this package, if there is one of that name."""
    try:
        import_module(f"{_PACKAGE}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"{_PACKAGE}.{name}":
            raise
