"""Published architectures, one file each: `protogen.models.peleenet(size=224)`; `models()` lists them.

`protogen.models.NAME` is the function NAME of the module NAME, and `NAME_solver` the solver it declares.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ..errors import NetError
from .registry import Model, find, model, models

if TYPE_CHECKING:
    from .lenet import lenet, lenet_solver
    from .peleenet import peleenet, peleenet_solver

__all__ = ["Model", "find", "lenet", "lenet_solver", "model", "models", "peleenet", "peleenet_solver"]


class _Package(ModuleType):
    """This package, in which a model's name is its function, even after the module of the same name was imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, getattr(value, name, value) if isinstance(value, ModuleType) else value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        stem = name.removesuffix("_solver")
        try:
            entry = find(stem)
        except NetError as error:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}: {error}") from None
        value = entry.build if stem == name else entry.solver
        if value is not None:
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *models()})
