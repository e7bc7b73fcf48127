"""Types whose name means different forms in different forks, distinguished only by the number of learnable blobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Reading(NamedTuple):
    """One form of a type.

    Attributes:
        words: description of the form.
        text: prototxt that selects the form when written into the layer, "" if there is none.
    """

    words: str
    text: str = ""


def doubt(label: str, readings: Mapping[int, Reading], number: int) -> str:
    """The warning that a layer was taken for the form with this number of blobs, but could be another.

    Args:
        label: the layer's name in messages.
        readings: the forms, by their number of blobs.
        number: the number of blobs of the form assumed.

    >>> doubt("layer 'n'", {0: Reading("A's form", "a_param {}"), 1: Reading("B's", "b_param {}")}, 0)
    "layer 'n': taken for A's form, as neither prototxt nor weights say which; write a_param {} for A's form, b_param {} for B's"
    """
    choices = ", ".join(f"{reading.text} for {reading.words}" for reading in readings.values() if reading.text)
    return f"{label}: taken for {readings[number].words}, as neither prototxt nor weights say which; write {choices}"


def conflict(label: str, readings: Mapping[int, Reading], number: int, held: int) -> str:
    """The error that a layer was taken for one form, but the weights have the number of blobs of another.

    Args:
        label: the layer's name in messages.
        readings: the forms, by their number of blobs.
        number: the number of blobs of the form assumed.
        held: the number of blobs in the weights.
    """
    text = readings[held].text
    remedy = "load net and weights together, protogen.load(prototxt, weights)" + (f", or write {text}" if text else "")
    return (
        f"{label} was taken for {readings[number].words}, with {number} learnable blobs, but these weights have {held}, "
        f"as {readings[held].words}: {remedy}"
    )
