"""Bytes to text, text to tokens, quoted tokens to what they say."""

from __future__ import annotations

import codecs
import re
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest

from protogen.errors import ParseError, ProtogenError
from protogen.prototxt.lexer import SourceText, decode, read_text, unquote

NET = 'name: "été"\nlayer { name: "r" type: "ReLU" bottom: "x" top: "x" }\n'


def tokens(text: str) -> list[tuple[str, str]]:
    return [(kind, token) for kind, token, _ in SourceText(text, "t").tokens()]


@pytest.mark.parametrize(
    "data",
    [
        NET.encode("utf-8"),
        codecs.BOM_UTF8 + NET.encode("utf-8"),
        NET.encode("utf-16"),
        codecs.BOM_UTF16_BE + NET.encode("utf-16-be"),
        NET.encode("utf-16-le"),
        NET.encode("utf-16-be"),
        NET.encode("utf-32"),
        NET.encode("latin-1"),
    ],
    ids=["utf-8", "utf-8 BOM", "utf-16 LE BOM", "utf-16 BE BOM", "utf-16 LE", "utf-16 BE", "utf-32 BOM", "latin-1"],
)
def test_encodings(data: bytes) -> None:
    assert decode(data, "net.prototxt") == NET


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_line_ends_and_comments(end: str) -> None:
    text = end.join(["# a net", 'name: "n" # its name', "layer {", "  $"])
    with pytest.raises(ParseError) as caught:
        tokens(text)
    assert (caught.value.line, caught.value.column) == (4, 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b" \n\t", "the file is empty"),
        (b"\x0a\x04net\x00\x12\x00\x01\x02\x03", "binary file"),
        (b"\x89HDF\r\n\x1a\n", "binary file"),
        (b"\x1f\x8b\x08abc", "binary file"),
        (b"PK\x03\x04", "binary file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "Git LFS pointer"),
        (b"\n  <!DOCTYPE html>\n<html lang='en'>", "web page"),
        (b"\0" * 100, "binary file"),
    ],
)
def test_no_text(data: bytes, message: str) -> None:
    with pytest.raises(ProtogenError, match=f"^net.prototxt: .*{message}"):
        decode(data, "net.prototxt")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "none.prototxt", "a\0b"):
        with pytest.raises(ProtogenError, match="cannot read"):
            read_text(path)
    with pytest.raises(ProtogenError, match="is a folder; give the prototxt of one net"):
        read_text(tmp_path)


def test_tokens() -> None:
    assert tokens("a_1: -1.5e-3 {<>[,;]}'x'\"y\"") == [
        ("word", "a_1"), ("punct", ":"), ("punct", "-"), ("number", "1.5e-3"), ("punct", "{"), ("punct", "<"),
        ("punct", ">"), ("punct", "["), ("punct", ","), ("punct", ";"), ("punct", "]"), ("punct", "}"),
        ("string", "'x'"), ("string", '"y"'), ("end", ""),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ('a: "open\nb: 1', (1, 4), "not closed"),
        ("a: 'open", (1, 4), "not closed"),
        ("a: 1\n  @", (2, 3), "unexpected character '@'"),
        ("a: 1 # c\n\n é", (3, 2), "unexpected character 'é'"),
        ("a: 1 \u2003", (1, 6), "unexpected character '\\\\u2003'"),
        ("\x1c", (1, 1), "unexpected character"),
        ("a: \x00", (1, 4), "unexpected character '\\\\x00'"),
    ],
)
def test_bad_characters(text: str, place: tuple[int, int], message: str) -> None:
    with pytest.raises(ParseError, match=message) as caught:
        tokens(text)
    assert (caught.value.line, caught.value.column) == place


def test_a_mark_and_no_break_spaces_are_skipped() -> None:
    assert tokens("\ufeffa:\u00a01") == tokens("a: 1")


@pytest.mark.parametrize(
    ("token", "text"),
    [
        (r'"plain"', "plain"),
        (r"'say \"hi\"'", 'say "hi"'),
        (r'"it\'s"', "it's"),
        (r'"a\tb\nc\\"', "a\tb\nc\\"),
        (r'"\303\251"', "é"),
        (r'"\xc3\xa9"', "é"),
        (r'"\u00e9\U0001F600"', "é😀"),
        (r'"\7\078"', "\x07\x078"),
        (r'"\377"', "\udcff"),
        (r'"\ud800"', "\ufffd"),
        (r'"\UFFFFFFFF"', "\ufffd"),
    ],
)
def test_escapes(token: str, text: str) -> None:
    assert unquote(token) == text


@pytest.mark.parametrize("token", [r'"a\U_1"', r'"a\u12"', r'"\x"'])
def test_an_escape_without_its_digits_is_the_letter(token: str) -> None:
    assert unquote(token) == token[1:-1].replace("\\", "")


@pytest.mark.parametrize(
    "text",
    [
        'x: "' + "a" * 2_000_000 + '"',
        'x: "' + r"\n" * 1_000_000 + '"',
        "x: " + "1" * 2_000_000,
        " " * 2_000_000 + "x",
        "#\n" * 1_000_000 + "x",
        'x: "' + r"\n" * 1_000_000,
    ],
    ids=["string", "escapes", "number", "blanks", "comments", "unclosed"],
)
def test_one_long_token_costs_little_memory(text: str) -> None:
    """Python's regular expressions keep a hundred bytes for each round of a repeated group."""
    source = SourceText(text, "x")
    tracemalloc.start()
    with suppress(ParseError):
        assert len(list(source.tokens())) in (2, 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * len(text)


@pytest.mark.parametrize("quote", ["'", '"'])
@pytest.mark.parametrize("body", [r"\\", r"a\"b\'c", r"\n" * 1500 + "x", "\\\n", "x" + r"\t" * 1001, r"\\" * 1001 + "é"])
def test_strings_with_escapes_end_where_they_did(quote: str, body: str) -> None:
    """Against the plain definition of a string: any characters but quotes, backslashes and line ends, or escapes."""
    text = f"{quote}{body}{quote} y"
    whole = re.compile(rf"{quote}(?:[^{quote}\\\n]|\\.)*{quote}", re.DOTALL).match(text)
    assert whole is not None
    assert [token[:2] for token in SourceText(text, "x").tokens()] == [("string", whole[0]), ("word", "y"), ("end", "")]
