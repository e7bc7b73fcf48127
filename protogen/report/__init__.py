"""What people look at: the summary table of a net."""

from .summary import Summary, summarise

__all__ = ["Summary", "summarise"]
