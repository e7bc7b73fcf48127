"""The hint for maps that differ: the pooling at fault, and the option with which they fit, if one does."""

from __future__ import annotations

import pytest

import protogen
from protogen.errors import LayerError

INPUT = 'input: "data" input_shape {{ dim: 1 dim: 4 dim: {0} dim: {0} }}\n'


def pool(name: str, bottom: str, kernel: int, stride: int, rest: str = "") -> str:
    param = f"kernel_size: {kernel} stride: {stride} {rest}"
    return f'layer {{ name: "{name}" type: "Pooling" bottom: "{bottom}" top: "{name}" pooling_param {{ {param} }} }}\n'


def conv(name: str, bottom: str, kernel: int, stride: int) -> str:
    param = f"num_output: 4 kernel_size: {kernel} stride: {stride}"
    return f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" convolution_param {{ {param} }} }}\n'


def joined(kind: str, *bottoms: str) -> str:
    read = " ".join(f'bottom: "{bottom}"' for bottom in bottoms)
    return f'layer {{ name: "join" type: "{kind}" {read} top: "join" }}\n'


def error_of(text: str, **rules: str) -> str:
    with pytest.raises(LayerError) as error:
        protogen.loads(text, **rules)
    return str(error.value)


@pytest.mark.parametrize("kind", ["Concat", "Eltwise"])
def test_rounding_down(kind: str) -> None:
    text = INPUT.format(8) + pool("p", "data", 3, 2) + conv("c", "data", 3, 2) + joined(kind, "p", "c")
    message = error_of(text)
    assert message.startswith("<text>:4:7: layer 'join'")
    assert message.endswith("; with the size of Pooling 'p' rounded down, as in PyTorch and OpenVINO, they fit "
                            '(--pooling floor, or pooling="floor")')  # fmt: skip
    assert protogen.loads(text, pooling="floor").shapes["join"][2:] == (3, 3)


@pytest.mark.parametrize("kind", ["Concat", "Eltwise"])
def test_padding_on_one_side(kind: str) -> None:
    text = INPUT.format(8) + pool("p", "data", 2, 1) + joined(kind, "data", "p")
    assert error_of(text).endswith("; with Pooling 'p' padded on the right and at the bottom, as in darknet, they fit "
                                   '(--pooling same, or pooling="same")')  # fmt: skip
    assert protogen.loads(text, pooling="same").shapes["join"][2:] == (8, 8)


def test_back_to_caffes_sizes() -> None:
    text = INPUT.format(8) + pool("p", "data", 2, 1) + conv("c", "data", 2, 1) + joined("Eltwise", "p", "c")
    assert "(--pooling caffe," in error_of(text, pooling="same")


def test_only_the_pooling_on_one_of_the_ways_is_named_and_only_if_its_size_changes() -> None:
    text = INPUT.format(17) + pool("stem", "data", 2, 2) + pool("even", "stem", 3, 2) + pool("odd", "even", 3, 2)
    text += conv("c1", "stem", 3, 2) + conv("c2", "c1", 3, 2) + joined("Concat", "odd", "c2")
    assert "with the size of Pooling 'odd' rounded" in error_of(text)


@pytest.mark.parametrize(
    "text",
    [
        INPUT.format(8) + conv("c", "data", 2, 1) + joined("Concat", "data", "c"),  # no pooling
        INPUT.format(8) + pool("p", "data", 2, 2) + joined("Eltwise", "data", "p"),  # not by one pixel
        INPUT.format(8) + pool("p", "data", 3, 2, "ceil_mode: true") + conv("c", "data", 3, 2) + joined("Concat", "p", "c"),
        INPUT.format(9) + pool("p", "data", 3, 2) + conv("c", "data", 2, 1) + joined("Concat", "p", "c"),
    ],
)
def test_no_hint_where_no_value_of_the_rule_helps(text: str) -> None:
    assert "--pooling" not in error_of(text)
