"""A prototxt message in memory: fields by name, the schema's defaults, unknown fields kept as they were written."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import ProtogenError, did_you_mean
from ..schema import Field, MessageType, message_type

_FLOAT32 = struct.Struct("<f")


class Word(str):
    """A bare word of a prototxt (an enum's name, say), told apart from a quoted string when it is written back."""

    __slots__ = ()


def to_float32(value: float) -> float:
    """The double nearest to what a `float` field holds; beyond its range, an infinity, as protobuf reads it.

    >>> to_float32(0.1)
    0.10000000149011612
    """
    try:
        return float(_FLOAT32.unpack(_FLOAT32.pack(value))[0])
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


class Message:
    """Fields of one message, read by attribute: a set value, else the schema's default.

    Enums are their names ("MAX"), repeated fields lists, unset messages empty messages of their type. A message of
    unknown type (`descriptor` None) and fields the schema lacks hold what was written; a field written once reads as that
    value, one written several times as a list.

    >>> pooling = Message.of("PoolingParameter", kernel_size=3, stride=2)
    >>> pooling.pool, pooling.stride, pooling.pad, "pad" in pooling
    ('MAX', 2, 0, False)
    """

    __slots__ = ("_values", "descriptor", "origin")

    def __init__(self, descriptor: MessageType | None, origin: tuple[int, int] | None = None) -> None:
        self.descriptor = descriptor
        self.origin = origin  # (line, column) in the text it was read from
        self._values: dict[str, Any] = {}

    @classmethod
    def of(cls, type_name: str, /, **fields: Any) -> Message:
        """A message of a schema type from Python values; a dict stands for a message, a scalar for a list of one."""
        return cls(message_type(type_name)).update(fields)

    def update(self, fields: Mapping[str, Any]) -> Message:
        """Set several fields as `set` does; None leaves a field unset. Returns self."""
        for name, value in fields.items():
            if value is not None:
                self.set(name, value)
        return self

    def set(self, name: str, value: Any) -> None:
        """Set a field from a Python value, checked against the schema.

        Raises:
            ProtogenError: unknown field, wrong type, or a number out of the field's range.
        """
        field = self._field(name)
        if field is None:
            self._values[name] = _unknown_value(value)
        elif field.repeated:
            items = value if isinstance(value, (list, tuple)) else [value]
            self._values[name] = [check(field, item) for item in items]
        else:
            self._values[name] = check(field, value)

    def append(self, name: str, value: Any) -> None:
        """Add one value to a repeated (or unknown) field."""
        field = self._field(name)
        self._values.setdefault(name, []).append(value if field is None else check(field, value))

    def store(self, name: str, value: Any) -> None:
        """Set a field to a value that is known to be right, unchecked (used by the parser)."""
        self._values[name] = value

    def _field(self, name: str) -> Field | None:
        if self.descriptor is None:
            return None
        field = self.descriptor.fields.get(name)
        if field is None:
            hint = did_you_mean(name, self.descriptor.fields)
            raise ProtogenError(f"unknown field {name!r} in {self.descriptor.name}{hint}")
        return field

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        values = self._values
        field = self.descriptor.fields.get(name) if self.descriptor else None
        if field is not None:
            if name in values:
                return values[name]
            return _empty(field) if field.kind == "message" and not field.repeated else field.default
        if name in values:
            value = values[name]
            return value[0] if isinstance(value, list) and len(value) == 1 else value
        raise AttributeError(f"{self!r} has no field {name!r}")

    def get(self, name: str, default: Any = None) -> Any:
        """The field's value if it is set, else `default` (not the schema's)."""
        return getattr(self, name) if name in self._values else default

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def remove(self, name: str) -> None:
        """Unset a field."""
        self._values.pop(name, None)

    def fields(self) -> Iterator[tuple[str, Any]]:
        """Set fields as (name, value), known ones in the order of their numbers, then unknown ones as read."""
        values = self._values
        if self.descriptor is None or len(values) < 2:
            return iter(values.items())
        known = self.descriptor.fields
        last = 1 << 30
        return iter(sorted(values.items(), key=lambda item: known[item[0]].number if item[0] in known else last))

    def copy(self) -> Message:
        """A deep copy."""
        twin = Message(self.descriptor, self.origin)
        twin._values = {name: _copy(value) for name, value in self._values.items()}
        return twin

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and self.descriptor is other.descriptor and self._values == other._values

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        name = self.descriptor.name if self.descriptor else "Message"
        return f"{name}({', '.join(f'{k}={v!r}' for k, v in self._values.items())})"

    def __reduce__(self) -> tuple:
        return _restore, (self.descriptor, self.origin, self._values)


def _restore(type: MessageType | None, position: tuple[int, int] | None, values: dict[str, Any]) -> Message:
    message = Message(type, position)
    message._values = values
    return message


def _copy(value: Any) -> Any:
    if isinstance(value, Message):
        return value.copy()
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _empty(field: Field) -> Message:
    return Message(field.message_type)


def _unknown_value(value: Any) -> list[Any]:
    items = value if isinstance(value, (list, tuple)) else [value]
    return [Message(None).update(item) if isinstance(item, Mapping) else item for item in items]


def check(field: Field, value: Any) -> Any:
    """`value` as the field stores it.

    Raises:
        ProtogenError: the value has the wrong type or is out of the field's range.
    """
    kind = field.kind
    if field.range is not None:
        return _check_integer(field, value)
    if kind == "float" or kind == "double":
        if isinstance(value, bool) or not isinstance(value, (int, float)) and not hasattr(value, "__float__"):
            raise _wrong(field, value)
        return to_float32(float(value)) if kind == "float" else float(value)
    if kind == "bool":
        if isinstance(value, bool) or value in (0, 1):
            return bool(value)
        raise _wrong(field, value)
    if kind == "enum":
        return _check_enum(field, value)
    if kind == "message":
        if isinstance(value, Mapping):
            return Message(field.message_type).update(value)
        if isinstance(value, Message) and value.descriptor in (field.message_type, None):
            return value
        raise _wrong(field, value)
    if not isinstance(value, (str, bytes)):
        raise _wrong(field, value)
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


def _check_integer(field: Field, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise _wrong(field, value)
    number = value.__index__()
    low, high = field.range or (number, number)
    if not low <= number <= high:
        raise ProtogenError(f"field {field.name!r}: {number} is out of range ({low} to {high})")
    return number


def _check_enum(field: Field, value: Any) -> str:
    name = field.enum_name(value) if isinstance(value, int) else str(value)
    if name not in field.values:
        known = ", ".join(field.values)
        raise ProtogenError(f"field {field.name!r} has no value {value!r}{did_you_mean(str(value), field.values)} (known: {known})")
    return str(name)


def _wrong(field: Field, value: Any) -> ProtogenError:
    return ProtogenError(f"field {field.name!r} takes a {field.kind}, not {value!r}")
