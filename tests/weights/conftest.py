"""A second, independent view of the format: protobuf's own classes over the few messages that matter."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_KINDS: dict[str, Any] = {"string": 9, "float": 2, "double": 1, "int32": 5, "int64": 3, "bytes": 12}
_MESSAGE: Any = 11
_OPTIONAL: Any = 1
_REPEATED: Any = 3
# Message: {field: (number, repeated, type, packed)}; numbers as in BVLC's and NVIDIA's caffe.proto.
_MESSAGES: dict[str, dict[str, tuple[int, bool, str, bool]]] = {
    "BlobShape": {"dim": (1, True, "int64", True)},
    "Blob": {
        "num": (1, False, "int32", False),
        "channels": (2, False, "int32", False),
        "height": (3, False, "int32", False),
        "width": (4, False, "int32", False),
        "data": (5, True, "float", True),
        "diff": (6, True, "float", True),
        "shape": (7, False, "BlobShape", False),
        "double_data": (8, True, "double", True),
        "raw_data_type": (10, False, "int32", False),
        "raw_data": (12, False, "bytes", False),
    },
    "UnpackedShape": {"dim": (1, True, "int64", False)},
    "UnpackedBlob": {
        "shape": (7, False, "UnpackedShape", False),
        "data": (5, True, "float", False),
        "double_data": (8, True, "double", False),
    },
    "Layer": {
        "name": (1, False, "string", False),
        "type": (2, False, "string", False),
        "bottom": (3, True, "string", False),
        "top": (4, True, "string", False),
        "blobs": (7, True, "Blob", False),
        "fork": (147, False, "string", False),
    },
    "V0Layer": {
        "name": (1, False, "string", False),
        "type": (2, False, "string", False),
        "blobs": (50, True, "Blob", False),
    },
    "V1Layer": {
        "layer": (1, False, "V0Layer", False),
        "name": (4, False, "string", False),
        "type": (5, False, "int32", False),
        "blobs": (6, True, "Blob", False),
    },
    "Net": {
        "name": (1, False, "string", False),
        "layers": (2, True, "V1Layer", False),
        "layer": (100, True, "Layer", False),
    },
}


def _classes() -> SimpleNamespace:
    file = descriptor_pb2.FileDescriptorProto(name="weights_test.proto", package="weights_test", syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, (number, repeated, kind, packed) in fields.items():
            field = message.field.add(name=field_name, number=number, label=_REPEATED if repeated else _OPTIONAL)
            if kind in _KINDS:
                field.type = _KINDS[kind]
            else:
                field.type, field.type_name = _MESSAGE, f".weights_test.{kind}"
            if packed:
                field.options.packed = True
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return SimpleNamespace(
        **{name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"weights_test.{name}")) for name in _MESSAGES}
    )


_CLASSES = _classes()


@pytest.fixture(scope="session")
def messages() -> SimpleNamespace:
    """Protobuf classes Net, Layer, V1Layer, V0Layer, Blob, BlobShape, UnpackedBlob."""
    return _CLASSES
