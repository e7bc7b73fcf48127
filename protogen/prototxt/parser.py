"""Parser of prototxt text into `Message`s; errors have file:line:column and suggest the nearest known name.

Unlike `google.protobuf.text_format`, it keeps fields that the schema lacks (forks add them freely), records the position of
each layer, and reads both types where two forks disagree on a field.
"""

from __future__ import annotations

import warnings
from typing import Any

from ..errors import ParseError, ProtogenWarning, did_you_mean, excerpt
from ..plugins import LAYERS, load_entry_points
from ..schema import Field, MessageType, message_type
from .lexer import SourceText, describe, unquote
from .message import Message, Word, to_float32
from .slips import misspelling, misspelt

MAX_DEPTH = 64
_TRUE = {"true": True, "True": True, "t": True, "1": True, "false": False, "False": False, "f": False, "0": False}
_CLOSING = {"{": "}", "<": ">"}
# Top-level fields that show what a text is: a text with one of them may have unknown fields beside it.
_SIGNS = {
    "NetParameter": ("layer", "layers", "input"),
    "SolverParameter": ("base_lr", "net", "train_net", "net_param", "train_net_param", "lr_policy", "max_iter"),
}


def parse(text: str, type_name: str = "NetParameter", source: str = "<text>", strict: bool | None = None) -> Message:
    """Parse a prototxt.

    Args:
        text: the prototxt.
        type_name: type of the message in the text: "NetParameter", "SolverParameter", ...
        source: name of the text in error messages, usually a path.
        strict: True rejects unknown fields; False keeps them, with a `ProtogenWarning`. By default (None) those inside a layer
            are kept, unless they look like a misspelt known name.

    Raises:
        ParseError: bad syntax, an unknown field, a value of the wrong type or out of range.

    >>> parse('name: "tiny"  layer { name: "relu" type: "ReLU" }').layer[0].type
    'ReLU'
    """
    return _Parser(SourceText(text, source), strict).parse(message_type(type_name))


