"""Layer types and models provided by other installed packages."""

from __future__ import annotations

import warnings

from .errors import ProtogenWarning

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
