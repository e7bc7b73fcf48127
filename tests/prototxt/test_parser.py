"""Prototxt as people write it, and what is said about mistakes in it."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protogen.errors import ParseError, ProtogenWarning
from protogen.prototxt.message import Message, Word
from protogen.prototxt.parser import MAX_DEPTH, parse
from protogen.prototxt.writer import write

quiet = pytest.mark.filterwarnings("ignore::protogen.errors.ProtogenWarning")


def outcome(text: str) -> str:
    """The error of parsing a text, "" if it reads."""
    try:
        parse(text)
    except ParseError as error:
        return str(error)
    return ""


def layer(body: str) -> Message:
    """The one layer of a net with `body` between its braces."""
    return parse(f"layer {{ {body} }}").layer[0]


@pytest.mark.parametrize(
    "text",
    [
        'layer { name: "a" type: "Input" input_param { shape { dim: 1 dim: 3 } } }',
        "layer { name: 'a' type: 'Input' input_param { shape { dim: 1 dim: 3 } } }",
        'layer: { name: "a", type: "Input", input_param: { shape: { dim: 1, dim: 3 } } }',
        'layer { name: "a"; type: "Input"; input_param { shape { dim: 1; dim: 3; }; }; };',
        'layer < name: "a" type: "Input" input_param < shape: < dim: [1, 3] > > >',
        'layer [{ name: "a" type: "Input" input_param { shape [{ dim: [1] dim: [3] }] } }]',
        'layer { name: "" "a" type: "In" \'put\'\n input_param { shape { dim: 0x1 dim: 03 } } }',
        'layer{name:"a"type:"Input"input_param{shape{dim:1dim:3}}}'.replace("1dim", "1 dim"),
        '# one\nlayer { # two }\n name: "a" # "three\n type: "Input" input_param { shape { dim: 1 # 2\n dim: 3 } } } #',
        'layer {\r\n name: "a"\r\n type: "Input"\r\n input_param { shape { dim: 1\tdim: 3 } } }\r\n',
    ],
)
def test_ways_of_writing_the_same(text: str) -> None:
    expected = Message.of("NetParameter", layer={
        "name": "a", "type": "Input", "input_param": {"shape": {"dim": [1, 3]}},
    })  # fmt: skip
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1.0), ("-.5", -0.5), ("1.", 1.0), ("1e3", 1000.0), ("1.5f", 1.5), ("1F", 1.0), ("- 2", -2.0),
        ("inf", math.inf), ("-Infinity", -math.inf), ("1e400", math.inf), ("1e39", math.inf), ("1e-400", 0.0),
        ("9" * 400, math.inf), ("0.1", 0.10000000149011612),
    ],
)  # fmt: skip
def test_floats(text: str, value: float) -> None:
    assert layer(f"power_param {{ scale: {text} }}").power_param.scale == value


def test_nan() -> None:
    assert math.isnan(layer("power_param { scale: nan }").power_param.scale)


@pytest.mark.parametrize(
    ("text", "value"),
    [("true", True), ("false", False), ("1", True), ("0", False), ("True", True), ("t", True), ("f", False)],
)
def test_bools(text: str, value: bool) -> None:
    assert layer(f"convolution_param {{ bias_term: {text} }}").convolution_param.bias_term is value


def test_enums_by_name_and_number() -> None:
    assert layer("pooling_param { pool: AVE }").pooling_param.pool == "AVE"
    assert layer("pooling_param { pool: 1 }").pooling_param.pool == "AVE"


def test_messages_know_their_place() -> None:
    net = parse('name: "n"\n\n  layer {\n    param { lr_mult: 1 }\n  }')
    assert net.layer[0].origin == (3, 9)
    assert net.layer[0].param[0].origin == (4, 11)


@quiet
@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ('nmae: "x"', (1, 1), "unknown field 'nmae' in NetParameter; did you mean 'name'?"),
        ('layr { name: "x" }', (1, 1), "unknown field 'layr' in NetParameter; did you mean 'layer'?"),
        ("layer {\n  convolution_param {\n    kernal_size: 3\n  }\n}", (3, 5), "did you mean 'kernel_size'?"),
        ("layer { convolution_parm { } }", (1, 9), "did you mean 'convolution_param'?"),
        ("layer { botom: 'x' }", (1, 9), "did you mean 'bottom'?"),
        ("layer { pooling_param { pool: MAXX } }", (1, 31), "has no value 'MAXX'; did you mean 'MAX'?"),
        ("layer { pooling_param { pool: 'MAX' } }", (1, 31), "takes an enum, found \"'MAX'\"; write it without quotes"),
        ("layer { pooling_param { pool: 99 } }", (1, 31), "has no value '99' (known: MAX, AVE"),
        ("layer { convolution_param { num_output: -3 } }", (1, 41), "-3 is out of range (0 to 4294967295)"),
        ("layer { convolution_param { num_output: 4294967296 } }", (1, 41), "out of range"),
        ("layer { convolution_param { num_output: 1.5 } }", (1, 41), "takes a uint32, not '1.5'"),
        ("layer { convolution_param { num_output: 1_0 } }", (1, 41), "takes a uint32, not '1_0'"),
        ("layer { convolution_param { num_output: 08 } }", (1, 41), "takes a uint32, not '08'"),
        (f"layer {{ convolution_param {{ num_output: {'9' * 99} }} }}", (1, 41), "takes a uint32"),
        ("layer { convolution_param { num_output: many } }", (1, 41), "takes a uint32, not 'many' (if it is a placeholder"),
        ("layer { power_param { scale: 1.2.3 } }", (1, 30), "takes a float, not '1.2.3'"),
        ("layer { power_param { scale: 1_0.5 } }", (1, 30), "takes a float"),
        ("layer { power_param { scale: 0x1F } }", (1, 30), "takes a float"),
        ("layer { convolution_param { bias_term: yes } }", (1, 40), "takes a bool, not 'yes'"),
        ("layer { type: CONVOLUTION }", (1, 15), "field 'type' takes a quoted string, found 'CONVOLUTION'"),
        ("layers { type: 'Convolution' }", (1, 16), "field 'type' takes an enum"),
        ("name: 1", (1, 7), "field 'name' takes a quoted string, found '1'"),
        ("name 'x'", (1, 6), "expected ':' after 'name'"),
        ("name: 'x' name: 'y'", (1, 11), "field 'name' is given twice"),
        ("name: ['x', 'y']", (1, 7), "takes one value, not a list"),
        ("input: ['x' 'y' 'z'", (1, 20), "expected ',' or ']'"),
        ("layer: 3", (1, 8), "expected '{', found '3'"),
        ("layer {\n  name: 'x'\n", (3, 1), "the text ends without the closing '}' of the block opened in line 1: is it missing"),
        ("layer < name: 'x' }", (1, 19), "expected a field's name, found '}'"),
        ("layer { } }", (1, 11), "expected a field's name, found '}'"),
        ("layer { name: ", (1, 15), "takes a quoted string, found the end of the text"),
        ("version https://git-lfs", (1, 1), "unknown field 'version'"),
        ("<html>", (1, 1), "expected a field's name, found '<'"),
        ("layer { a.b: 1 }", (1, 10), "expected ':' or '{' after 'a', found '.'"),
        ("layer { [a.b } }", (1, 14), "expected an extension's name"),
    ],
)
def test_mistakes(text: str, place: tuple[int, int], message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse(text, source="net.prototxt")
    error = str(caught.value)
    assert error.startswith(f"net.prototxt:{place[0]}:{place[1]}: ")
    assert message in error
    assert "\n" not in error
    assert len(error) < 400


UNKNOWN = """layer {
  name: "x"
  type: "Fork"
  fork_param {
    words: RED
    words: BLUE
    text: "RED"
    numbers: 1
    numbers: -2.5
    flag: true
    inner {
      deep: 3
    }
  }
  [my.extension]: 4
}
"""


def test_unknown_fields_warn_and_are_kept() -> None:
    with pytest.warns(ProtogenWarning) as caught:
        net = parse(UNKNOWN, source="net.prototxt")
    assert [str(warning.message) for warning in caught] == [
        "net.prototxt:4:3: unknown field 'fork_param' in LayerParameter; kept as written",
        "net.prototxt:15:3: unknown field '[my.extension]' in LayerParameter; kept as written",
    ]
    fork = net.layer[0].fork_param
    assert (fork.words, fork.text, fork.numbers, fork.flag, fork.inner.deep) == (["RED", "BLUE"], "RED", [1, -2.5], True, 3)
    assert [type(fork.words[0]), type(fork.text)] == [Word, str]
    assert write(net).strip() == UNKNOWN.strip()


def test_strict_refuses_unknown_fields() -> None:
    with pytest.raises(ParseError, match=r"^net.prototxt:4:3: unknown field 'fork_param' in LayerParameter"):
        parse(UNKNOWN, source="net.prototxt", strict=True)


@pytest.mark.parametrize("name", ["kernel_d", "relu9_param", "stride_t", "my_fork_param"])
def test_names_made_after_known_ones_are_no_typos(name: str) -> None:
    with pytest.warns(ProtogenWarning, match=name):
        layer(f"convolution_param {{ {name}: 1 }}")


def test_empty_lists_are_unset_fields() -> None:
    with pytest.warns(ProtogenWarning):
        net = parse("input: [] layer { fork_list: [] }")
    assert net == Message.of("NetParameter", layer={})


@quiet
@pytest.mark.parametrize("opening", ["layer {", "layer { x {", "layer { a: { b: <", "input: [" * 3, "[", "layer { x: ["])
def test_deep_nesting_ends_in_an_error(opening: str) -> None:
    with pytest.raises(ParseError):
        parse(opening * 20_000)


@quiet
def test_depth_limit() -> None:
    parse("layer { " + "a { " * (MAX_DEPTH - 1) + "} " * MAX_DEPTH)
    with pytest.raises(ParseError, match=f"nested more than {MAX_DEPTH} deep"):
        parse("layer { " + "a { " * MAX_DEPTH + "} " * (MAX_DEPTH + 1))


@quiet
@pytest.mark.parametrize("start", ["", "name: ", "input_dim: ", "layer { debug: ", "layer { phase: ", "layer { loss_weight: -"])
@pytest.mark.parametrize("junk", ["#", "a", "1", "-", "{", "[", " ", '"', "\\", '"\\"', "1e", "_"])
def test_long_junk_takes_no_time_and_a_short_message(start: str, junk: str) -> None:
    begin = time.process_time()
    assert len(outcome(f"{start}{junk * 100_000} }}")) < 300
    assert time.process_time() - begin < 1


GOOD = """name: "net"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: 'conv' type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 1 } # comment
  convolution_param { num_output: 4 kernel_size: [3] weight_filler < type: "xavier" > bias_term: false } }
