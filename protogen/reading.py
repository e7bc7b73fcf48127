"""Files to `Net`: the first of the doors that users come through."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from .net import Net
from .prototxt.reader import read_definition, read_source


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
    content = None
    if weights is not None:
        from .weights.content import read_content

        content = read_content(weights)
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
