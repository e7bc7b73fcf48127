"""Compile ``caffe.proto``, the schema maintained by hand, into the two forms that are loaded at run time.

``caffe.desc`` is one serialized ``FileDescriptorProto`` without source positions, for exchange with protobuf. It needs no
generated Python and stays out of protobuf's default pool, so that Caffe schemas of other packages can live in the same process.

``caffe.json`` is the table that protogen itself reads: ``messages`` has each field as ``[number, kind, repeated, default,
type]`` (``type`` names a message or an enum), ``enums`` the values. Reading it takes a tenth of the time needed to load
protobuf.

Run ``python proto/build.py`` after each change of ``caffe.proto`` and commit all three files; ``--check`` only checks whether the
compiled ones are up to date (exit status 1 if not). Needs the package ``grpcio-tools``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PROTO = HERE / "caffe.proto"
DESC = HERE / "caffe.desc"
TABLE = HERE / "caffe.json"
KINDS = {
    1: "double", 2: "float", 3: "int64", 4: "uint64", 5: "int32", 8: "bool", 9: "string",
    11: "message", 12: "bytes", 13: "uint32", 14: "enum",
}  # fmt: skip


def compile_schema(proto: Path = PROTO) -> bytes:
    """Return the serialized ``FileDescriptorProto`` of a ``.proto`` file that imports no other.

    The bytes depend only on the file's content and name.

    Raises:
        ValueError: the file does not compile; the compiler prints why.
    """
    from google.protobuf import descriptor_pb2
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "set.desc"
        status = protoc.main(["protoc", f"--proto_path={proto.parent}", f"--descriptor_set_out={target}", proto.name])
        if status != 0:
            raise ValueError(f"{proto} does not compile (see the compiler's message above)")
        files = descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes()).file
    _drop_json_names(files[0].message_type)
    return bytes(files[0].SerializeToString(deterministic=True))


def _drop_json_names(messages: Iterable[Any]) -> None:
    """Remove names that protoc derives from the field names, a quarter of the file; descriptor pools derive them again."""
    for message in messages:
        for field in message.field:
            field.ClearField("json_name")
        _drop_json_names(message.nested_type)


def field_table(schema: bytes) -> bytes:
    """Return the fields of a serialized ``FileDescriptorProto`` as the JSON described above."""
    from google.protobuf.descriptor_pool import DescriptorPool

    pool = DescriptorPool()
    file = pool.AddSerializedFile(schema)
    messages: dict[str, Any] = {}
    enums: dict[str, Any] = {}
    prefix = f"{file.package}."

    def visit(message: Any) -> None:
        messages[message.full_name.removeprefix(prefix)] = {field.name: _entry(field, prefix) for field in message.fields}
        add_enums(message.enum_types)
        for nested in message.nested_types:
            visit(nested)

    def add_enums(types: Iterable[Any]) -> None:
        for enum in types:
            enums[enum.full_name.removeprefix(prefix)] = {value.name: value.number for value in enum.values}

    add_enums(file.enum_types_by_name.values())
    for message in file.message_types_by_name.values():
        visit(message)
    rows = [f"{json.dumps(name)}: {json.dumps(fields)}" for name, fields in sorted(messages.items())]
    table = ",\n".join(rows)
    return f'{{"messages": {{\n{table}\n}},\n"enums": {json.dumps(dict(sorted(enums.items())))}}}\n'.encode()


def _entry(field: Any, prefix: str) -> list[Any]:
    kind = KINDS[field.type]
    repeated = getattr(field, "is_repeated", None)  # protobuf before 6 has only `label`
    if repeated is None:
        repeated = field.label == field.LABEL_REPEATED
    default = None if repeated or kind == "message" else field.default_value
    named = field.message_type or field.enum_type
    if kind == "enum" and not repeated:
        default = next(value.name for value in field.enum_type.values if value.number == default)
    if isinstance(default, bytes):
        default = default.decode("latin-1")
    return [field.number, kind, repeated, default, named.full_name.removeprefix(prefix) if named else None]


def main(argv: list[str] | None = None) -> int:
    """Write or check the compiled forms; return the exit status."""
    parser = argparse.ArgumentParser(description="Compile caffe.proto into caffe.desc and caffe.json.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a compiled form is stale")
    options = parser.parse_args(argv)

    try:
        schema = compile_schema(PROTO)
        fresh = {DESC: schema, TABLE: field_table(schema)}
    except ImportError as error:
        print(f"{error}: install grpcio-tools", file=sys.stderr)
        return 1
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1

    for path, content in fresh.items():
        if path.exists() and path.read_bytes() == content:
            continue
        if options.check:
            print(f"{path} is stale: run python proto/build.py and commit it", file=sys.stderr)
            return 1
        partial = path.with_name(path.name + ".tmp")
        partial.write_bytes(content)
        os.replace(partial, path)
        print(f"wrote {path.name} ({len(content)} bytes)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
