"""The registry of layer types: the class that computes each type, whether built in, a Python layer or a user's.

A net uses only a handful of types, and importing only their files halves the start-up time of the command line. index.json maps
each type to its file; `python -m protogen.layers.registry` writes it. It is only an optimisation: all files are searched for a
type that it lacks.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from ..errors import ProtogenError, ProtogenWarning
from ..prototxt.layer import Layer
from ..prototxt.slips import misspelling
from ..schema import declare
from .base import LayerType
from .own_types import is_built_in
from .source import UnknownSource

INDEX = Path(__file__).with_name("index.json")
_PACKAGE = "protogen.layers"
_BUILT_IN: dict[str, type[LayerType]] = {}
_ADDED: dict[str, type[LayerType]] = {}  # users' types, which take precedence
_C = TypeVar("_C", bound=type[LayerType])


def register(*types: str, override: bool = False) -> Callable[[_C], _C]:
    """Class decorator: register a `LayerType` as the class that computes these Caffe types.

    If the class has `param_name` and `param_fields`, LayerParameter gets a field for the type's own parameters.

    Args:
        types: the types' names in Caffe.
        override: whether to replace one of protogen's types without a warning.

    Raises:
        ProtogenError: two built-in classes claim the same type; there is no name, or a value that is none.

    >>> @register("Twice")
    ... class Twice(LayerType):
    ...     def setup(self):
    ...         self.tops = list(self.bottoms)
    ...     def forward(self, x, *, blobs, training):
    ...         return 2 * x
    >>> layer_type("Twice") is Twice
    True
    >>> unregister("Twice")
    """

    wrong = next((name for name in types if not isinstance(name, str) or not name), None)
    if not types or wrong is not None:
        example = wrong.__name__ if isinstance(wrong, type) else "MyType"
        what = f"not {wrong!r}" if types else "and there is none"
        raise ProtogenError(f'register takes the names of layer types, {what}: write @register("{example}") above the class')

    def add(cls: _C) -> _C:
        if cls.param_name is not None and cls.param_fields is not None:
            declare(cls.param_name, cls.param_fields)
        for name in types:
            _add(name, cls, override)
        return cls

    return add


def _add(name: str, cls: type[LayerType], override: bool) -> None:
    if is_built_in(cls):
        before = _BUILT_IN.get(name)
        if before is not None and before.__qualname__ != cls.__qualname__:
            raise ProtogenError(f"layer type {name!r} is registered twice: by {before.__name__} and by {cls.__name__}")
        _BUILT_IN[name] = cls
        return
    if not override and name in _index():
        warnings.warn(
            f"layer type {name!r} is built in, and {cls.__name__} now replaces it; pass override=True if that is intended",
            ProtogenWarning,
            stacklevel=4,
        )
    _ADDED[name] = cls


def unregister(*types: str) -> None:
    """Undo `register` for these types; protogen's own types stay."""
    for name in types:
        _ADDED.pop(name, None)
        if name not in _index():  # registered from a file of this package, but not one of its types: a doctest's
            _BUILT_IN.pop(name, None)


def layer_type(name: str) -> type[LayerType] | None:
    """The class that computes a Caffe layer type; None if there is none."""
    if name not in _ADDED and name not in _BUILT_IN:
        family = _index().get(name)
        if family is not None:
            importlib.import_module(f"{_PACKAGE}.{family}")
        if name not in _BUILT_IN:
            load_families()
    return _ADDED.get(name) or _BUILT_IN.get(name)


def class_for(layer: Layer) -> type[LayerType] | None:
    """The class that computes a layer: the one that the class of its full type selects for it (`LayerType.select`).

    A layer of an unknown type without bottoms is a data layer of some fork: `UnknownSource`. Forks' names for them are often
    close to known ones (ImageGtData, ImageData), so that only a single slip is taken for a misspelling.
    """
    layer_class = layer_type(layer.full_type)
    if layer_class is None and layer.type == "Python":
        layer_class = layer_type("Python")  # for Python layers without a class of their own
    if layer_class is not None:
        return layer_class.select(layer)
    is_source = bool(layer.tops) and not layer.bottoms and misspelling(layer.type, layer_types(), most=1) is None
    return UnknownSource if is_source else None


def layer_types() -> dict[str, type[LayerType]]:
    """All registered types by name, in alphabetical order."""
    load_families()
    return dict(sorted({**_BUILT_IN, **_ADDED}.items(), key=lambda item: item[0].lower()))


def unknown_type_hint(name: str) -> str:
    """Return a hint such as `"; did you mean 'X'?"` for an unknown type, "" if no type is a letter or two off."""
    match = None if " (" in name else misspelling(name, layer_types())
    return f"; did you mean {match!r}?" if match else ""


@lru_cache(maxsize=1)
def _index() -> dict[str, str]:
    """The module, relative to this package, that defines each built-in type."""
    index: dict[str, str] = json.loads(INDEX.read_bytes()) if INDEX.exists() else {}
    return index


def _modules(package: str = _PACKAGE) -> Iterator[str]:
    """Modules of the package and of its subpackages."""
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, package + "."):
        if module.ispkg:
            yield from _modules(module.name)
        else:
            yield module.name


@lru_cache(maxsize=1)
def load_families() -> None:
    """Import every file of this package."""
    for module in _modules():
        if ".forms." not in module:
            importlib.import_module(module)


def built_in_modules() -> dict[str, str]:
    """The up-to-date content of index.json: the module of each built-in type."""
    load_families()
    return {name: cls.__module__.removeprefix(_PACKAGE + ".") for name, cls in sorted(_BUILT_IN.items())}


if __name__ == "__main__":
    # Imported under its real name: as __main__ this file has a separate table, which no family fills.
    from protogen.layers.registry import INDEX, built_in_modules

    INDEX.write_text(json.dumps(built_in_modules(), indent=0) + "\n", encoding="utf-8")
