"""Digests of files that others published and that are not in ../shared/corpus: `python -m tests.models.digests FILE ...`.

Two nets have one digest if `published.layers` says the same of both: order, types, names, blobs and parameters of all layers.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import protogen
from protogen.prototxt.lexer import read_text
from protogen.prototxt.message import Message
from protogen.prototxt.parser import parse
from protogen.prototxt.reader import read_definition
from tests.models.published import layers

LEFT_OUT = ("Input", "DenseImageData", "Softmax", "SoftmaxWithLoss", "Accuracy")  # the ends of a net, where phases differ


def digest(definition: Message, trains: bool = False) -> str:
    """Digest of a definition without its ends; of a train/val net, learning rates count, too."""
    lines = [line for line in layers(definition, trains) if line[1] not in LEFT_OUT]
    return hashlib.sha256(repr([_plain(line) for line in lines]).encode()).hexdigest()[:16]


def digest_of(net: protogen.Net) -> str:
    """The same of a net."""
    return digest(parse(net.to_prototxt()), net.phase == "TRAIN")


def _plain(value: object) -> object:
    """Parameters in alphabetical order, without a dilation of 1, which is the default."""
    if isinstance(value, dict):
        return {name: _plain(value[name]) for name in sorted(value) if (name, value[name]) != ("dilation", [1])}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


if __name__ == "__main__":
    for path in sys.argv[1:]:
        definition = read_definition(read_text(Path(path)), path, False)
        print(digest(definition), "as a deploy net,", digest(definition, trains=True), "as a train/val net:", path)
