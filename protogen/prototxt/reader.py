"""Read files and strings into definitions: NetParameter and SolverParameter in today's dialect."""

from __future__ import annotations

import sys
from pathlib import Path

from ..errors import NetError, ParseError, ProtogenError
from .lexer import SourceText, decode, read_text
from .message import Message
from .parser import parse
from .upgrade import upgrade, upgrade_solver

# Top-level fields that only one kind of file has.
_KINDS = {
    "net": {"layer", "layers", "input"},
    "solver": {"base_lr", "lr_policy", "max_iter", "net", "train_net", "test_net", "solver_mode", "snapshot_prefix"},
    "label map": {"item"},
}
_NOT_A_NET = {
    "solver": "this is a solver, not a net; give the prototxt named in its 'net' field",
    "label map": "this is a label map (names of classes), not a net",
}


def read_source(path: str | Path) -> tuple[str, str]:
    """Return the text of a file ("-": standard input), and its name for messages.

    Raises:
        ProtogenError: the file cannot be read or is not text.
    """
    if str(path) == "-":
        return decode(sys.stdin.buffer.read(), "<stdin>"), "<stdin>"
    return read_text(path), str(path)


def read_definition(text: str, source: str = "<text>", strict: bool | None = None) -> Message:
    """Return the NetParameter of a text, in today's dialect.

    Args:
        text: a prototxt.
        source: name of the text in messages.
        strict: as for `parse`.

    Raises:
        ParseError: as `parse`.
        NetError: no layers, or another kind of file (a solver, a label map).
    """
    if not text.strip():
        raise NetError(f"{source}: the text is empty; a prototxt with at least one layer is needed")
    try:
        definition = parse(text, "NetParameter", source, strict)
    except ParseError:
        if kind_of(text) in _NOT_A_NET:
            raise NetError(f"{source}: {_NOT_A_NET[kind_of(text)]}") from None
        raise
    definition = upgrade(definition, source)
    if not definition.layer:
        raise NetError(f"{source}: there are no layers; a prototxt with at least one layer is needed")
    return definition


def read_solver(text: str, source: str = "<text>", strict: bool | None = None) -> Message:
    """Return the SolverParameter of a text, in today's dialect.

    Args:
        text: a prototxt.
        source: name of the text in messages.
        strict: as for `parse`.

    Raises:
        ProtogenError: bad syntax, or another kind of file.

    >>> read_solver("base_lr: 0.1 solver_type: ADAM").type
    'Adam'
    """
    try:
        return upgrade_solver(parse(text, "SolverParameter", source, strict), source)
    except ParseError:
        if kind_of(text) not in ("solver", ""):
            raise ProtogenError(f"{source}: this is a {kind_of(text)}, not a solver") from None
        raise


def kind_of(text: str) -> str:
    """Return the kind of a Caffe text file by its top-level fields: "net", "solver", "label map", or "" if unknown.

    The text need not be valid, only begin like a prototxt.

    >>> kind_of('base_lr: 0.1  net: "train_val.prototxt"'), kind_of('item { name: "dog" label: 1 }')
    ('solver', 'label map')
    """
    names = _top_level_names(text)
    return next((kind for kind, fields in _KINDS.items() if names & fields), "")


def _top_level_names(text: str) -> set[str]:
    names, depth = set(), 0
    try:
        for kind, token, _ in SourceText(text, "").tokens():
            if kind == "word" and depth == 0:
                names.add(token)
            elif kind == "punct":
                depth += (token in "{<") - (token in "}>")
    except ParseError:
        pass  # the names before it may suffice
    return names
