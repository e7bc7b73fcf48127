"""Compile `numbers.json`: what the field and enum numbers of binary files mean in the forks of Caffe, where these do not agree.

`caffe.json` gives each name one number, but forks have given one number to different fields. The definition in a caffemodel has
numbers only; `protogen.weights.definition` reads those that this table leaves one meaning. The table holds, for each message (or
enum) of `caffe.proto` and each number in it, the names that the forks' own schemas give it, and which forks:

    {"forks": [...], "fields": {"LayerParameter": {"147": {"swish_param": [0, 7], "reorg_param": [3]}}}, "enums": {...}}

Numbers on which all forks agree with BVLC (or, in messages that BVLC lacks, with each other) and with `caffe.json` are left out.
Give the schemas of all forks at once, BVLC's first:

    python proto/numbers.py BVLC/caffe=PATH/caffe.proto weiliu89/caffe=PATH/caffe.proto ...

Converters' schemas (X2Paddle's, MNN's, ncnn's) count as forks', as they say what files there are. Only names and numbers are taken. Needs the package `grpcio-tools`.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
from build import HERE, KINDS, TABLE, compile_schema

NUMBERS = HERE / "numbers.json"
OWN = 5000  # `caffe.proto` numbers a field itself from here, where a fork's number is taken
# Kinds whose values are read alike. Fields of one name whose kinds differ otherwise have different meanings.
_ALIKE = {"int32": "integer", "uint32": "integer", "int64": "integer", "uint64": "integer", "double": "float", "bytes": "string"}
Meanings = dict[str, dict[int, dict[str, set[int]]]]


class Table:
    """The meanings of numbers in the forks read so far."""

    def __init__(self) -> None:
        table = json.loads(TABLE.read_bytes())
        self.messages, self.enums = table["messages"], table["enums"]
        self.forks: list[str] = []
        self.fields: Meanings = defaultdict(lambda: defaultdict(lambda: defaultdict(set)))
        self.values: Meanings = defaultdict(lambda: defaultdict(lambda: defaultdict(set)))

    def add(self, fork: str, path: Path) -> None:
        """Add the schema of a fork."""
        self.forks.append(fork)
        seen: set[tuple[str, str]] = set()
        pending = [("NetParameter", _messages(path)["NetParameter"])]
        while pending:
            name, message = pending.pop()
            if (name, message.full_name) in seen:
                continue
            seen.add((name, message.full_name))
            for field in message.fields:
                pending += self._add_field(name, field)

    def _add_field(self, message: str, field: Any) -> list[tuple[str, Any]]:
        """Add a field of a fork; return the messages to go on with, in `caffe.proto` and in the fork."""
        kind = KINDS[field.type]
        entry = self.messages[message].get(field.name)
        alike = entry is None or _ALIKE.get(kind, kind) == _ALIKE.get(entry[1], entry[1])
        # A field that has another type in the fork is one that protogen cannot read, only name.
        self.fields[message][field.number][field.name if alike else f"{field.name} ({kind})"].add(len(self.forks) - 1)
        if entry is None or not alike:
            return []
        if kind == "enum":
            for value in field.enum_type.values:
                self.values[entry[4]][value.number][value.name].add(len(self.forks) - 1)
        return [(entry[4], field.message_type)] if kind == "message" else []

    def content(self) -> bytes:
        """The table as JSON, one message a line."""
        known = {name: {key: entry[0] for key, entry in fields.items()} for name, fields in self.messages.items()}
        parts = [_lines("fields", self.fields, known), _lines("enums", self.values, self.enums)]
        return f'{{"forks": {json.dumps(self.forks)},\n{",".join(parts)}}}\n'.encode()


def _lines(title: str, meanings: Meanings, known: dict[str, dict[str, int]]) -> str:
    rows = []
    bvlc = {
        owner for owner, numbers in meanings.items() if any(0 in forks for names in numbers.values() for forks in names.values())
    }
    for owner, numbers in sorted(meanings.items()):
        disputed = {
            number: {name: sorted(forks) for name, forks in sorted(names.items())}
            for number, names in sorted(numbers.items())
            if len(names) > 1
            or known[owner].get(next(iter(names))) != number
            or (owner in bvlc and 0 not in next(iter(names.values())))
        }
        if disputed:
            rows.append(f"{json.dumps(owner)}: {json.dumps(disputed)}")
    return f'"{title}": {{\n' + ",\n".join(rows) + "\n}"


def _messages(path: Path) -> dict[str, Any]:
    """The message types of a fork's schema, by name."""
    from google.protobuf.descriptor_pool import DescriptorPool

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "caffe.proto"
        shutil.copyfile(path, copy)
        return dict(DescriptorPool().AddSerializedFile(compile_schema(copy)).message_types_by_name)


def main(argv: list[str]) -> int:
    """Write `numbers.json` from the schemas given; return the exit status."""
    pairs = [text.partition("=") for text in argv]
    if not pairs or not all(path for _, _, path in pairs):
        print(__doc__, file=sys.stderr)
        return 2
    table = Table()
    for fork, _, path in pairs:
        table.add(fork, Path(path))
    content = table.content()
    NUMBERS.write_bytes(content)
    print(f"wrote {NUMBERS.name} ({len(content)} bytes, {len(table.forks)} forks)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