class _Parser:
    def __init__(self, source: SourceText, strict: bool | None) -> None:
        self.source, self.strict = source, strict
        self._next = source.tokens().__next__
        self.kind, self.text, self.offset = self._next()
        self.depth = 0
        self.openings: list[int] = []  # lines in which the messages around the current place begin
        self.plugins_loaded = False  # other packages may declare fields
        self.unknown_at_top: dict[str, int] = {}  # offset of the first of each name

    def parse(self, type: MessageType) -> Message:
        message = Message(type, (1, 1))
        try:
            self.fields(message, "end", "")
        except ParseError:
            self.report_unknown_at_top(message, type)
            raise
        self.report_unknown_at_top(message, type)
        return message

    def report_unknown_at_top(self, message: Message, type: MessageType) -> None:
        """Warn of unknown fields outside of layers; reject them in a text that may not be of this type at all."""
        for name, offset in self.unknown_at_top.items():
            if not any(sign in message for sign in _SIGNS.get(type.name, ())):
                raise self.error(self.unknown_text(type, name), offset) from None
            self.warn(f"unknown field {excerpt(name)} in {type.name}; kept as written", offset)

    def advance(self) -> None:
        self.kind, self.text, self.offset = self._next()

    def error(self, message: str, offset: int | None = None) -> ParseError:
        return self.source.error(message, self.offset if offset is None else offset)

    def take(self, text: str) -> bool:
        """Consume a punctuation mark if it is the next token; return whether it was."""
        if self.kind == "punct" and self.text == text:
            self.advance()
            return True
        return False

    def fields(self, message: Message, end_kind: str, end_text: str) -> None:
        """Read fields into `message` up to and including the closing brace, or the end of the text."""
        schema = message.descriptor.fields if message.descriptor else {}
        while True:
            if self.kind == "word":
                name, offset = self.text, self.offset
                self.advance()
                field = schema.get(name) or self.declared(message, name)
                if field is None:
                    self.unknown(message, name, offset)
                else:
                    self.field(message, field, offset)
            elif self.kind == end_kind and self.text == end_text:
                if end_kind != "end":
                    self.advance()
                return
            elif self.kind == "punct" and self.text in ",;":
                self.advance()
            elif self.kind == "punct" and self.text == "[":
                self.extension(message)
            else:
                self.bad_start(end_text)

    def declared(self, message: Message, name: str) -> Field | None:
        """Return a field that another installed package declares for its own layer type, if there is one."""
        if self.plugins_loaded or message.descriptor is not message_type("LayerParameter"):
            return None
        self.plugins_loaded = True
        load_entry_points(LAYERS)
        return message.descriptor.fields.get(name)

    def bad_start(self, end_text: str) -> None:
        if self.kind == "end":
            opened = f" of the block opened in line {self.openings[-1]}" if self.openings else ""
            raise self.error(f"the text ends without the closing {end_text!r}{opened}: is it missing, or is the file truncated?")
        raise self.error(f"expected a field's name, found {describe(self.kind, self.text)}")

    def field(self, message: Message, field: Field, offset: int) -> None:
        """Read the value of a known field: `: value`, `{ ... }` or a list of these."""
        colon = self.take(":")
        if field.kind != "message" and not colon:
            raise self.error(f"expected ':' after {field.name!r}, found {describe(self.kind, self.text)}")
        values = message._values
        if self.kind == "punct" and self.text == "[":
            if not field.repeated:
                raise self.error(f"field {field.name!r} takes one value, not a list")
            items = self.list_of(lambda: self.value(field))
            if items:
                values.setdefault(field.name, []).extend(items)
        elif field.repeated:
            values.setdefault(field.name, []).append(self.value(field))
        elif field.name in values:
            raise self.error(f"field {field.name!r} is given twice", offset)
        else:
            values[field.name] = self.value(field)

    def list_of(self, item: Any) -> list[Any]:
        self.advance()
        items: list[Any] = []
        while not self.take("]"):
            if items and not self.take(","):
                raise self.error(f"expected ',' or ']' in a list, found {describe(self.kind, self.text)}")
            items.append(item())
        return items

    def value(self, field: Field) -> Any:
        if field.kind == "message":
            return self.message(field.message_type)
        if field.kind == "string" or field.kind == "bytes":
            return self.string(field)
        offset = self.offset
        sign = "-" if self.take("-") else ""
        if self.kind not in ("word", "number"):
            hint = "; write it without quotes" if self.kind == "string" else ""
            raise self.error(f"field {field.name!r} takes {_kind(field)}, found {describe(self.kind, self.text)}{hint}")
        text = sign + self.text
        value = _convert(field, text)
        if value is None and field.name == "engine" and text.isidentifier() and not self.strict:
            self.warn(f"unknown engine {excerpt(text)}; it has no effect here", offset)
            value = text
        if value is None and _is_fork_type(field, text) and not self.strict:
            value = text  # a layer type; the net reports it if nothing defines it
        if value is None:
            raise self.error(_refusal(field, text), offset)
        self.advance()
        return value

    def message(self, type: MessageType | None) -> Message:
        if self.kind != "punct" or self.text not in _CLOSING:
            raise self.error(f"expected '{{', found {describe(self.kind, self.text)}")
        message = Message(type, self.source.position(self.offset))
        closing = _CLOSING[self.text]
        self.depth += 1
        self.openings.append(self.source.position(self.offset)[0])
        if self.depth > MAX_DEPTH:
            raise self.error(f"messages are nested more than {MAX_DEPTH} deep")
        self.advance()
        self.fields(message, "punct", closing)
        self.openings.pop()
        self.depth -= 1
        return message

    def string(self, field: Field | None) -> str:
        if self.kind != "string":
            expected = f"field {field.name!r} takes" if field else "expected"
            raise self.error(f"{expected} a quoted string, found {describe(self.kind, self.text)}")
        parts = []
        while self.kind == "string":
            parts.append(unquote(self.text))
            self.advance()
        return parts[0] if len(parts) == 1 else "".join(parts)

    def extension(self, message: Message) -> None:
        """Read `[some.extension] { ... }` as an unknown field of that name: no fork has extensions."""
        offset = self.offset
        self.advance()
        name = "["
        while not self.take("]"):
            if self.kind not in ("word", "number", "punct") or self.text in "{}<>:":
                raise self.error(f"expected an extension's name, found {describe(self.kind, self.text)}")
            name += self.text
            self.advance()
        self.unknown(message, name + "]", offset)

    def unknown(self, message: Message, name: str, offset: int) -> None:
        if name in ("layer", "layers") and self.depth and self.kind == "punct" and self.text in _CLOSING:
            line = self.openings[-1]
            raise self.error(f"a layer begins inside the block opened in line {line}: is its closing '}}' missing?", offset)
        if message.descriptor is not None:
            self.report_unknown(message.descriptor, name, offset)
        colon = self.take(":")
        values = message._values
        if colon and self.kind == "punct" and self.text == "[":
            items = self.list_of(self.unknown_value)
            if items:
                values.setdefault(name, []).extend(items)
        elif not colon and (self.kind != "punct" or self.text not in _CLOSING):
            raise self.error(f"expected ':' or '{{' after {excerpt(name)}, found {describe(self.kind, self.text)}")
        else:
            values.setdefault(name, []).append(self.unknown_value())

    def report_unknown(self, type: MessageType, name: str, offset: int) -> None:
        if self.strict or (self.strict is None and misspelt(name, type)):
            raise self.error(self.unknown_text(type, name), offset)
        if self.strict is None and self.depth == 0:
            self.unknown_at_top.setdefault(name, offset)
        else:
            self.warn(f"unknown field {excerpt(name)} in {type.name}; kept as written", offset)

    def unknown_text(self, type: MessageType, name: str) -> str:
        hint = "" if self.strict else " (if it is a fork's own field, accept it with --no-strict or strict=False)"
        return f"unknown field {excerpt(name)} in {type.name}{did_you_mean(name, type.fields)}{hint}"

    def warn(self, text: str, offset: int) -> None:
        line, column = self.source.position(offset)
        warnings.warn(f"{self.source.name}:{line}:{column}: {text}", ProtogenWarning, stacklevel=3)

    def unknown_value(self) -> Any:
        if self.kind == "string":
            return self.string(None)
        if self.kind == "punct" and self.text in _CLOSING:
            return self.message(None)
        sign = "-" if self.take("-") else ""
        if self.kind not in ("word", "number"):
            raise self.error(f"expected a value, found {describe(self.kind, self.text)}")
        text = sign + self.text
        value = _guess(text)
        if value is None:
            raise self.error(f"{excerpt(text)} is not a number")
        self.advance()
        return value


