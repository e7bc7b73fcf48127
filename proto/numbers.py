"""Compile `numbers.json`: what the field and enum numbers of binary files mean in the forks of Caffe, where these do not agree.

`caffe.json` gives each name one number, but forks have given one number to different fields. The definition in a caffemodel has
numbers only; `protogen.weights.definition` reads those that this table leaves one meaning. The table holds, for each message (or
enum) of `caffe.proto` and each number in it, the names that the forks' own schemas give it, and which forks:

    {"forks": [...], "fields": {"LayerParameter": {"147": {"swish_param": [0, 7], "reorg_param": [3]}}}, "enums": {...}}

Numbers on which all forks agree with BVLC (or, in messages that BVLC lacks, with each other) and with `caffe.json` are left out.
To add a fork to the table, or to make it anew from the schemas of all forks, BVLC's first:

    python proto/numbers.py OWNER/NAME=PATH/caffe.proto
    python proto/numbers.py --anew BVLC/caffe=PATH/caffe.proto weiliu89/caffe=PATH/caffe.proto ...

Converters' schemas (X2Paddle's, MNN's, ncnn's) count as forks', as they say what files there are. Only names and numbers are
taken. Needs the package `grpcio-tools`.
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
    """The meanings of numbers in the forks read so far.

    Args:
        anew: start from nothing, rather than from the table that there is.
    """

    def __init__(self, anew: bool) -> None:
        table = json.loads(TABLE.read_bytes())
        self.messages, self.enums = table["messages"], table["enums"]
        self.forks: list[str] = []
        self.fields: Meanings = defaultdict(lambda: defaultdict(lambda: defaultdict(set)))
        self.values: Meanings = defaultdict(lambda: defaultdict(lambda: defaultdict(set)))
        self.anew = anew
        if not anew:
            old = json.loads(NUMBERS.read_bytes())
            self.forks = old["forks"]
            for title, meanings in (("fields", self.fields), ("enums", self.values)):
                for owner, number, names in (
                    (o, int(n), names) for o, numbers in old[title].items() for n, names in numbers.items()
                ):
                    meanings[owner][number].update({name: set(forks) for name, forks in names.items()})

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
        numbers = {name: known[0] for name, known in self.messages[message].items()}
        self._note(self.fields[message], field.number, field.name if alike else f"{field.name} ({kind})", numbers)
        if entry is None or not alike:
            return []
        if kind == "enum":
            for value in field.enum_type.values:
                self._note(self.values[entry[4]], value.number, value.name, self.enums[entry[4]])
        return [(entry[4], field.message_type)] if kind == "message" else []

    def _note(self, meanings: dict[int, dict[str, set[int]]], number: int, name: str, known: dict[str, int]) -> None:
        """Note what the last fork calls a number; `known` has the numbers of `caffe.json` by name."""
        fork = len(self.forks) - 1
        if not self.anew and number not in meanings:
            if known.get(name) == number:
                return  # what all others mean by it, too
            meanings[number].update({other: set(range(fork)) for other, n in known.items() if n == number < OWN})
        meanings[number][name].add(fork)

    def content(self) -> bytes:
        """The table as JSON, one message a line."""
        known = {name: {key: entry[0] for key, entry in fields.items()} for name, fields in self.messages.items()}
        parts = [self._lines("fields", self.fields, known), self._lines("enums", self.values, self.enums)]
        return f'{{"forks": {json.dumps(self.forks)},\n{",".join(parts)}}}\n'.encode()

    def _lines(self, title: str, meanings: Meanings, known: dict[str, dict[str, int]]) -> str:
        rows = []
        for owner, numbers in sorted(meanings.items()):
            of_bvlc = any(0 in forks for names in numbers.values() for forks in names.values())
            disputed = {
                number: {name: sorted(forks) for name, forks in sorted(names.items())}
                for number, names in sorted(numbers.items())
                if not self.anew or len(names) > 1 or _is_a_forks(names, number, known[owner], of_bvlc)
            }
            if disputed:
                rows.append(f"{json.dumps(owner)}: {json.dumps(disputed)}")
        return f'"{title}": {{\n' + ",\n".join(rows) + "\n}"


def _is_a_forks(names: dict[str, set[int]], number: int, known: dict[str, int], of_bvlc: bool) -> bool:
    """Whether the one name of a number is not the one of `caffe.json`, or is in forks alone of a message that BVLC has, too."""
    ((name, forks),) = names.items()
    return known.get(name) != number or (of_bvlc and 0 not in forks)


def _messages(path: Path) -> dict[str, Any]:
    """The message types of a fork's schema, by name."""
    from google.protobuf.descriptor_pool import DescriptorPool

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "caffe.proto"
        shutil.copyfile(path, copy)
        return dict(DescriptorPool().AddSerializedFile(compile_schema(copy)).message_types_by_name)


def main(argv: list[str]) -> int:
    """Write `numbers.json` from the schemas given; return the exit status."""
    pairs = [text.partition("=") for text in argv if text != "--anew"]
    if not pairs or not all(path for _, _, path in pairs):
        print(__doc__, file=sys.stderr)
        return 2
    table = Table("--anew" in argv)
    for fork, _, path in pairs:
        table.add(fork, Path(path))
    content = table.content()
    NUMBERS.write_bytes(content)
    print(f"wrote {NUMBERS.name} ({len(content)} bytes, {len(table.forks)} forks)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
