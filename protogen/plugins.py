"""Layer types that other installed packages offer."""

from __future__ import annotations

ENTRY_POINTS = "protogen.layers"  # the group they offer them in


def load_entry_points() -> None:
    """Import what other installed packages offer under the entry point group `protogen.layers`: it registers itself."""
    from importlib.metadata import entry_points

    for entry in entry_points(group=ENTRY_POINTS):
        entry.load()
