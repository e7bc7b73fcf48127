"""Memory of blobs while a net runs, counted by hand."""

from __future__ import annotations

import protogen
from protogen.graph.activations import live_bytes
from protogen.net import Net

DATA = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 dim: 5 } } }\n'  # 10 values
FOUR = 4 * 10


def step(name: str, kind: str, bottom: str, top: str = "", more: str = "") -> str:
    return f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{top or name}" {more} }}\n'


def live(text: str, keep: bool = False) -> list[int]:
    net: Net = protogen.loads(DATA + text)
    tops = [op.tops if op is not None else [None] for op in net.analysis.ops]
    return live_bytes(net.layers, net.analysis.ops, tops, net.outputs, keep)


def test_a_chain_holds_two_blobs() -> None:
    chain = step("a", "Sigmoid", "x") + step("b", "Sigmoid", "a") + step("c", "Sigmoid", "b")
    assert live(chain) == [FOUR, 2 * FOUR, 2 * FOUR, 2 * FOUR]
    assert live(chain, keep=True) == [FOUR, 2 * FOUR, 3 * FOUR, 4 * FOUR]


def test_in_place_and_shared_memory_is_counted_once() -> None:
    text = step("a", "Sigmoid", "x") + step("r", "ReLU", "a", "a") + step("f", "Flatten", "a") + step("b", "Sigmoid", "f")
    assert live(text) == [FOUR, 2 * FOUR, FOUR, FOUR, 2 * FOUR]


def test_a_blob_is_held_to_its_last_reader_and_outputs_to_the_end() -> None:
    text = step("a", "Sigmoid", "x") + step("side", "Sigmoid", "a") + step("b", "Sigmoid", "a")
    text += 'layer { name: "sum" type: "Eltwise" bottom: "b" bottom: "x" top: "sum" }' + step("c", "Sigmoid", "sum")
    assert live(text) == [FOUR, 2 * FOUR, 3 * FOUR, 4 * FOUR, 4 * FOUR, 3 * FOUR]


def test_inputs_are_there_from_the_beginning() -> None:
    late = 'layer { name: "y" type: "Input" top: "y" input_param { shape { dim: 3 } } }\n'
    assert live(step("a", "Sigmoid", "x") + late)[0] == FOUR + 12


def test_unknown_shapes_count_nothing() -> None:
    assert live(step("a", "Odd", "x") + step("b", "ReLU", "a")) == [FOUR, FOUR, 0]
    assert live_bytes([], [], [], []) == []
