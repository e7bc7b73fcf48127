"""Compile ``caffe.proto`` into ``caffe.desc``, the form of the schema that is loaded at run time.

``caffe.desc`` is one serialized ``FileDescriptorProto`` without source positions. It needs no generated Python and
stays out of protobuf's default pool, so that other packages' Caffe schemas can live in the same process::

    pool = google.protobuf.descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(Path("proto/caffe.desc").read_bytes())
    pool.FindMessageTypeByName("caffe.NetParameter")

Run ``python proto/build.py`` after each change of ``caffe.proto`` and commit both files; ``--check`` only says
whether ``caffe.desc`` is up to date (exit status 1 if not). Needs the package ``grpcio-tools``.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PROTO = HERE / "caffe.proto"
DESC = HERE / "caffe.desc"


def compile_schema(proto: Path = PROTO) -> bytes:
    """Return the serialized ``FileDescriptorProto`` of a ``.proto`` file that imports no other.

    The bytes depend only on the file's content and name.

    Raises:
        ValueError: the file does not compile; the compiler has printed why.
    """
    from google.protobuf import descriptor_pb2
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "set.desc"
        status = protoc.main(
            ["protoc", f"--proto_path={proto.parent}", f"--descriptor_set_out={target}", proto.name]
        )
        if status != 0:
            raise ValueError(f"{proto} does not compile (see the compiler's message above)")
        files = descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes()).file
    _drop_json_names(files[0].message_type)
    return bytes(files[0].SerializeToString(deterministic=True))


def _drop_json_names(messages: Iterable[Any]) -> None:
    """Remove what protoc derives from the field names, a quarter of the file; the pool derives it again."""
    for message in messages:
        for field in message.field:
            field.ClearField("json_name")
        _drop_json_names(message.nested_type)


def main(argv: list[str] | None = None) -> int:
    """Write or check ``caffe.desc``; return the exit status."""
    parser = argparse.ArgumentParser(description="Compile caffe.proto into caffe.desc.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if caffe.desc is stale")
    options = parser.parse_args(argv)

    try:
        fresh = compile_schema(PROTO)
    except ImportError as error:
        print(f"{error}: install grpcio-tools", file=sys.stderr)
        return 1
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1

    if options.check:
        if not DESC.exists() or DESC.read_bytes() != fresh:
            print(f"{DESC} is stale: run python proto/build.py and commit it", file=sys.stderr)
            return 1
        return 0

    partial = DESC.with_suffix(".desc.tmp")
    partial.write_bytes(fresh)
    os.replace(partial, DESC)
    print(f"wrote {DESC} ({len(fresh)} bytes)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
