"""Texts of older dialects to today's."""

from __future__ import annotations

from protogen.prototxt.message import Message
from protogen.prototxt.parser import parse
from protogen.prototxt.upgrade import upgrade


def upgraded(text: str) -> Message:
    return upgrade(parse(text, source="net.prototxt"), "net.prototxt")
