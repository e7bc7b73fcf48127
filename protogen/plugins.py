"""Layer types and models that other installed packages offer."""

from __future__ import annotations

import warnings

from .errors import ProtogenWarning

LAYERS, MODELS = "protogen.layers", "protogen.models"  # the entry point groups they offer them in


def load_entry_points(group: str) -> None:
    """Import what other installed packages offer under an entry point group: it registers itself.

    A warning names one that cannot be imported; the others are there all the same.
    """
    from importlib.metadata import entry_points

    for entry in entry_points(group=group):
        try:
            entry.load()
        except Exception as error:  # another's code may fail in any way
            reason = f"{type(error).__name__}: {error}"
            warnings.warn(f"entry point {entry.name!r} of {group} does not load: {reason}", ProtogenWarning, stacklevel=2)
