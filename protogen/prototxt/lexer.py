"""Lexer for protobuf's text format as Caffe users write it, and decoding of files."""

from __future__ import annotations

import codecs
import re
from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

from ..errors import ParseError, ProtogenError, excerpt

# A repeated group costs the regular expression engine memory in each round, a repeated character none: so comments and escapes,
# of which a hostile text may have millions, are left to loops.
_TOKEN = re.compile(
    r"""[ \t\r\n\f\v\x00a0]*(?:
      (?P<word>[A-Za-z_]\w*)
    | (?P<number>\.?[0-9][\w.]*(?:(?<=[eE])[+-][\w.]*)?)
    | (?P<string>"[^"\\\n]*"|'[^'\\\n]*')
    | (?P<punct>[{}<>:\[\],;/.-])
    | (?P<comment>\#[^\n]*(?:\s*\#[^\n]*){0,100})
    | (?P<escaped>"[^"\\\n]*\\|'[^'\\\n]*\\)
    | (?P<end>\Z)
    )""".replace(r"\x00a0", "\u00a0"),
    re.VERBOSE | re.ASCII,
)
_REST_OF_STRING = {  # after a backslash: what it escapes, and text up to the next backslash or to the end
    quote: re.compile(rf"(?:.[^{quote}\\\n]*\\){{0,1000}}.[^{quote}\\\n]*(?P<end>{quote}|\\)", re.DOTALL) for quote in "\"'"
}
_BLANKS = re.compile("[ \\t\\r\\n\\f\\v\u00a0]*")
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{1,2}|[0-7]{1,3}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_LONE_SURROGATE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
_BYTE_ORDER_MARKS = (  # longer ones first: UTF-32's starts with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SIMPLE_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
MAX_TEXT_BYTES = 256 << 20


class SourceText:
    """A named text: its tokens, and positions and errors for offsets in it."""

    def __init__(self, text: str, name: str) -> None:
        self.text, self.name = _clean(text), name
        self._line_starts: list[int] | None = None

    def position(self, offset: int) -> tuple[int, int]:
        """Return (line, column) of an offset, both from 1."""
        if self._line_starts is None:
            self._line_starts = [0] + [match.end() for match in re.finditer("\n", self.text)]
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def error(self, message: str, offset: int) -> ParseError:
        """Return a `ParseError` at an offset."""
        return ParseError(message, self.name, *self.position(offset))

    def tokens(self) -> Iterator[tuple[str, str, int]]:
        """Yield (kind, text, offset) of each token; kinds are word, number, string, punct, and a final end.

        Raises:
            ParseError: no token starts at some character.
        """
        match_token, text, offset = _TOKEN.match, self.text, 0
        while True:
            match = match_token(text, offset)
            if match is None:
                raise self._bad_character(offset)
            kind, start, offset = match.lastgroup or "end", match.start(match.lastgroup or "end"), match.end()
            if kind == "comment":
                continue
            if kind == "escaped":
                kind, offset = "string", self._end_of_string(start, offset)
            yield kind, text[start:offset], start
            if kind == "end":
                return

    def _end_of_string(self, start: int, offset: int) -> int:
        """Return the offset behind a string that begins at `start` and has its first backslash before `offset`."""
        rest = _REST_OF_STRING[self.text[start]]
        while True:
            match = rest.match(self.text, offset)
            if match is None:
                raise self._bad_character(start)
            offset = match.end()
            if match["end"] != "\\":
                return offset

    def _bad_character(self, offset: int) -> ParseError:
        skipped = _BLANKS.match(self.text, offset)
        offset = skipped.end() if skipped else offset
        character = self.text[offset]
        if character in "\"'":
            return self.error("this string is not closed before the end of its line", offset)
        return self.error(f"unexpected character {character!r}", offset)


def _clean(text: str) -> str:
    """Normalise line ends to "\\n", and replace what cannot be written back as UTF-8."""
    if "\r" in text and "\n" not in text:
        text = text.replace("\r", "\n")
    if text.isascii():
        return text
    return _LONE_SURROGATE.sub("\ufffd", text.removeprefix("\ufeff"))


def read_text(path: str | Path) -> str:
    """Read the text of a file in UTF-8, UTF-16, UTF-32 or, if it is none of these, Latin-1.

    Raises:
        ProtogenError: the file cannot be read, is empty, or is binary.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_TEXT_BYTES + 1)
    except IsADirectoryError:
        raise ProtogenError(
            f"{path}: is a folder; give the prototxt of one net (only 'protogen convert' takes a folder, with -o FOLDER)"
        ) from None
    except (OSError, ValueError) as error:
        raise ProtogenError(f"{path}: cannot read: {getattr(error, 'strerror', None) or error}") from error
    return decode(data, str(path))


def is_binary(data: bytes) -> bool:
    """Return whether the first bytes of a file show that it is no text.

    >>> is_binary(b"\\x0a\\x03net"), is_binary(b"name: 'net'")
    (True, False)
    """
    if not data or _wide_encoding(data) is not None:
        return False
    return b"\0" in data or data[:1] in b"\x89\x1f" or data[:2] == b"PK" or any(byte < 9 or 13 < byte < 32 for byte in data[:2])


def _wide_encoding(data: bytes) -> str | None:
    """Return the encoding of text that has a byte order mark or two bytes for each letter, None for other data."""
    for mark, encoding in _BYTE_ORDER_MARKS:
        if data.startswith(mark):
            return encoding
    for zeros, encoding in ((data[1:64:2], "utf-16-le"), (data[0:64:2], "utf-16-be")):
        if len(zeros) > 1 and not any(zeros) and any(data[:64]):
            return encoding
    return None


def decode(data: bytes, name: str) -> str:
    """Decode the bytes of a prototxt as `read_text` does.

    Raises:
        ProtogenError: the data are empty, binary or not a prototxt at all; `name` names them in the message.
    """
    if not data.strip():
        raise ProtogenError(f"{name}: the file is empty; a prototxt with at least one layer is needed")
    if len(data) > MAX_TEXT_BYTES:
        raise ProtogenError(f"{name}: larger than {MAX_TEXT_BYTES >> 20} MiB, so not a prototxt")
    encoding = _wide_encoding(data)
    if encoding is not None:
        return data.decode(encoding, "replace")
    if is_binary(data):
        raise ProtogenError(
            f"{name}: this is a binary file, not a prototxt; give weights (.caffemodel) in addition to the net's prototxt"
        )
    if data.startswith(b"version https://git-lfs"):
        raise ProtogenError(f"{name}: is a Git LFS pointer, not the prototxt itself: fetch it with 'git lfs pull'")
    if data.lstrip()[:16].lower().startswith((b"<!doctype", b"<html")):
        raise ProtogenError(f"{name}: is a web page, not a prototxt: download the raw file instead (GitHub: the Raw button)")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def unquote(token: str) -> str:
    """Return the text of a quoted token; octal and hex escapes are bytes of UTF-8.

    >>> unquote(r"'conv\\303\\251'")
    'convé'
    """
    body = token[1:-1]
    if "\\" not in body:
        return body
    data = _ESCAPE.sub(_unescape, body)
    return data.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    if code[0] in "uU" and len(code) > 1:
        point = int(code[1:], 16)
        return chr(point) if point < 0x110000 and not 0xD800 <= point < 0xE000 else "\ufffd"
    if code[0] == "x" and len(code) > 1:
        return _byte(int(code[1:], 16))
    if code[0] in "01234567":
        return _byte(int(code, 8) & 0xFF)
    return _SIMPLE_ESCAPES.get(code, code)


def _byte(value: int) -> str:
    # A byte above 127 is part of a UTF-8 sequence: a surrogate escape stands for it until the whole string is decoded.
    return chr(value) if value < 128 else bytes([value]).decode("utf-8", "surrogateescape")


def describe(kind: str, text: str) -> str:
    """Describe a token for an error message."""
    return "the end of the text" if kind == "end" else excerpt(text, 40)
