"""`Message`, a prototxt message: fields by name, the schema's defaults, unknown fields kept as they were written."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..errors import ProtogenError, did_you_mean
from ..schema import Field, MessageType, message_type

_FLOAT32 = struct.Struct("<f")
_UNSET: Any = object()


class Word(str):
    """A bare word of a prototxt (an enum's name, say), which is written back without quotes."""

    __slots__ = ()


def to_float32(value: float) -> float:
    """Round to float32, as a `float` field does; values beyond its range become infinite, as in protobuf.

    >>> to_float32(0.1)
    0.10000000149011612
    """
    try:
        return float(_FLOAT32.unpack(_FLOAT32.pack(value))[0])
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


class Message:
    """Fields of one message, read as attributes: the value that is set, else the schema's default.

    Enums are their names ("MAX"), repeated fields are lists, and unset messages are empty messages of their type. A message
    of unknown type (`descriptor` None) and fields that the schema lacks hold what was written: a single value, or a list if
    the field occurs more than once.

    >>> pooling = Message.of("PoolingParameter", kernel_size=3, stride=2)
    >>> pooling.pool, pooling.stride, pooling.pad, "pad" in pooling
    ('MAX', 2, 0, False)
    """

    __slots__ = ("_values", "descriptor", "origin")

    def __init__(self, descriptor: MessageType | None, origin: tuple[int, int] | None = None) -> None:
        self.descriptor = descriptor
        self.origin = origin  # (line, column) in the source text
        self._values: dict[str, Any] = {}

    @classmethod
    def of(cls, type_name: str, /, **fields: Any) -> Message:
        """Create a message of a schema type from Python values.

        A dict stands for a message, a scalar for a list of one item.

        Raises:
            ProtogenError: as `set`.
        """
        return cls(message_type(type_name)).update(fields)

    def update(self, fields: Mapping[str, Any]) -> Message:
        """Set several fields as `set` does, except those that are None; return self.

        Raises:
            ProtogenError: as `set`.
        """
        for name, value in fields.items():
            if value is not None:
                self.set(name, value)
        return self

    def set(self, name: str, value: Any) -> None:
        """Set a field to a Python value, checked against the schema; messages are copied.

        Raises:
            ProtogenError: unknown field, wrong type, or a number out of the field's range.
        """
        if self.descriptor is None:
            self._values[name] = _unknown_value(value)
            return
        field = self.descriptor.fields.get(name)
        if field is None:
            raise self._unknown_field(name)
        check = _CHECKS[field.kind]
        if not field.repeated:
            self._values[name] = check(field, value)
        elif isinstance(value, (list, tuple)):
            self._values[name] = [check(field, item) for item in value]
            if not value:
                del self._values[name]  # an empty list is an unset field, as in the text
        else:
            self._values[name] = [check(field, value)]

    def append(self, name: str, value: Any) -> None:
        """Append a value to a repeated (or unknown) field.

        Raises:
            ProtogenError: as `set`.
        """
        if self.descriptor is not None:
            field = self.descriptor.fields.get(name)
            if field is None:
                raise self._unknown_field(name)
            value = check(field, value)
        self._values.setdefault(name, []).append(value)

    def store(self, name: str, value: Any) -> None:
        """Set a field without checking the value, which must be valid and in the field's own type."""
        self._values[name] = value

    def extend(self, name: str, values: Iterable[Any]) -> None:
        """Add values to a repeated (or unknown) field without checking them, as `store` does."""
        self._values.setdefault(name, []).extend(values)

    def _unknown_field(self, name: str) -> ProtogenError:
        schema = self.descriptor.fields if self.descriptor is not None else {}
        kind = self.descriptor.name if self.descriptor is not None else "this message"
        return ProtogenError(f"unknown field {name!r} in {kind}{did_you_mean(name, schema)}")

    def __getattr__(self, name: str) -> Any:
        if name[0] == "_":
            raise AttributeError(name)
        value = self._values.get(name, _UNSET)
        field = self.descriptor.fields.get(name) if self.descriptor is not None else None
        if value is _UNSET:
            if field is None:
                raise AttributeError(f"{self!r} has no field {name!r}")
            return Message(field.message_type) if field.kind == "message" and not field.repeated else field.default
        return value if field is not None else _unwrapped(value)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the field's value if it is set, else `default` (not the schema's)."""
        value = self._values.get(name, default)
        if value is default or (self.descriptor is not None and name in self.descriptor.fields):
            return value
        return _unwrapped(value)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def remove(self, name: str) -> None:
        """Unset a field."""
        self._values.pop(name, None)

    def without(self, *names: str) -> Message:
        """Return the message without some of its fields; the values of the others are shared, not copied."""
        twin = Message(self.descriptor, self.origin)
        twin._values = {name: value for name, value in self._values.items() if name not in names}
        return twin

    def fields(self) -> Iterable[tuple[str, Any]]:
        """Return the set fields as (name, value): those of the schema ordered by number, then unknown ones as read."""
        values = self._values
        if self.descriptor is None or len(values) < 2:
            return values.items()
        return [(name, values[name]) for name in sorted(values, key=self.descriptor.order.__getitem__)]

    def copy(self) -> Message:
        """Return a deep copy."""
        twin = Message(self.descriptor, self.origin)
        values = twin._values = self._values.copy()
        for name, value in values.items():
            if isinstance(value, Message):
                values[name] = value.copy()
            elif isinstance(value, list):
                values[name] = _copies(value)
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


def _copies(values: list[Any]) -> list[Any]:
    return [value.copy() if isinstance(value, Message) else value for value in values]


def _unwrapped(value: Any) -> Any:
    """Return the value of an unknown field: a list only if it occurs more than once."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _unknown_value(value: Any) -> list[Any]:
    items = value if isinstance(value, (list, tuple)) else [value]
    return [Message(None).update(item) if isinstance(item, Mapping) else item for item in items]


