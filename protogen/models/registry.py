"""Published architectures by name: one file of this package each, found by importing it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ..net import Net

_F = TypeVar("_F", bound=Callable[..., Net])


@dataclass(frozen=True)
class Model:
    """A registered architecture.

    Attributes:
        name: as the command line calls it.
        build: makes the net.
        summary: first line of its docstring.
        paper: where it was published.
    """

    name: str
    build: Callable[..., Net]
    summary: str
    paper: str


_MODELS: dict[str, Model] = {}


def model(paper: str) -> Callable[[_F], _F]:
    """Register a function that builds a published architecture, under its own name."""

    def add(build: _F) -> _F:
        summary = (build.__doc__ or "").strip().splitlines()[0]
        _MODELS[build.__name__] = Model(build.__name__, build, summary, paper)
        return build

    return add


def models() -> dict[str, Model]:
    """All registered models by name, in alphabetical order."""
    package = __package__ or "protogen.models"
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")
    return dict(sorted(_MODELS.items()))
