"""Caffe's schema at run time: which fields a message has, their types and defaults.

The source is `proto/caffe.proto`. protogen itself reads the table compiled from it, `proto/caffe.json`. For exchange with
protobuf, `message_class` loads the other compiled form, `proto/caffe.desc`, into a private descriptor pool, so that other
`caffe_pb2` modules can live in the same process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ProtogenError

if TYPE_CHECKING:
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message import Message as ProtobufMessage

_RANGES = {
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}
PACKAGE = "caffe"


def resource(*parts: str) -> Path:
    """Return the path of a file in `templates/` or `proto/`: inside the installed package, or at the top of a checkout."""
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
        range: smallest and largest value of an integer field, None for other kinds.
        values: an enum's values, number by name.
        type_name: name of the message or enum type, None for a scalar.
    """

    __slots__ = ("_type", "default", "kind", "name", "number", "range", "repeated", "type_name", "values")

    def __init__(self, name: str, number: int, kind: str, repeated: bool, default: Any, type_name: str | None) -> None:
        self.name, self.number, self.kind, self.repeated = name, number, kind, repeated
        self.default = () if repeated else default
        self.range: tuple[int, int] | None = _RANGES.get(kind)
        self.values: dict[str, int] = _tables()["enums"][type_name] if kind == "enum" else {}
        self.type_name = type_name
        self._type: MessageType | None = None

    @property
    def message_type(self) -> MessageType:
        """The type of a message field's value."""
        if self._type is None:
            self._type = message_type(self.type_name or "")
        return self._type

    def enum_name(self, number: int) -> str | None:
        """Return the name of an enum value, or None if the enum has no such number."""
        return next((name for name, value in self.values.items() if value == number), None)


class _Order(dict[str, int]):
    """Field numbers by name; names that the schema lacks sort after all others."""

    def __missing__(self, name: str) -> int:
        return 1 << 30


class MessageType:
    """One message of the schema: its `name` without the package, its `fields` by name, and their numbers as `order`."""

    __slots__ = ("fields", "name", "order")

    def __init__(self, name: str) -> None:
        self.name = name
        self.fields: dict[str, Field] = {}
        self.order: dict[str, int] = _Order()
        self.read()

    def read(self) -> None:
        """Read the fields from the schema's table, again after a change."""
        entries = _tables()["messages"][self.name]
        self.fields = {key: Field(key, *entry) for key, entry in entries.items()}
        self.order = _Order((key, field.number) for key, field in self.fields.items())

    def __repr__(self) -> str:
        return f"MessageType({self.name!r})"

    def __reduce__(self) -> tuple:
        return message_type, (self.name,)


@lru_cache(maxsize=1)
def _tables() -> dict[str, Any]:
    tables: dict[str, Any] = json.loads(resource("proto", "caffe.json").read_bytes())
    return tables


@cache
def message_type(name: str) -> MessageType:
    """Return the message type called `name`, such as "ConvolutionParameter".

    Raises:
        KeyError: the schema has no such message.

    >>> message_type("PoolingParameter").fields["pool"].default
    'MAX'
    """
    return MessageType(name)


@lru_cache(maxsize=1)
def _forks() -> dict[str, list[str]]:
    forks: dict[str, list[str]] = json.loads(resource("proto", "forks.json").read_bytes())
    return forks


def fork_fields(name: str) -> frozenset[str]:
    """Return the names of fields that some fork is known to have in a message, and that the schema lacks.

    >>> "cpm_transform_param" in fork_fields("LayerParameter")
    True
    """
    return frozenset(_forks().get(name, ()))


_OWN_FIELDS = 1 << 20  # above the field numbers of all forks; only the order of writing depends on them, text has names
_KINDS = {bool: "bool", int: "int64", float: "float", str: "string"}


def declare(name: str, fields: Mapping[str, Any]) -> None:
    """Add to LayerParameter a field `name`, a message of these fields; declaring it again replaces its fields.

    Args:
        name: the field, such as "my_param".
        fields: for each field its default (`1.0`), its type (`int`), or a one-element list of a type if it is repeated
            (`[float]`); the types are bool, int, float and str.

    Raises:
        ProtogenError: Caffe's schema has a field of that name, or a default is of another type.
    """
    messages = _tables()["messages"]
    entry = messages["LayerParameter"].get(name)
    if entry is not None and entry[0] < _OWN_FIELDS:
        raise ProtogenError(f"{name!r} is a field of Caffe's LayerParameter; give your own parameters another name")
    messages[name] = {key: _declared(key, i, value) for i, (key, value) in enumerate(fields.items(), 1)}
    messages["LayerParameter"][name] = entry or [_OWN_FIELDS + len(messages), "message", False, None, name]
    for changed in ("LayerParameter", name):
        message_type(changed).read()


def _declared(name: str, number: int, value: Any) -> list[Any]:
    """Build a field's entry of the schema's table from its default, its type or a list of a type."""
    repeated = isinstance(value, (list, tuple)) and len(value) == 1
    kind = value[0] if repeated else value
    default = kind() if isinstance(kind, type) and kind in _KINDS else kind
    if type(default) not in _KINDS:
        forms = "a default or a type (bool, int, float, str), or a list of one type"
        raise ProtogenError(f"field {name!r}: give {forms}, not {value!r}")
    return [number, _KINDS[type(default)], repeated, default, None]


@lru_cache(maxsize=1)
def pool() -> DescriptorPool:
    """Return a private `google.protobuf.descriptor_pool.DescriptorPool` that holds `caffe.proto`."""
    from google.protobuf.descriptor_pool import DescriptorPool

    private = DescriptorPool()
    private.AddSerializedFile(resource("proto", "caffe.desc").read_bytes())
    return private


@cache
def message_class(name: str) -> type[ProtobufMessage]:
    """Return the protobuf class of a message, for exchange with other protobuf code.

    >>> message_class("NetParameter")(name="n").name
    'n'
    """
    from google.protobuf.message_factory import GetMessageClass

    return GetMessageClass(pool().FindMessageTypeByName(f"{PACKAGE}.{name}"))