def check(field: Field, value: Any) -> Any:
    """Return `value` as the field stores it.

    Raises:
        ProtogenError: the value has the wrong type or is out of the field's range.
    """
    return _CHECKS[field.kind](field, value)


def typed(field: Field, written: list[Any]) -> Any:
    """Convert what was stored for an unknown field, always a list, to the value of a field of the schema.

    Raises:
        ProtogenError: a value has the wrong type or is out of range, or a singular field has several.
    """
    if not field.repeated and len(written) > 1:
        raise ProtogenError(f"field {field.name!r} is given twice")
    items = [_typed_message(field, item) if isinstance(item, Message) else check(field, item) for item in written]
    return items if field.repeated else items[0]


def _typed_message(field: Field, written: Message) -> Message:
    if field.kind != "message":
        raise _wrong(field, written)
    message = Message(field.message_type, written.origin)
    for name, values in written.fields():
        inner = field.message_type.fields.get(name)
        message.store(name, values if inner is None else typed(inner, values))
    return message


def _check_message(field: Field, value: Any) -> Message:
    if isinstance(value, Message):
        if value.descriptor in (field.message_type, None):
            return value.copy()
    elif isinstance(value, Mapping):
        return Message(field.message_type).update(value)
    raise _wrong(field, value)


def _check_string(field: Field, value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if not isinstance(value, str):
        raise _wrong(field, value)
    try:
        value.isascii() or value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ProtogenError(f"field {field.name!r}: {value!r} is not valid Unicode text") from None
    return value


def _check_bool(field: Field, value: Any) -> bool:
    if isinstance(value, bool) or value in (0, 1):
        return bool(value)
    raise _wrong(field, value)


def _check_float(field: Field, value: Any) -> float:
    if isinstance(value, bool) or not hasattr(value, "__float__"):
        raise _wrong(field, value)
    try:
        return to_float32(float(value)) if field.kind == "float" else float(value)
    except (OverflowError, TypeError, ValueError):
        raise _wrong(field, value) from None


def _check_integer(field: Field, value: Any) -> int:
    if type(value) is int and field.range is not None and field.range[0] <= value <= field.range[1]:
        return value
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise _wrong(field, value)
    number = value.__index__()
    low, high = field.range or (number, number)
    if not low <= number <= high:
        raise ProtogenError(f"field {field.name!r}: {number} is out of range ({low} to {high})")
    return number


def _check_enum(field: Field, value: Any) -> str:
    if type(value) is str and value in field.values:
        return value
    name = field.enum_name(value) if isinstance(value, int) else str(value)
    if name not in field.values:
        hint = did_you_mean(str(value), field.values)
        raise ProtogenError(f"field {field.name!r} has no value {value!r}{hint} (known: {', '.join(field.values)})")
    return str(name)


def _wrong(field: Field, value: Any) -> ProtogenError:
    return ProtogenError(f"field {field.name!r} takes a {field.kind}, not {value!r}")


_CHECKS: dict[str, Callable[[Field, Any], Any]] = {
    **dict.fromkeys(("int32", "uint32", "int64", "uint64"), _check_integer),
    **dict.fromkeys(("float", "double"), _check_float),
    **dict.fromkeys(("string", "bytes"), _check_string),
    "bool": _check_bool,
    "enum": _check_enum,
    "message": _check_message,
}
