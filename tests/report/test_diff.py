"""Two nets side by side."""

from __future__ import annotations

import json
import warnings

import numpy as np

import protogen
from protogen.report.diff import diff

TEXT = """
name: "a"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "prob" type: "Softmax" bottom: "conv" top: "prob" }
"""


def against(*replacements: tuple[str, str]) -> list[str]:
    text = TEXT
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    return list(diff(protogen.loads(TEXT), protogen.loads(text)).lines())


def test_equal_nets() -> None:
    found = diff(protogen.loads(TEXT), protogen.loads(TEXT))
    assert found.equal
    assert str(found) == ""


def test_defaults_written_out_are_no_change() -> None:
    assert against(("kernel_size: 3", "kernel_size: 3 bias_term: true group: 1"), ("param { lr_mult: 1 }", "param { }")) == []


def test_changed_parameters_have_both_values() -> None:
    assert against(("num_output: 4", "num_output: 6 stride: 2"), ("lr_mult: 2", "lr_mult: 0"), ('"xavier"', '"msra"')) == [
        "~ layer 'conv' (Convolution)",
        "    param[1].lr_mult: 2 -> 0",
        "    convolution_param.num_output: 4 -> 6",
        "    convolution_param.weight_filler.type: 'xavier' -> 'msra'",
        "    convolution_param.stride: [] -> [2]",
    ]


def test_layers_added_gone_and_of_another_type() -> None:
    assert against(('layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }', "")) == [
        "- layer 'relu' (ReLU)",
        "~ layer 'prob' (Softmax)",
        "    bottom: ['conv (from relu)'] -> ['conv (from bn)']",
    ]
    assert against(('name: "relu" type: "ReLU"', 'name: "tanh" type: "TanH"'))[:2] == [
        "- layer 'relu' (ReLU)",
        "+ layer 'tanh' (TanH)",
    ]
    assert against(('"ReLU"', '"TanH"')) == ["~ layer 'relu' (ReLU)", "    type: 'ReLU' -> 'TanH'"]


def test_order_of_in_place_layers_is_wiring() -> None:
    bn, relu = (
        'layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }',
        'layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }',
    )
    lines = against((f"{bn}\n{relu}", f"{relu}\n{bn}"))
    assert "    bottom: ['conv (from conv)'] -> ['conv (from relu)']" in lines


def test_the_whole_net() -> None:
    assert against(('name: "a"', 'name: "b"'), ("dim: 1 dim: 3", "dim: 2 dim: 3"))[:2] == [
        "~ net name: 'a' -> 'b'",
        "~ net inputs: data (1, 3, 8, 8) -> data (2, 3, 8, 8)",
    ]


def test_weights() -> None:
    a, b = protogen.loads(TEXT).fill(), protogen.loads(TEXT).fill()
    assert diff(a, b).equal
    weight, bias = b.weights["conv"]
    changed = weight.copy()
    changed[0, 0, 0, 0] += 0.5
    changed[1, 0, 0, 0] -= 0.25
    b.weights["conv"] = [changed, bias]
    assert str(diff(a, b)) == "~ weights 'conv' blob 0 (4, 3, 3, 3): differs by up to 0.5"
    c = protogen.loads(TEXT.replace("num_output: 4", "num_output: 5")).fill()
    assert "~ weights 'conv' blob 1: (4,) -> (5,)" in str(diff(a, c))


def test_weights_of_layers_that_one_net_lacks() -> None:
    net = protogen.loads(TEXT).fill()
    folded = protogen.loads(TEXT.replace('layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }', "")).fill()
    for a, b, sign in ((net, folded, "-"), (folded, net, "+")):
        found = diff(a, b)
        assert f"{sign} layer 'bn' (BatchNorm)" in list(found.lines())
        assert found.weights == []
    weight, bias = folded.weights["conv"]
    folded.weights["conv"] = [weight, bias + 1]
    assert [blob.layer for blob in diff(net, folded).weights] == ["conv"]


def test_summary_counts_what_was_found() -> None:
    a = protogen.loads(TEXT).fill()
    b = protogen.loads(TEXT.replace('"a"', '"b"').replace('name: "relu" type: "ReLU"', 'name: "tanh" type: "TanH"')).fill(1)
    assert diff(a, b).summary() == (
        "1 layer added, 1 gone, 1 changed; the net's name changed; weights differ in 1 blob of 1 layer"
    )


def test_weights_that_are_no_numbers() -> None:
    a, b = protogen.loads(TEXT).fill(), protogen.loads(TEXT).fill()
    for net, value in ((a, np.nan), (b, np.nan)):
        weight, bias = (blob.copy() for blob in net.weights["conv"])
        weight[0, 0, 0, 0], weight[0, 0, 0, 1] = value, np.inf
        net.weights["conv"] = [weight, bias]
    assert diff(a, b).equal
    weight = b.weights["conv"][0].copy()
    weight[0, 0, 0, 0] = 1
    b.weights["conv"] = [weight, bias]
    found = diff(a, b)
    assert not found.equal
    json.dumps(found.as_dict(), allow_nan=False)


def test_json() -> None:
    text = TEXT.replace("kernel_size: 3", "kernel_size: 5")
    found = json.loads(json.dumps(diff(protogen.loads(TEXT), protogen.loads(text)).as_dict()))
    assert found["equal"] is False
    assert found["changed"] == [
        {
            "name": "conv",
            "type": "Convolution",
            "parameters": [{"what": "convolution_param.kernel_size", "before": [3], "after": [5]}],
            "wiring": [],
        }
    ]


def test_unknown_types_and_fields() -> None:
    a = 'layer { name: "x" type: "Input" top: "x" }'
    a += ' layer { name: "m" type: "Mystery" bottom: "x" top: "y" mystery_param { k: 1 } }'
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", protogen.ProtogenWarning)
        found = diff(protogen.loads(a), protogen.loads(a.replace("k: 1", "k: 2")))
    assert str(found) == "~ layer 'm' (Mystery)\n    mystery_param.k: 1 -> 2"


def test_names_cannot_talk_to_the_terminal() -> None:
    a = 'layer { name: "x" type: "Input" top: "x" }'
    b = a + ' layer { name: "\\033[31mred" type: "ReLU" bottom: "x" top: "y" }'
    assert "\x1b" not in str(diff(protogen.loads(a), protogen.loads(b)))
