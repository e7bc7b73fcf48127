"""Reports for people: summaries, differences of nets, support of layer types."""

from .summary import Summary, summarise

__all__ = ["Summary", "summarise"]
