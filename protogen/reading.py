"""`load` and `loads`: prototxt and weights to a `Net`."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import LayerError, NetError, NotANetError, ProtogenError, ProtogenWarning
from .graph.same_names import check_cut_names
from .net import Net
from .prototxt.cut import cut_definition
from .prototxt.lexer import is_binary
from .prototxt.message import Message
from .prototxt.phase import State
from .prototxt.reader import check_text, read_definition, read_source
from .prototxt.template import fill
from .rules import DEFAULT, ReadingRules

if TYPE_CHECKING:
    from .weights.content import Content

_HEAD = 1 << 20


def load(
    path: str | Path,
    weights: str | Path | None = None,
    phase: str | None = "TEST",
    inputs: Mapping[str, Sequence[int]] | None = None,
    *,
    level: int = 0,
    stages: Iterable[str] = (),
    strict: bool | None = None,
    outputs: Sequence[str] | None = None,
    lenient: bool = False,
    define: Mapping[str, str] | None = None,
    **rules: str,
) -> Net:
    """Read a net from a prototxt file ("-": standard input), with the weights of a second file if one is given.

    A `.caffemodel` alone is enough: it holds the definition of the net that it was saved from, and its weights.

    Args:
        path: the prototxt, in any dialect and encoding; or a `.caffemodel`, recognised by its content.
        weights: a `.caffemodel`, a `.caffemodel.h5`, or a state dict (`.pth`, `.safetensors`) of the net's PyTorch form or,
            matched by order and shape, of torchvision's and timm's models; "-" reads one from standard input. Layers missing from
            it keep the weights of the prototxt itself (`blobs`), if any. Where forks use one type name for different layers
            (Normalize, BN), the number of blobs in this file determines which is meant. By default those in `path`, if it is a
            `.caffemodel`.
        phase: "TEST" or "TRAIN"; with `level` and `stages`, selects layers by their include/exclude rules. None: TEST or, for a
            file that is a net in phase TRAIN only, TRAIN, with a warning.
        inputs: input shapes by blob name, such as {"data": (1, 3, 224, 224)}. A blob that a layer computes becomes an input, and
            the layers that only lead to it are cut off.
        level, stages: the rest of Caffe's NetState; see `Net`.
        strict: True rejects fields that the schema lacks; False keeps them, with a warning. By default those inside a layer are
            kept, unless they look misspelt. Converting refuses layers with a field, in the schema or not, that affects their
            numbers and that protogen does not compute; only False converts them as if the field were absent.
        outputs: blobs that become the outputs; the layers that none of them depends on are cut off.
        define: text by word, to fill in a template: {"WIDTH": "224"} for `$WIDTH$`, `${WIDTH}`, `{{WIDTH}}` or a bare WIDTH.
        lenient: accept layers whose parameters or bottoms Caffe would reject, for a summary; shapes and forms then raise.
        rules: how to read what the file leaves open: `crop="aligned"` or "bvlc", `pooling="caffe"`, "floor" or "same",
            `same_names="caffe"` or "shared", `priors="ssd"` or "textboxes"; see `ReadingRules`.

    Raises:
        ParseError: the text is not a prototxt; the message has file:line:column.
        NetError, LayerError: the layers do not fit together.
        WeightsError: the weights are damaged or do not fit.
        ProtogenError: the two files are swapped.
    """
    reading_rules = ReadingRules.of(rules)
    files = NetFiles.of(path, weights)
    if files.swapped:
        raise ProtogenError(f"the files are swapped: the net comes first, load({str(weights)!r}, {str(path)!r})")
    definition, source = files.read(strict, define)
    return net_of(
        definition, files.weights, phase, inputs=inputs, level=level, stages=stages, strict=strict, source=source,
        rules=reading_rules, outputs=outputs, lenient=lenient,
    )  # fmt: skip


def loads(
    text: str,
    weights: str | Path | None = None,
    phase: str | None = "TEST",
    inputs: Mapping[str, Sequence[int]] | None = None,
    *,
    level: int = 0,
    stages: Iterable[str] = (),
    strict: bool | None = None,
    source: str = "<text>",
    outputs: Sequence[str] | None = None,
    lenient: bool = False,
    define: Mapping[str, str] | None = None,
    **rules: str,
) -> Net:
    """Read a net from a string.

    Args:
        text: the prototxt, in any dialect.
        weights, phase, inputs, level, stages, strict, outputs, lenient, define, rules: as for `load`.
        source: name of the text in messages.

    Raises:
        ProtogenError: as for `load`.

    >>> net = loads('layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }')
    >>> net.shapes
    {'x': (1, 2)}
    """
    reading_rules = ReadingRules.of(rules)
    check_text(text)
    definition = read_definition(fill(text, define) if define else text, source, strict)
    return net_of(
        definition, weights, phase, inputs=inputs, level=level, stages=stages, strict=strict, source=source, rules=reading_rules,
        outputs=outputs, lenient=lenient,
    )  # fmt: skip


@dataclass(frozen=True)
class NetFiles:
    """The files of a net, told apart by their content.

    Attributes:
        definition: the prototxt, or a `.caffemodel`, which holds a definition, too.
        weights: the file with the weights: the `.caffemodel` itself if it is the only file; None if there is none.
        is_binary: whether `definition` is a `.caffemodel`.
        swapped: whether the files came the other way round: weights first.
    """

    definition: str | Path
    weights: str | Path | None
    is_binary: bool
    swapped: bool = False

    @classmethod
    def of(cls, path: str | Path, weights: str | Path | None = None) -> NetFiles:
        """Look at the first bytes of one or two files, of which the definition should come first."""
        if str(path) == str(weights) == "-":
            raise ProtogenError("standard input (-) can be the net or its weights, not both")
        binary = is_caffemodel(path)
        if weights is None:
            return cls(path, path if binary else None, binary)
        if binary and os.path.isfile(weights) and os.path.getsize(weights) > 0 and not is_caffemodel(weights):
            return cls(weights, path, False, swapped=True)
        return cls(path, weights, binary)

    def read(self, strict: bool | None = None, define: Mapping[str, str] | None = None) -> tuple[Message, str]:
        """Return the NetParameter, in today's dialect, and the file's name for messages.

        Args:
            strict, define: as for `load`.

        Raises:
            ProtogenError: as for `load`.
        """
        if self.is_binary:
            from .weights import definition

            return definition.read(self.definition), str(self.definition)
        text, source = read_source(self.definition)
        return read_definition(fill(text, define) if define else text, source, strict), source


def is_caffemodel(path: str | Path) -> bool:
    """Return whether a file is binary, which for a net means a `.caffemodel`; standard input is taken for text."""
    if str(path) == "-" or not os.path.isfile(path):
        return False
    try:
        with open(path, "rb") as file:
            return is_binary(file.read(_HEAD))
    except OSError:
        return False


def net_of(
    definition: Message,
    weights: str | Path | None = None,
    phase: str | None = "TEST",
    **options: Any,
) -> Net:
    """Return the net of a definition.

    Args:
        definition: a NetParameter in today's dialect.
        weights, phase: as for `load`.
        options: `inputs`, `level`, `stages`, `strict`, `outputs`, `lenient`, as for `load`; `source`, the name of its file in
            messages; `rules`, how to read what the definition leaves open; `optional`, to load no weights, rather than raise,
            where shapes of the net are unknown.

    Raises:
        ProtogenError: as for `load`.
    """

    content = None
    if weights is not None:
        from .weights.content import read_content

        content = read_content(weights)

    def read(phase: str) -> Net:
        return _net_of(definition, content, phase, **options)

    return read(phase) if phase is not None else _in_either_phase(read)


def _net_of(
    definition: Message, content: Content | None, phase: str, *, inputs: Mapping[str, Sequence[int]] | None = None,
    level: int = 0, stages: Iterable[str] = (), strict: bool | None = None, source: str = "", rules: ReadingRules = DEFAULT,
    outputs: Sequence[str] | None = None, lenient: bool = False, optional: bool = False,
) -> Net:  # fmt: skip
    state = State.of(definition, phase, level, stages)
    whole = definition
    definition, inputs = cut_definition(whole, state, inputs or {}, outputs)
    counts = {} if content is None else content.blob_counts([layer.get("name", "") for layer in definition.layer])
    net = Net(
        definition, phase=phase, inputs=inputs, level=level, stages=stages, source=source, strict=strict,
        blob_counts=counts, rules=rules, outputs=outputs, lenient=lenient,
    )  # fmt: skip
    if content is not None and (net.analysis.complete or not optional):
        if definition is not whole:
            check_cut_names(net.analysis.learnable.keys(), whole, state)
        if not any(op.blobs for op in net.analysis.known_ops):
            net.require_shapes()
        net.weights.load(content)
    elif net.analysis.complete and any("blobs" in layer.message for layer in net.layers):
        _ = net.weights  # checks the blobs
    return net


def _in_either_phase(read: Callable[[str], Net]) -> Net:
    """Return the net in phase TEST or, if only that works, in TRAIN, with a warning."""
    try:
        net = read("TEST")
    except (NotANetError, LayerError):  # a mistake, which another phase would only hide
        raise
    except NetError as error:
        try:
            net = read("TRAIN")
        except ProtogenError:
            raise error from None
    else:
        if any(layer.bottoms for layer in net.layers):
            return net
        other = net.at("TRAIN", weights=False)
        if not any(layer.bottoms for layer in other.layers):
            return net
        net = read("TRAIN")
    warnings.warn("this file is a net in phase TRAIN only, and read as such (--phase train)", ProtogenWarning, stacklevel=3)
    return net
