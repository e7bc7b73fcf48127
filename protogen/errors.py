"""Exceptions and warnings about a user's input, and helpers that quote text from files in their messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def printable(text: str, encoding: str = "utf-8") -> str:
    r"""Make text from a file safe to print: on one line, and without control sequences for the terminal.

    Letters of any script stay. Control characters (including line breaks), bidirectional marks, lone surrogates and
    characters that `encoding` lacks become escapes, as in a Python string.

    >>> print(printable("名前\x1b[31m\n\u202e"), printable("né", "ascii"))
    名前\x1b[31m\n\u202e n\xe9
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return text if encoding == "utf-8" else text.encode(encoding, "backslashreplace").decode(encoding)


class _Printable(Exception):  # noqa: N818 - base of errors and warnings
    """A message for people: each argument is one line, made `printable` because it may quote names from files."""

    def __init__(self, *lines: object) -> None:
        super().__init__(*(printable(str(line)) for line in lines))

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of the message."""
        return self.args

    def __str__(self) -> str:
        return "\n".join(self.args)


class ProtogenError(_Printable):
    """Base class of the errors that a user can cause; the message says where, what is wrong, and what to do.

    Pass each line of a longer message as an argument: a line break within one may come from a file and is escaped.

    >>> try:
    ...     raise ParseError("unknown field 'kernal_size'", "net.prototxt", 7, 5)
    ... except ProtogenError as error:
    ...     print(error)
    net.prototxt:7:5: unknown field 'kernal_size'
    """


class ParseError(ProtogenError):
    """Text that is not a prototxt, or that the schema does not allow; has the file, line and column (from 1)."""

    def __init__(self, message: str, source: str = "<text>", line: int = 1, column: int = 1) -> None:
        self.message, self.source, self.line, self.column = message, source, line, column
        super().__init__(f"{source}:{line}:{column}: {message}")

    def __reduce__(self) -> tuple:
        return type(self), (self.message, self.source, self.line, self.column)


class NetError(ProtogenError):
    """A net whose layers do not fit together: unknown bottoms, duplicate names, missing input shapes."""


class NotANetError(NetError):
    """Text of another kind than a net: a solver, a label map, a template whose words are not filled in, ..."""


class LayerError(NetError):
    """A layer with parameters or bottoms that Caffe would reject; the message starts with the layer's name."""


class ConversionError(ProtogenError):
    """A valid net that the target format cannot express."""


class WeightsError(ProtogenError):
    """A damaged weights file, or weights that do not fit the net."""


class MissingWeightsError(WeightsError, KeyError):
    """A layer that the net lacks or that has no weights; also a KeyError, so that `Mapping.get` returns its default."""


class ProtogenWarning(_Printable, UserWarning):
    """Something questionable in input that protogen accepts anyway."""


class ProtogenNote(ProtogenWarning):
    """Something worth knowing about input that is as it should be, such as what a converted net leaves to others."""


def install_hint(extra: str) -> str:
    """Return the command that installs one of the extras in pyproject.toml.

    >>> install_hint("opencv")
    "pip install '.[opencv]' in a checkout of protogen"
    """
    return f"pip install '.[{extra}]' in a checkout of protogen"


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the known name most similar to `name`, or None if none is close.

    Args:
        name: a name that may be misspelt.
        known: the valid names.
        cutoff: similarity required, from 0 to 1, as `difflib.get_close_matches` measures it.

    >>> nearest("Convolutoin", ["Concat", "Convolution"])
    'Convolution'
    """
    names = list(known)
    lowered = {n.lower(): n for n in names}
    if name.lower() in lowered:
        return lowered[name.lower()]
    # Slow to import, and needed only when something is wrong.
    import difflib

    match = difflib.get_close_matches(name, names, n=1, cutoff=cutoff)
    return match[0] if match else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `"; did you mean 'X'?"` for the nearest known name, or "" if none is close.

    >>> did_you_mean("kernal_size", ["kernel_size", "pad"])
    "; did you mean 'kernel_size'?"
    """
    match = nearest(name, known)
    return f"; did you mean {match!r}?" if match else ""


def some(names: Sequence[str], limit: int = 5) -> str:
    """Quote the first few names of a list, and say how many more there are.

    >>> some(["conv1", "conv2", "fc"], limit=2)
    "'conv1', 'conv2' and 1 more"
    """
    shown = ", ".join(map(repr, names[:limit]))
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")


def excerpt(text: str, limit: int = 60) -> str:
    """Return the `repr` of text from a file, cut to `limit` characters, for a one-line error message.

    >>> excerpt("a" * 100, 10)
    "'aaaaaaaaaa…'"
    """
    return repr(text if len(text) <= limit else text[:limit] + "…")
