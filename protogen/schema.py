"""Caffe's schema at run time: which fields a message has, their types and defaults.

The truth is `proto/caffe.proto`; this module loads its compiled form (`proto/caffe.desc`) into a descriptor pool
of protogen's own, never protobuf's default one, so that other `caffe_pb2` modules can live in the same process.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

_SCALARS = {
    1: "double", 2: "float", 3: "int64", 4: "uint64", 5: "int32", 8: "bool", 9: "string",
    11: "message", 12: "bytes", 13: "uint32", 14: "enum",
}  # fmt: skip
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
    """One field of a message: `kind` is a protobuf scalar name, "enum" or "message"."""

    __slots__ = ("_default", "_descriptor", "_type", "kind", "name", "number", "range", "repeated", "values")

    def __init__(self, descriptor: Any) -> None:
        self.name: str = descriptor.name
        self.number: int = descriptor.number
        self.kind: str = _SCALARS[descriptor.type]
        self.repeated: bool = _is_repeated(descriptor)
        self.range: tuple[int, int] | None = _RANGES.get(self.kind)
        self.values: dict[str, int] = {}
        self._descriptor = descriptor
        self._type: MessageType | None = None
        self._default: Any = None
        if self.kind == "enum":
            self.values = {value.name: value.number for value in descriptor.enum_type.values}
        if not self.repeated and self.kind != "message":
            default = descriptor.default_value
            self._default = self.enum_name(default) if self.kind == "enum" else default

    @property
    def default(self) -> Any:
        """The value an unset field has: the schema's default, `()` if repeated, None for a message."""
        return () if self.repeated else self._default

    @property
    def message_type(self) -> MessageType:
        """The type of a message field's value."""
        if self._type is None:
            self._type = message_type(_short_name(self._descriptor.message_type))
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

    def __init__(self, descriptor: Any) -> None:
        self.name: str = _short_name(descriptor)
        self.fields: dict[str, Field] = {field.name: Field(field) for field in descriptor.fields}
        self.order: dict[str, int] = _Order((field.name, field.number) for field in descriptor.fields)

    def __repr__(self) -> str:
        return f"MessageType({self.name!r})"

    def __reduce__(self) -> tuple:
        return message_type, (self.name,)


def _short_name(descriptor: Any) -> str:
    return descriptor.full_name.removeprefix(PACKAGE + ".")


def _is_repeated(descriptor: Any) -> bool:
    # protobuf 6 renamed this property and a later release drops the old one.
    flag = getattr(descriptor, "is_repeated", None)
    return descriptor.label == descriptor.LABEL_REPEATED if flag is None else flag


@lru_cache(maxsize=1)
def pool() -> Any:
    """protogen's own `google.protobuf.descriptor_pool.DescriptorPool` holding `caffe.proto`."""
    from google.protobuf.descriptor_pool import DescriptorPool

    private = DescriptorPool()
    private.AddSerializedFile(resource("proto", "caffe.desc").read_bytes())
    return private


@lru_cache(maxsize=None)
def message_type(name: str) -> MessageType:
    """The type called `name`, such as "ConvolutionParameter"; KeyError if the schema has none.

    >>> message_type("PoolingParameter").fields["pool"].default
    'MAX'
    """
    return MessageType(pool().FindMessageTypeByName(f"{PACKAGE}.{name}"))


@lru_cache(maxsize=None)
def message_class(name: str) -> Any:
    """The protobuf class of a message, for exchange with other protobuf code.

    >>> message_class("NetParameter")(name="n").name
    'n'
    """
    from google.protobuf.message_factory import GetMessageClass

    return GetMessageClass(pool().FindMessageTypeByName(f"{PACKAGE}.{name}"))