"""


@quiet
def test_every_cut_of_a_file_reads_or_is_an_error() -> None:
    outcomes = {outcome(GOOD[:end]).partition(": ")[2] for end in range(len(GOOD))}
    assert any(text.startswith("the text ends without the closing '}' of the block opened in line 2") for text in outcomes)
    assert "" in outcomes, "cut between two layers, it reads"


@quiet
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.characters()), min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_changed_characters_read_or_are_an_error(changes: list[tuple[int, str]]) -> None:
    text = list(GOOD)
    for place, character in changes:
        text[place] = character
    if not outcome("".join(text)):
        net = parse("".join(text))
        assert parse(write(net)) == net


@quiet
@given(st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_any_text_reads_or_is_an_error(text: str) -> None:
    assert "\n" not in outcome(text)


def test_how_strictly_unknown_fields_are_taken() -> None:
    slip, foreign, top = "layer { pooling_param { global_poling: true } }", "layer { pooling_param { wavelet: 3 } }", "colour: 3"
    for text, strict in ((slip, None), (slip, True), (foreign, True), (top, None), (top, True)):
        with pytest.raises(ParseError, match="unknown field") as error:
            parse(text, strict=strict)
        assert ("--no-strict" in str(error.value)) == (strict is None)
    for text, strict in ((slip, False), (foreign, False), (foreign, None), (top, False)):
        with pytest.warns(ProtogenWarning, match="kept as written"):
            assert write(parse(text, strict=strict)).count(":") == 1


def test_an_engine_of_a_fork_makes_no_difference() -> None:
    text = "layer { convolution_param { engine: OPENCL } }"
    with pytest.warns(ProtogenWarning, match="unknown engine 'OPENCL'"):
        assert "engine: OPENCL" in write(parse(text))
    with pytest.raises(ParseError, match="has no value 'OPENCL'"):
        parse(text, strict=True)
