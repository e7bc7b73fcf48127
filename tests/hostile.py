"""Nets and command lines of kinds that once went wrong, in endless variations, for the fuzz tests."""

from __future__ import annotations

import random
from collections.abc import Callable

Draw = random.Random
NAMES = [
    "data",
    "conv",
    "层",
    "名前",
    "слой",
    "naïve",
    "a/b",
    "a.b",
    "two\nlines",
    "\x1b[31m",
    "\u202eabc",
    "-o",
    "{{ 7 * 7 }}",
    "'",
    "",
]
NOT_UTF8 = [b"\xff\xfe", b"caf\xe9", b"\xed\xa0\x80", b"\x80", b"\xc3"]
NUMBERS = [
    "0",
    "-1",
    "1",
    "2",
    "3",
    "7",
    "64",
    "65537",
    "2147483647",
    "4294967295",
    "99999999999",
    "1e3",
    "1e39",
    "nan",
    "-inf",
    "0x10",
]


def layer(type: str, bottoms: list[str], tops: list[str], fields: str = "", name: str = "") -> str:
    """A layer of names as they are, quoted."""
    ends = "".join(f" bottom: {quoted(bottom)}" for bottom in bottoms) + "".join(f" top: {quoted(top)}" for top in tops)
    return f'layer {{ name: {quoted(name or (tops or bottoms or ["x"])[0])} type: "{type}"{ends} {fields} }}\n'


def quoted(name: str) -> str:
    """A string as a prototxt has it."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def source(draw: Draw, name: str = "data", dims: tuple[int, ...] = (1, 3, 8, 8)) -> str:
    shape = " ".join(f"dim: {draw.choice(NUMBERS) if draw.random() < 0.05 else dim}" for dim in dims)
    return layer("Input", [], [name], f"input_param {{ shape {{ {shape} }} }}")


def conv(draw: Draw, bottom: str, top: str, fields: str = "", name: str = "") -> str:
    outputs = draw.choice(NUMBERS) if draw.random() < 0.05 else draw.randint(1, 6)
    window = f"num_output: {outputs} kernel_size: {draw.randint(1, 4)} pad: {draw.randint(0, 2)} stride: {draw.randint(1, 2)}"
    return layer("Convolution", [bottom], [top], f"convolution_param {{ {window} }} {fields}", name)


def shared_shapes(draw: Draw) -> bytes:
    """Layers that share weights, in whatever shapes."""
    mode = draw.choice(["", " share_mode: PERMISSIVE", " share_mode: STRICT"])
    share = f'param {{ name: "w"{mode} }}' + draw.choice(["", ' param { name: "w" }', ' param { name: "b" }'])
    text, alike = source(draw), draw.random() < 0.5
    window = "num_output: 3 kernel_size: 1"
    for number in range(draw.randint(2, 4)):
        bottom = f"c{number - 1}" if number and draw.random() < 0.7 else "data"
        if alike or draw.random() < 0.4:
            text += layer("Convolution", [bottom], [f"c{number}"], f"convolution_param {{ {window} }} {share}")
        elif draw.random() < 0.5:
            text += conv(draw, bottom, f"c{number}", share)
        else:
            outputs = draw.choice([3, 3, 6])
            text += layer("InnerProduct", [bottom], [f"c{number}"], f"inner_product_param {{ num_output: {outputs} }} {share}")
    return text.encode()


def other_bytes(draw: Draw) -> bytes:
    """Names that are not UTF-8."""
    wrong = draw.choice(NOT_UTF8)
    text = (source(draw) + conv(draw, "data", "NAME") + layer("ReLU", ["NAME"], ["NAME"], name="relu")).encode()
    return text.replace(b"NAME", wrong + draw.choice([b"", b"x"]), draw.choice([-1, 1, 2, 3]))


def any_names(draw: Draw) -> bytes:
    """Names of any letters, alike or empty."""
    one, two, three = (draw.choice(NAMES) + draw.choice(["", "", "1"]) for _ in range(3))
    text = f"name: {quoted(three)}\n" + source(draw, one) + conv(draw, one, two, name=draw.choice(NAMES))
    return (text + layer("ReLU", [two], [draw.choice([two, three])], name=draw.choice(NAMES))).encode()


def huge_tokens(draw: Draw) -> bytes:
    """Strings, numbers, blanks and comments of some hundred kilobytes."""
    size = draw.randint(100_000, 400_000)
    kind = draw.randrange(6)
    if kind == 0:
        return (source(draw, "x" * size) + conv(draw, "x" * size, "y")).encode()
    text = source(draw) + conv(draw, "data", "conv")
    if kind == 1:
        return text.replace("num_output: ", "num_output: " + "1" * size).encode()
    if kind == 2:
        return text.replace("pad: ", f"pad: 0.{'0' * size}").encode()
    filling = {3: " " * size, 4: "#" * size + "\n", 5: "\n" * size}[kind]
    at = draw.randrange(len(text))
    return (text[:at] + filling + text[at:]).encode()


def in_place(draw: Draw) -> bytes:
    """Layers that work in place: on an input, several times, or with another shape than their bottom's."""
    text, below = source(draw), "data"
    for number in range(draw.randint(1, 4)):
        kind = draw.randrange(15)
        if kind == 0:
            text += conv(draw, below, below, name=f"c{number}")
        elif kind == 1:
            text += layer("Pooling", [below], [below], "pooling_param { kernel_size: 2 stride: 2 }", f"p{number}")
        elif kind == 2:
            text += layer("Flatten", [below], [below], name=f"f{number}")
        else:
            text += layer(
                draw.choice(["ReLU", "Power", "Dropout", "BatchNorm", "Scale", "Softmax"]), [below], [below], name=f"r{number}"
            )
        if draw.random() < 0.3:
            text += conv(draw, below, f"t{number}")
            below = f"t{number}"
    return text.encode()


