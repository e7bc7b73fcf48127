"""What the numbers of fields and enum values in a binary file mean: BVLC Caffe's meanings, and those of its forks.

The table `proto/numbers.json` lists the numbers to which forks gave different meanings; `proto/numbers.py` compiles it from their
schemas. All others mean what `proto/caffe.json` says.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ..schema import Field, MessageType, message_type, resource

Forks = frozenset[int]
_OWN = 5000  # caffe.proto's own numbers start here: no file has them
# Types of layers whose parameters do not have the type's name.
_OTHER_NAMES = {
    "ctc_decoder_param": ("CTCGreedyDecoder",),
    "writer_param": ("FLOWriter",),
    "bn_param": ("BN",),
    "norm_param": ("Normalize",),
    "recurrent_param": ("LSTM", "RNN"),
}


class Meaning(NamedTuple):
    """One meaning of a number: a field's (or enum value's) name, and the forks in which it has this meaning."""

    name: str
    forks: Forks


@lru_cache(maxsize=1)
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(resource("proto", "numbers.json").read_bytes())
    return table


@lru_cache(maxsize=1)
def all_forks() -> Forks:
    """The forks of the table, as indices."""
    return frozenset(range(len(_table()["forks"])))


@lru_cache(maxsize=1 << 14)
def field_meanings(message: str, number: int) -> Sequence[Meaning]:
    """Return what a field number of a message means: nothing, one thing, or several.

    >>> [meaning.name for meaning in field_meanings("CropParameter", 2)]
    ['offset', 'offset_width']
    """
    disputed = _disputed("fields", message, number)
    if disputed:
        return disputed
    return [Meaning(name, all_forks()) for name, field in message_type(message).fields.items() if field.number == number < _OWN]


@lru_cache(maxsize=1 << 14)
def enum_meanings(field: Field, number: int) -> Sequence[Meaning]:
    """Return what a number means as a value of an enum field."""
    disputed = _disputed("enums", field.type_name or "", number)
    name = field.enum_name(number) if number < _OWN else None
    return disputed or ([] if name is None else [Meaning(name, all_forks())])


def _disputed(table: str, owner: str, number: int) -> list[Meaning]:
    names = _table()[table].get(owner, {}).get(str(number), {})
    return [Meaning(name, frozenset(forks)) for name, forks in names.items()]


def field_of(type: MessageType, meaning: Meaning) -> Field | None:
    """Return the field that a meaning stands for, None if the schema lacks it or has it with another type."""
    return type.fields.get(meaning.name)


def belongs(param: str, layer_type: str) -> bool:
    """Return whether a message of LayerParameter is that of a type's own parameters.

    >>> belongs("prior_box_param", "PriorBox"), belongs("recurrent_param", "LSTM"), belongs("swish_param", "Convolution")
    (True, True, False)
    """
    stem = param.removesuffix("_param").replace("_", "")
    return layer_type.lower().startswith(stem) or layer_type in _OTHER_NAMES.get(param, ())


def described(meanings: Iterable[Meaning]) -> str:
    """Say what a number means in which forks, for a message.

    >>> described(field_meanings("CropParameter", 1))
    'axis in BVLC/caffe and 34 more, offset_height in eldar/deepcut-cnn'
    """
    forks = _table()["forks"]
    parts = []
    for meaning in sorted(meanings, key=lambda meaning: -len(meaning.forks)):
        names = list(dict.fromkeys(forks[i] for i in sorted(meaning.forks)))
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        parts.append(f"{meaning.name} in {names[0]}{more}")
    return ", ".join(parts)
