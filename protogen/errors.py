"""The one family of exceptions that protogen raises for a user's mistake, and how text from files is put into words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def printable(text: str, encoding: str = "utf-8") -> str:
    r"""Text that came from a file, fit to be shown: on one line, and without anything that drives a terminal.

    Letters of any script stay. Control characters (line breaks too), marks that turn the direction of writing, halves of
    characters, and what `encoding` has no character for become escapes, as in a Python string.

    >>> print(printable("名前\x1b[31m\n\u202e"), printable("né", "ascii"))
    名前\x1b[31m\n\u202e n\xe9
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return text if encoding == "utf-8" else text.encode(encoding, "backslashreplace").decode(encoding)


class _Shown(Exception):  # noqa: N818 - of errors and warnings
    """What people get to read: each argument is a line of it, and made `printable`, whatever names it quotes."""

    def __init__(self, *lines: object) -> None:
        super().__init__(*(printable(str(line)) for line in lines))

    @property
    def lines(self) -> tuple[str, ...]:
        """The text, line by line."""
        return self.args

    def __str__(self) -> str:
        return "\n".join(self.args)


class ProtogenError(_Shown):
    """Base of every error a user can cause: its text says where, what is wrong, and what to do.

    Text of several lines is given line by line, for a line break within one may come from a file: it is escaped.

    >>> try:
    ...     raise ParseError("unknown field 'kernal_size'", "net.prototxt", 7, 5)
    ... except ProtogenError as error:
    ...     print(error)
    net.prototxt:7:5: unknown field 'kernal_size'
    """


class ParseError(ProtogenError):
    """Text that is not a prototxt, or that the schema does not allow; knows file, line and column (from 1)."""

    def __init__(self, message: str, source: str = "<text>", line: int = 1, column: int = 1) -> None:
        self.message, self.source, self.line, self.column = message, source, line, column
        super().__init__(f"{source}:{line}:{column}: {message}")

    def __reduce__(self) -> tuple:
        return type(self), (self.message, self.source, self.line, self.column)


class NetError(ProtogenError):
    """A net whose layers do not fit together: unknown bottoms, names used twice, missing input shapes."""


class LayerError(NetError):
    """A layer whose parameters or bottoms Caffe would refuse; the message starts with the layer's name."""


class ConversionError(ProtogenError):
    """A net that is sound but has no form in the wanted target."""


class WeightsError(ProtogenError):
    """A weights file that is damaged, or weights that do not fit the net."""


class MissingWeightsError(WeightsError, KeyError):
    """A layer that a net lacks, or that has no weights; a KeyError too, so that a mapping's `get` gives its default."""


class ProtogenWarning(_Shown, UserWarning):
    """Something odd in a file that was read anyway."""


def install_hint(extra: str) -> str:
    """How to install what one of the extras in pyproject.toml brings.

    >>> install_hint("opencv")
    "pip install '.[opencv]' in a checkout of protogen"
    """
    return f"pip install '.[{extra}]' in a checkout of protogen"


def nearest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name most like `name`, or None when nothing is near.

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
    """`"; did you mean 'X'?"` for the nearest known name, or nothing.

    >>> did_you_mean("kernal_size", ["kernel_size", "pad"])
    "; did you mean 'kernel_size'?"
    """
    match = nearest(name, known)
    return f"; did you mean {match!r}?" if match else ""


def some(names: Sequence[str], limit: int = 5) -> str:
    """The first few of a list of names, quoted, and how many more there are.

    >>> some(["conv1", "conv2", "fc"], limit=2)
    "'conv1', 'conv2' and 1 more"
    """
    shown = ", ".join(map(repr, names[:limit]))
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")


def excerpt(text: str, limit: int = 60) -> str:
    """`repr` of text that was read, cut to `limit` characters, fit for one line of an error message.

    >>> excerpt("a" * 100, 10)
    "'aaaaaaaaaa…'"
    """
    return repr(text if len(text) <= limit else text[:limit] + "…")
