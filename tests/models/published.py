"""Nets against files that others published: message for message, but for differences that do not change what a net computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import protogen
from protogen.prototxt.lexer import read_text
from protogen.prototxt.message import Message
from protogen.prototxt.parser import parse
from protogen.prototxt.reader import read_definition
from tests.corpus import CORPUS

Line = tuple[Any, ...]


def assert_published(
    net: protogen.Net,
    path: str,
    *,
    names: Callable[[Line], Line] = lambda line: line,
    trains: bool = False,
    scores: bool = False,
) -> None:
    """The net has the layers of a published file: same order, types, names, blobs and parameters.

    Differences that all nets have: the net's own name, the order and names of what stands before the first and after the last
    layer with weights in a train/val net, fields that hold Caffe's default, and what only training reads (fillers and, in deploy
    nets, `param`; `use_global_stats: true`, which phase TEST implies; `engine`).

    Args:
        net: ours.
        path: in the collection.
        names: a stated difference: makes of a layer of the file what we call it.
        scores: a stated difference: the file ends with the scores, before Softmax.
        trains: both are train/val nets; data, losses and accuracies are left to the tests of the model.
    """
    ours = [line for line in layers(parse(net.to_prototxt()), trains) if not (scores and line[1] == "Softmax")]
    theirs = [names(line) for line in layers(read_definition(read_text(CORPUS / path), path), trains)]
    for mine, other in zip(ours, theirs):
        assert mine == other, f"ours {mine}, theirs {other}"
    assert len(ours) == len(theirs)


def layers(definition: Message, trains: bool) -> Iterator[Line]:
    """Each layer as (name, type, bottoms, tops, parameters)."""
    for layer in definition.layer:
        if not (trains and layer.type in ("Data", "SoftmaxWithLoss", "Accuracy", "Softmax")):
            rest = stated(layer.without("name", "type", "bottom", "top", *(() if trains else ("param",))), layer.type)
            # What an Input layer is called, nobody reads.
            yield ("" if layer.type == "Input" else layer.name), layer.type, tuple(layer.bottom), tuple(layer.top), rest


def stated(message: Message, kind: str = "") -> dict[str, Any]:
    """What a message says beyond Caffe's defaults, with `kernel_h` and the like in place of one number for both sides."""
    fields: dict[str, Any] = {}
    for name, value in message.fields():
        if name.endswith("filler") or name in ("engine", "use_global_stats") or (kind == "BatchNorm" and name == "param"):
            continue
        if isinstance(value, Message):
            value = stated(value)
        elif isinstance(value, list):
            value = [stated(item) if isinstance(item, Message) else item for item in value]
        fields[name] = value
    for name, default in (("pad", 0), ("stride", 1), ("kernel_size", None)):
        both = fields.pop(name, None)
        side = name.removesuffix("_size")
        if both not in (None, []):
            both = both[0] if isinstance(both, list) else both
            fields.setdefault(f"{side}_h", both)
            fields.setdefault(f"{side}_w", both)
        for each in (f"{side}_h", f"{side}_w"):
            if fields.get(each) == default:
                fields.pop(each, None)
    return {name: value for name, value in fields.items() if value not in ({}, [], default_of(message, name))}


def default_of(message: Message, name: str) -> Any:
    field = message.descriptor.fields.get(name) if message.descriptor else None
    return field.default if field is not None and not field.repeated and field.kind != "message" else None