def _convert(field: Field, text: str) -> Any:
    """Return a scalar's value from its token, None if the token does not fit the field."""
    kind = field.kind
    if field.range is not None:
        number = _integer(text)
        return number if number is not None and field.range[0] <= number <= field.range[1] else None
    if kind == "float":
        value = _float(text)
        return None if value is None else to_float32(value)
    if kind == "enum":
        if text in field.values:
            return text
        number = _integer(text)
        return None if number is None else field.enum_name(number)
    return _TRUE.get(text) if kind == "bool" else _float(text)


def _is_fork_type(field: Field, text: str) -> bool:
    """Return whether a word is a V1 layer type that only a fork has, not a misspelt one."""
    types = message_type("V1LayerParameter").fields["type"]
    return field is types and text.isidentifier() and misspelling(text, types.values) is None


def _refusal(field: Field, text: str) -> str:
    if field.kind == "enum":
        hint = did_you_mean(text, field.values) or f" (known: {', '.join(field.values)})"
        return f"field {field.name!r} has no value {excerpt(text)}{hint}"
    if field.range is not None and _integer(text) is not None:
        return f"field {field.name!r}: {text} is out of range ({field.range[0]} to {field.range[1]})"
    hint = " (if it is a placeholder, this is a template that a script fills in)" if text.isidentifier() else ""
    return f"field {field.name!r} takes {_kind(field)}, not {excerpt(text)}{hint}"


def _kind(field: Field) -> str:
    article = "an" if field.kind in ("enum", "int32", "int64") else "a"
    return f"{article} {field.kind}"


def _integer(text: str) -> int | None:
    if len(text) > 24:  # longer than any 64-bit number
        return None
    try:
        body = text.lstrip("-")
        if body.startswith("0") and body.isdigit():
            return int(text, 8)
        if "_" in body:
            return None
        return int(text, 16) if body[:2] in ("0x", "0X") else int(text)
    except ValueError:
        return None


def _float(text: str) -> float | None:
    try:
        if text[-1] in "fF" and text.lower().lstrip("-") != "inf":
            text = text[:-1]
        return None if "_" in text else float(text)
    except ValueError:
        return None


def _guess(text: str) -> Any:
    """Return a scalar of an unknown field: int, float, bool or a bare word; None if it is none of these."""
    if text[0].isalpha() or text[0] == "_":
        return {"true": True, "false": False}.get(text, Word(text))
    integer = _integer(text)
    return _float(text) if integer is None else integer
