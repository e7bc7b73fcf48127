"""Published architectures by name: one file of this package each, imported when its model is asked for."""

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
        build: makes the net; its signature is the model's command line.
        summary: first line of its docstring.
        paper: where and when it was published.
        year: of the paper.
        solver: makes the SolverParameter for the path of a train/val net; None if the model has none.
        choices: the values that parameters of `build` can have, where their annotations do not say.
        options: further names of options, by parameter.
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

    `protogen build NAME` has an option for each of its parameters: type and default are the signature's, the help is that of the
    docstring's `Args:`. A parameter `phase` says which net is made: "TEST", to deploy, or "TRAIN", a train/val net.

    Args:
        paper: its authors, title and venue.
        year: of the paper.
        solver: a function that makes the SolverParameter for the path of a train/val net, for `--solver`.
        choices: the values that a parameter can have, by parameter; an annotation `Literal["a", "b"]` says so itself.
        options: a second name of an option, by parameter: {"stem_channels": "stem"}.

    Raises:
        ProtogenError: another file has registered the name.
    """

    def add(build: _F) -> _F:
        name, summary = build.__name__, next(iter((build.__doc__ or "").strip().splitlines()), "")
        other = _MODELS.get(name)
        if other is not None and other.build.__module__ != build.__module__:
            raise ProtogenError(f"there is a model {name!r} already, in {other.build.__module__}; {build.__module__} must "
                                "call its own differently")  # fmt: skip
        _MODELS[name] = Model(name, build, summary, f"{paper} {year}", year, solver, choices or {}, options or {})
        return build

    return add


def find(name: str) -> Model:
    """The model of a name; only its own file is imported, unless the model is another's.

    Raises:
        NetError: there is none; the message offers the nearest name.
    """
    if name not in _MODELS and name.isidentifier() and not name.startswith("_"):
        _import(name)
    known = _MODELS if name in _MODELS else models()
    if name not in known:
        raise NetError(f"unknown model {name!r}{did_you_mean(name, known)} (known: {', '.join(known)})")
    return known[name]


def models() -> dict[str, Model]:
    """All models by name, in alphabetical order: this package's, other packages', and those registered by hand."""
    from pkgutil import iter_modules

    for module in iter_modules(import_module(_PACKAGE).__path__):
        _import(module.name)
    load_entry_points(MODELS)
    return dict(sorted(_MODELS.items()))


def _import(name: str) -> None:
    """Import a file of this package, if there is one of that name."""
    try:
        import_module(f"{_PACKAGE}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"{_PACKAGE}.{name}":
            raise
