"""Tell a misspelt field from one that only a fork has."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..schema import MessageType, fork_fields

_OPTIONAL_TAIL = re.compile(r"[0-9]+D?|_[a-z0-9]{1,2}")


def misspelt(name: str, type: MessageType) -> str | None:
    """Return the field of a message that `name` is a misspelling of, or None if `name` may be a fork's own field.

    >>> from protogen.schema import message_type
    >>> layer = message_type("LayerParameter")
    >>> misspelt("convolutoin_param", layer), misspelt("cpm_transform_param", layer)
    ('convolution_param', None)
    """
    return None if name in fork_fields(type.name) else misspelling(name, type.fields)


def misspelling(name: str, known: Iterable[str], most: int = 2) -> str | None:
    """Return the known name that differs from `name` in `most` letters or fewer: in one, if it has up to five letters.

    The ending `_param` does not count as letters of the name. Names that differ only in digits or a short ending (`kernel_d`,
    `CONVOLUTION3D`), or in both of their first letters (`Resample`, `Upsample`), are derived from a known name on purpose.

    >>> misspelling("Convolutoin", ["Convolution"]), misspelling("Resample", ["Reshape"]), misspelling("kernel_d", ["kernel_h"])
    ('Convolution', None, None)
    """
    stem = name.removesuffix("_param")
    limit = 1 if len(stem) < 6 else most
    ending = name[len(stem) :]
    near = [(distance(name.lower(), other.lower(), limit), other) for other in known if other.endswith(ending)]
    best = min((pair for pair in near if pair[0] <= limit), default=None)
    if best is None or _OPTIONAL_TAIL.sub("", name) == _OPTIONAL_TAIL.sub("", best[1]) or _other_prefix(name, best[1]):
        return None
    return best[1]


def _other_prefix(a: str, b: str) -> bool:
    return a[2:].lower() == b[2:].lower() and not set(a[:2].lower()) & set(b[:2].lower())


def distance(a: str, b: str, limit: int) -> int:
    """Return how many letters to insert, drop, replace or swap with the next turn `a` into `b`, or `limit` + 1 if more do.

    This is the restricted Damerau-Levenshtein distance.

    >>> distance("kernal", "kernel", 2), distance("paramter", "parameter", 2), distance("abcd", "dcba", 2)
    (1, 1, 3)
    """
    if abs(len(a) - len(b)) > limit:
        return limit + 1
    older: list[int] = []
    above: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
        older, above, row = above, row, [i + 1]
        for j, y in enumerate(b):
            best = min(above[j] + (x != y), above[j + 1] + 1, row[j] + 1)
            if i and j and x == b[j - 1] and a[i - 1] == y:
                best = min(best, older[j - 1] + 1)
            row.append(best)
        if min(row) > limit:
            return limit + 1
    return min(row[-1], limit + 1)
