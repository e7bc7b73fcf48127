"""Forms that one type name stands for in different forks, where only the number of learnable blobs tells them apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Reading(NamedTuple):
    """One form of a type.

    Attributes:
        words: what it is.
        text: what to write into the layer to choose it, "" if nothing does.
    """

    words: str
    text: str = ""


def doubt(label: str, readings: Mapping[int, Reading], number: int) -> str:
    """In words: a layer was taken for the form with this number of blobs, but could be another.

    >>> doubt("layer 'n'", {0: Reading("A's form", "a_param {}"), 1: Reading("B's", "b_param {}")}, 0)
    "layer 'n': taken for A's form, as neither text nor weights tell; write a_param {} for A's form, b_param {} for B's"
    """
    choices = ", ".join(f"{reading.text} for {reading.words}" for reading in readings.values() if reading.text)
    return f"{label}: taken for {readings[number].words}, as neither text nor weights tell; write {choices}"


def conflict(label: str, readings: Mapping[int, Reading], number: int, held: int) -> str:
    """In words: a layer was taken for the form with `number` blobs, but weights have `held`, which another form has."""
    text = readings[held].text
    remedy = "load net and weights together, protogen.load(prototxt, weights)" + (f", or write {text}" if text else "")
    return (
        f"{label} was taken for {readings[number].words}, with {number} learnable blobs, but these weights have {held}, "
        f"as {readings[held].words}: {remedy}"
    )
