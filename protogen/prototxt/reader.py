"""Prototxt files and strings to `Net`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import NetError, ParseError, ProtogenError
from ..net import Net
from .lexer import Source, decode, read_text
from .message import Message
from .parser import parse
from .upgrade import upgrade, upgrade_solver

if TYPE_CHECKING:
    from ..weights.content import Content

# Top-level fields that only one kind of file has.
_KINDS = {
    "net": {"layer", "layers", "input"},
    "solver": {"base_lr", "lr_policy", "max_iter", "net", "train_net", "test_net", "solver_mode", "snapshot_prefix"},
    "label map": {"item"},
}
_NOT_A_NET = {
    "solver": "this is a solver, not a net; give the prototxt its 'net' field names",
    "label map": "this is a label map (names of classes), not a net",
}


def load(
    path: str | Path,
    weights: str | Path | None = None,
    phase: str = "TEST",
    inputs: Mapping[str, Sequence[int]] | None = None,
    *,
    level: int = 0,
    stages: Iterable[str] = (),
    strict: bool | None = None,
    crop: str = "aligned",
) -> Net:
    """Read a net from a prototxt file ("-": standard input), and its weights if a file of them is given.

    Args:
        path: the prototxt, in any dialect and encoding.
        weights: a `.caffemodel`, a `.caffemodel.h5`, or a state dict (`.pth`, `.safetensors`) of the net's PyTorch form. Layers
            that it lacks keep the weights that the prototxt itself may hold, in `blobs`. Where one type name stands for layers of
            several forks (Normalize, BN), its number of blobs tells which is meant.
        phase: "TEST" or "TRAIN"; with `level` and `stages`, selects layers by their include/exclude rules.
        inputs: shapes of inputs by blob name: {"data": (1, 3, 224, 224)}.
        strict: refuse fields the schema lacks (True), or warn of them and keep them (False). By default those inside a layer are
            kept, except what looks like a misspelt field. Converting refuses layers with fields that would change their numbers
            and that protogen does not compute, known to the schema or not; only False converts as if these were not there.
        crop: where a Crop layer without `crop_param` begins: "aligned" on its bottoms' pixels, or "bvlc" at 0; see `Net`.

    Raises:
        ParseError: the text is not a prototxt; the message has file:line:column.
        NetError, LayerError: the layers do not fit together.
        WeightsError: the weights are damaged or do not fit.
    """
    text, source = read_source(path)
    return loads(text, weights, phase, inputs, level=level, stages=stages, strict=strict, source=source, crop=crop)


def read_source(path: str | Path) -> tuple[str, str]:
    """Text of a file ("-": standard input), and its name for messages.

    Raises:
        ProtogenError: it cannot be read.
    """
    if str(path) == "-":
        return decode(sys.stdin.buffer.read(), "<stdin>"), "<stdin>"
    return read_text(path), str(path)


def loads(
    text: str,
    weights: str | Path | None = None,
    phase: str = "TEST",
    inputs: Mapping[str, Sequence[int]] | None = None,
    *,
    level: int = 0,
    stages: Iterable[str] = (),
    strict: bool | None = None,
    source: str = "<text>",
    crop: str = "aligned",
) -> Net:
    """Read a net from a string; arguments and errors as for `load`, `source` names the text in messages.

    >>> net = loads('layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }')
    >>> net.shapes
    {'x': (1, 2)}
    """
    definition = read_definition(text, source, strict)
    content = None if weights is None else _content(weights)
    counts = {} if content is None else content.blob_counts([layer.get("name", "") for layer in definition.layer])
    net = Net(
        definition, phase=phase, inputs=inputs, level=level, stages=stages, source=source, strict=strict,
        blob_counts=counts, crop=crop,
    )  # fmt: skip
    if content is not None:
        net.weights.load(content)
    elif net.analysis.complete and any("blobs" in layer.message for layer in net.layers):
        _ = net.weights  # they are checked here
    return net


def _content(weights: str | Path) -> Content:
    from ..weights.content import read_content

    return read_content(weights)


def read_definition(text: str, source: str = "<text>", strict: bool | None = None) -> Message:
    """The NetParameter of a text, in today's dialect.

    Raises:
        ParseError: bad syntax.
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
        raise NetError(f"{source}: no layers in it; a prototxt with at least one layer is needed")
    return definition


def read_solver(text: str, source: str = "<text>", strict: bool | None = None) -> Message:
    """The SolverParameter of a text, in today's dialect.

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
    """What a Caffe text file holds, by its top-level fields: "net", "solver", "label map", or "" if nothing tells.

    The text need not be sound, only start as a prototxt does.

    >>> kind_of('base_lr: 0.1  net: "train_val.prototxt"'), kind_of('item { name: "dog" label: 1 }')
    ('solver', 'label map')
    """
    names = _top_level_names(text)
    return next((kind for kind, fields in _KINDS.items() if names & fields), "")


def _top_level_names(text: str) -> set[str]:
    names, depth = set(), 0
    try:
        for kind, token, _ in Source(text, "").tokens():
            if kind == "word" and depth == 0:
                names.add(token)
            elif kind == "punct":
                depth += (token in "{<") - (token in "}>")
    except ParseError:
        pass  # what came before it may tell
    return names
