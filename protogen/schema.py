"""Caffe's schema at run time: which fields a message has, their types and defaults.

The truth is `proto/caffe.proto`. protogen itself reads its compiled table, `proto/caffe.json`. For exchange with protobuf,
`message_class` loads the other compiled form, `proto/caffe.desc`, into a descriptor pool of protogen's own: never
protobuf's default one, so that other `caffe_pb2` modules can live in the same process.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

_RANGES = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}
PACKAGE = "caffe"


def resource(*parts: str) -> Path:
    """Path of a file of `templates/` or `proto/`: beside the package's modules when installed, at the top of a checkout."""
    package = Path(__file__).parent
    installed = package.joinpath(*parts)
    return installed if installed.exists() else package.parent.joinpath(*parts)


class Field:
    """One field of a message.

    Attributes:
        name, number: as in the schema.
        kind: protobuf's name of the scalar type, "enum" or "message".
        repeated: whether it holds a list.
        default: the value when unset: the schema's default, `()` if repeated, None for a message.
        range: smallest and largest value of an integer.
        values: numbers of an enum's values by name.
    """

    __slots__ = ("_type", "_type_name", "default", "kind", "name", "number", "range", "repeated", "values")

    def __init__(self, name: str, number: int, kind: str, repeated: bool, default: Any, type_name: str | None) -> None:
        self.name, self.number, self.kind, self.repeated = name, number, kind, repeated
        self.default = () if repeated else default
        self.range: tuple[int, int] | None = _RANGES.get(kind)
        self.values: dict[str, int] = _tables()["enums"][type_name] if kind == "enum" else {}
        self._type_name = type_name
        self._type: MessageType | None = None

    @property
    def message_type(self) -> MessageType:
        """The type of a message field's value."""
        if self._type is None:
            self._type = message_type(self._type_name or "")
        return self._type

    def enum_name(self, number: int) -> str | None:
        """Name of an enum's value, None if the enum has no such number."""
        return next((name for name, value in self.values.items() if value == number), None)


class _Order(dict[str, int]):
    """Numbers of fields by name; names the schema lacks come after all others."""

    def __missing__(self, name: str) -> int:
        return 1 << 30


class MessageType:
    """One message of the schema: `name` without the package, `fields` by name, `order` the fields' numbers."""

    __slots__ = ("fields", "name", "order")

    def __init__(self, name: str) -> None:
        self.name = name
        self.fields: dict[str, Field] = {key: Field(key, *entry) for key, entry in _tables()["messages"][name].items()}
        self.order: dict[str, int] = _Order((key, field.number) for key, field in self.fields.items())

    def __repr__(self) -> str:
        return f"MessageType({self.name!r})"

    def __reduce__(self) -> tuple:
        return message_type, (self.name,)


@lru_cache(maxsize=1)
def _tables() -> dict[str, Any]:
    tables: dict[str, Any] = json.loads(resource("proto", "caffe.json").read_bytes())
    return tables


@lru_cache(maxsize=None)
def message_type(name: str) -> MessageType:
    """The type called `name`, such as "ConvolutionParameter"; KeyError if the schema has none.

    >>> message_type("PoolingParameter").fields["pool"].default
    'MAX'
    """
    return MessageType(name)


@lru_cache(maxsize=1)
def pool() -> Any:
    """protogen's own `google.protobuf.descriptor_pool.DescriptorPool` holding `caffe.proto`."""
    from google.protobuf.descriptor_pool import DescriptorPool

    private = DescriptorPool()
    private.AddSerializedFile(resource("proto", "caffe.desc").read_bytes())
    return private


@lru_cache(maxsize=None)
def message_class(name: str) -> Any:
    """The protobuf class of a message, for exchange with other protobuf code.

    >>> message_class("NetParameter")(name="n").name
    'n'
    """
    from google.protobuf.message_factory import GetMessageClass

    return GetMessageClass(pool().FindMessageTypeByName(f"{PACKAGE}.{name}"))
