"""Conversion of whole folders, in processes that may crash without harm to the others."""

from .conversion import convert_tree

__all__ = ["convert_tree"]
