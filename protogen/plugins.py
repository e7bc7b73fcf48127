"""Layer types and models from outside: of other installed packages, or in a file that the user names."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

from .errors import ProtogenError, ProtogenWarning

LAYERS, MODELS = "protogen.layers", "protogen.models"  # entry point groups


def load_entry_points(group: str) -> None:
    """Import what installed packages provide under an entry point group; importing it registers it.

    An entry point that fails to import causes a warning; the others are still loaded.
    """
    from importlib.metadata import entry_points

    for entry in entry_points(group=group):
        try:
            entry.load()
        except Exception as error:  # foreign code may fail in any way
            reason = f"{type(error).__name__}: {error}"
            warnings.warn(f"entry point {entry.name!r} of {group} does not load: {reason}", ProtogenWarning, stacklevel=2)


_files: dict[str, None] = {}  # the real paths of the files run so far


def load_file(path: str | Path) -> None:
    """Run a Python file, once per process; what it registers (`@protogen.register`, `@protogen.models.model`) is known then.

    Raises:
        ProtogenError: there is no such file, or it fails; the message has the line.
    """
    from importlib.util import module_from_spec, spec_from_file_location

    full = os.path.realpath(path)
    if full in _files:
        return
    if not os.path.isfile(full):
        raise ProtogenError(f"{os.fspath(path)}: no such file; a plug-in is a Python file that registers layer types or models")
    name = f"plugin_{Path(full).stem}"
    spec = spec_from_file_location(name, full)
    if spec is None or spec.loader is None:
        raise ProtogenError(f"{os.fspath(path)}: a plug-in is a Python file, whose name ends in .py")
    sys.modules[name] = module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # foreign code may fail in any way
        del sys.modules[name]
        if isinstance(error, ProtogenError):
            raise
        raise ProtogenError(f"{_place(error, full)}: the plug-in fails: {type(error).__name__}: {error}") from error
    _files[full] = None


def loaded_files() -> list[str]:
    """Return the files that `load_file` has run: other processes that go on with the work run them, too."""
    return list(_files)


def _place(error: Exception, path: str) -> str:
    """Return file:line of the plug-in's line that failed."""
    from traceback import extract_tb

    line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else None
    lines = [frame.lineno for frame in extract_tb(error.__traceback__) if frame.filename == path]
    return f"{path}:{line or lines[-1]}" if line or lines else path
