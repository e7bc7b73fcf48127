"""Read files and strings into definitions: NetParameter and SolverParameter in today's dialect."""

from __future__ import annotations

import sys
from pathlib import Path

from ..errors import NetError, NotANetError, ParseError, ProtogenError
from .lexer import SourceText, decode, read_text
from .message import Message
from .parser import parse
from .template import template_hint
from .upgrade import upgrade, upgrade_solver

# Top-level fields that only one kind of file has.
_KINDS = {
    "net": {"layer", "layers", "input"},
    "solver": {
        *("base_lr", "lr_policy", "max_iter", "net", "train_net", "test_net"),
        *("net_param", "train_net_param", "test_net_param", "solver_mode", "snapshot_prefix"),
    },
    "label map": {"item"},
    "Caffe2 net": {"op", "external_input", "external_output"},
    "TensorFlow graph": {"node", "versions", "library"},
    "TensorFlow pipeline": {"train_config", "eval_config", "train_input_reader"},
    "ONNX model": {"ir_version", "opset_import"},
}
_INNER_NETS = ("net_param", "test_net_param", "train_net_param")  # fields of a solver that hold a net
_NOT_A_NET = {
    "solver": "this is a solver, not a net; give the prototxt named in its 'net' field",
    "label map": "this is a label map (names of classes), not a net",
    "Caffe2 net": "this is a net of Caffe2, not of Caffe; Caffe2's own exporter, in old releases of PyTorch, writes it as ONNX",
    "TensorFlow graph": "this is a graph of TensorFlow, not a net of Caffe; tf2onnx converts it to ONNX",
    "TensorFlow pipeline": "this configures TensorFlow's Object Detection API; it is not a net of Caffe",
    "ONNX model": "this is an ONNX model as text, not a net of Caffe",
}


def read_source(path: str | Path) -> tuple[str, str]:
    """Return the text of a file ("-": standard input), and its name for messages.

    Raises:
        ProtogenError: the file cannot be read or is not text.
    """
    if str(path) == "-":
        if sys.stdin is None:
            raise ProtogenError("<stdin>: cannot read: standard input is closed")
        return decode(sys.stdin.buffer.read(), "<stdin>"), "<stdin>"
    return read_text(path), str(path)


def check_text(text: object) -> None:
    """Check that what stands for the text of a file is text, and not the file's bytes or its name.

    Raises:
        ProtogenError: it is something else; the message says what to do.

    >>> check_text("base_lr: 0.1")
    """
    if isinstance(text, (bytes, bytearray, memoryview)):
        raise ProtogenError("loads takes text, not bytes: decode them first, or let protogen.load(path) read the file")
    if not isinstance(text, str):
        raise ProtogenError(f"loads takes the text of a file, not {type(text).__name__}; protogen.load(path) reads a file")
    if text.strip().endswith((".prototxt", ".pt", ".txt", ".caffemodel")) and len(text.split()) == 1 and "{" not in text:
        raise ProtogenError(f"loads takes the text of a file, not its name {text!r}: protogen.load({text!r}) reads the file")


def read_definition(text: str, source: str = "<text>", strict: bool | None = None) -> Message:
    """Return the NetParameter of a text, in today's dialect.

    Args:
        text: a prototxt.
        source: name of the text in messages.
        strict: as for `parse`.

    Raises:
        ParseError: as `parse`.
        NotANetError: another kind of file (a solver, a label map), or a template.
        NetError: no layers.
    """
    no_layers = NetError(f"{source}: there are no layers; a prototxt with at least one layer is needed")
    if not text.strip():
        raise NetError(f"{source}: the text is empty; a prototxt with at least one layer is needed")
    error: ProtogenError = no_layers
    try:
        definition = upgrade(parse(text, "NetParameter", source, strict), source)
        if definition.layer:
            return definition
    except ParseError as parse_error:
        error = parse_error
    names = _top_level_names(text)
    if not _holds_net(names):
        raise _explained(error, text, names, source) from None
    definition = upgrade(_net_of_solver(text, source, strict), source)
    if not definition.layer:
        raise no_layers
    return definition


def _explained(error: ProtogenError, text: str, names: set[str], source: str) -> ProtogenError:
    """Return the error to raise for a text that is no net: what it is instead, if that is known."""
    line = text.split("\n")[error.line - 1 : error.line] if isinstance(error, ParseError) else []
    if hint := template_hint("".join(line)):
        return NotANetError(*error.lines, f"{source}: {hint}")
    kind = _kind_with(names)
    return NotANetError(f"{source}: {_NOT_A_NET[kind]}") if kind in _NOT_A_NET else error


def _holds_net(names: set[str]) -> bool:
    """Return whether a text with these top-level fields is a solver that holds its net itself (`net_param`)."""
    return _kind_with(names) == "solver" and not names.isdisjoint(_INNER_NETS)


def _net_of_solver(text: str, source: str, strict: bool | None) -> Message:
    """Return the net of such a solver: the first one, if it has several.

    Raises:
        ParseError: as `parse`.
        NotANetError: a field's value, not a field, has that name.
    """
    solver = parse(text, "SolverParameter", source, strict)
    nets = [solver.get(_INNER_NETS[0]), *solver.get(_INNER_NETS[1], []), solver.get(_INNER_NETS[2])]
    for net in nets:
        if net is not None:
            return net
    raise NotANetError(f"{source}: {_NOT_A_NET['solver']}")


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
        kind = kind_of(text)
        if kind not in ("solver", ""):
            raise ProtogenError(f"{source}: this is a {kind}, not a solver") from None
        raise


def kind_of(text: str) -> str:
    """Return the kind of a Caffe text file by its top-level fields: "net", "solver", "label map", or "" if unknown.

    The text need not be valid, only begin like a prototxt.

    >>> kind_of('base_lr: 0.1  net: "train_val.prototxt"'), kind_of('item { name: "dog" label: 1 }')
    ('solver', 'label map')
    """
    return _kind_with(_top_level_names(text))


def _kind_with(names: set[str]) -> str:
    """Return the kind of a file with these top-level fields, "" if unknown."""
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