def odd_tops(draw: Draw) -> bytes:
    """Tops without a name, twice the same, too few, too many."""
    tops = [draw.choice(["", "a", "a", "b", "c", "d", "data"]) for _ in range(draw.choice([0, 1, 1, 1, 2, 3, 4]))]
    kind = draw.choice(["Split", "Slice", "Convolution", "ReLU", "Softmax", "Silence", "Concat"])
    fields = "convolution_param { num_output: 2 kernel_size: 1 }" if kind == "Convolution" else ""
    return (source(draw) + layer(kind, ["data"] * draw.choice([0, 1, 1, 1, 2]), tops, fields, "odd")).encode()


def many_axes(draw: Draw) -> bytes:
    """Shapes of more axes than Caffe allows, or nearly."""
    axes = draw.choice([0, 1, 5, 5, 31, 32, 32, 33, 40, 300])
    text = source(draw, dims=(1,) * axes)
    kind = draw.choice(["ReLU", "Softmax", "Flatten", "InnerProduct", "Reduction", "Split", "Scale"])
    fields = "inner_product_param { num_output: 2 }" if kind == "InnerProduct" else ""
    text += layer(kind, ["data"], ["y"], fields)
    shape = " ".join(["dim: 1"] * draw.choice([4, 31, 32, 32, 33, 50]))
    return (
        text.encode()
        if draw.random() < 0.5
        else (text + layer("Reshape", ["data"], ["z"], f"reshape_param {{ shape {{ {shape} }} }}")).encode()
    )


def recurrent(draw: Draw) -> bytes:
    """Recurrent layers of many steps."""
    steps, streams = draw.choice([1, 2, 30, 100, 300]), draw.randint(1, 2)
    kind, static = draw.choice(["LSTM", "RNN"]), draw.random() < 0.2
    text = source(draw, "x", (steps, streams, 3)) + source(draw, "cont", (steps, streams))
    text += source(draw, "s", (streams, 2)) if static else ""
    outputs = draw.choice(["", "", "expose_hidden: true "]) + f"num_output: {draw.randint(1, 4)}"
    return (text + layer(kind, ["x", "cont", *(["s"] if static else [])], ["h"], f"recurrent_param {{ {outputs} }}")).encode()


def many_tops(draw: Draw) -> bytes:
    """One blob cut into many, and joined again."""
    number = draw.choice([2, 10, 100, 400])
    tops = [f"t{i}" for i in range(number)]
    text = source(draw, dims=(1, number + draw.choice([0, 0, 0, 1]), 2, 2))
    text += layer(draw.choice(["Slice", "Slice", "Split"]), ["data"], tops, name="cut")
    return (text + layer("Concat", draw.sample(tops, min(number, draw.randint(1, number))), ["joined"])).encode()


NETS: dict[str, Callable[[Draw], bytes]] = {
    kind.__name__: kind
    for kind in (
        shared_shapes, other_bytes, any_names, huge_tokens, in_place, odd_tops, many_axes, recurrent, many_tops,
    )
}  # fmt: skip


def command(draw: Draw) -> list[str]:
    """A command line for net.prototxt, with options of odd numbers."""
    numbers = ["nan", "-1", "inf", "1e39", "0", "1/255", "1/0", "0.5", "1,2,3", "1,nan,3", "", "x", "-0", "1e-400"]
    kind = draw.choice(["summary", "fold", "upgrade", "convert", "convert", "convert", "verify"])
    words = [kind, "net.prototxt"]
    if kind in ("convert", "fold", "upgrade"):
        words += [
            "-o",
            draw.choice([f"out.{ending}" for ending in ("onnx", "onnx", "pth", "prototxt", "caffemodel", "h5", "pt3")]),
        ]
    for option in draw.sample(
        ["--mean", "--scale", "--seed", "--opset", "--input", "--tolerance", "--phase"], draw.randint(0, 2)
    ):
        words += [option, draw.choice(numbers) if option != "--input" else f"data={draw.choice(numbers)}"]
    return words
