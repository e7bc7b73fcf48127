"""Prototxt templates: texts with words such as `$WIDTH$` in place of values, which a script fills in."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..errors import NetError, did_you_mean

# $WORD$, ${WORD}, $WORD, {{ WORD }}, %(WORD)s; printf's %d and %s have no word.
_MARKS = re.compile(
    r"\$(?P<a>\w+)\$|\$\{(?P<b>\w+)\}|\$(?P<e>[A-Za-z_]\w*)"
    r"|\{\{\s*(?P<c>\w+)\s*\}\}|%\((?P<d>\w+)\)[sdfr]|(?P<nameless>%[dsf]\b)"
)


def placeholders(text: str) -> list[str]:
    """Return the words that a template leaves open, in order; "%d" and the like, which have none, stand for themselves.

    >>> placeholders("dim: $HEIGHT$ dim: ${width} num_output: {{ classes }} pad: %d")
    ['HEIGHT', 'width', 'classes', '%d']
    """
    return list(dict.fromkeys(match.group() if match["nameless"] else _word(match) for match in _MARKS.finditer(text)))


def _word(match: re.Match[str]) -> str:
    return next(filter(None, match.groups()))


def fill(text: str, values: Mapping[str, str]) -> str:
    """Return a template with values in place of its words. Words that are written bare are replaced too, as whole words.

    Args:
        text: the template.
        values: text by word.

    Raises:
        NetError: the template does not have a word.

    >>> fill("dim: $HEIGHT$ num_output: CLASSES", {"HEIGHT": "32", "CLASSES": "10"})
    'dim: 32 num_output: 10'
    """
    marked = placeholders(text)
    for word in values:
        if not has_word(text, word):
            known = f" (its words: {', '.join(marked)})" if marked else ""
            raise NetError(f"the text has no word {word!r} to fill in{did_you_mean(word, marked)}{known}")
    text = _MARKS.sub(lambda match: match.group() if match["nameless"] else values.get(_word(match), match.group()), text)
    bare = "|".join(_bare(word) for word in values if word not in marked)
    return re.sub(bare, lambda match: values[match.group()], text) if bare else text


def has_word(text: str, word: str) -> bool:
    """Return whether `fill` has a place for the word: marked as a template's, or bare.

    >>> has_word("dim: $HEIGHT$", "HEIGHT"), has_word("dim: HEIGHT", "HEIGHT"), has_word("dim: 3", "HEIGHT")
    (True, True, False)
    """
    return word in placeholders(text) or re.search(_bare(word), text) is not None


def _bare(word: str) -> str:
    return rf"\b{re.escape(word)}\b"


def template_hint(text: str) -> str:
    """Return what to do about a text that is a template, "" if it is none.

    >>> template_hint("dim: $HEIGHT$")
    'this is a template: fill in its words with --define HEIGHT=... or define={"HEIGHT": ...}'
    """
    words = placeholders(text)
    if not words:
        return ""
    named = next((word for word in words if word.isidentifier()), "")
    if not named:
        return f"this is a template: a script fills in its {', '.join(words)}"
    return f'this is a template: fill in its words with --define {named}=... or define={{"{named}": ...}}'
