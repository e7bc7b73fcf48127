"""Small nets that random search found to go wrong once."""

from __future__ import annotations

import pytest

import protogen

X = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 dim: 6 dim: 6 } } }\n'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            X + 'layer { name: "like" type: "Tile" bottom: "x" top: "like" tile_param { tiles: 2 } }'
            'layer { name: "same" type: "Interp" bottom: "x" bottom: "like" top: "same" }'
            'layer { name: "out" type: "TanH" bottom: "same" top: "out" }',
            "what lends its size to a dropped layer must not become an output",
        ),
        (
            X + 'layer { name: "flip" type: "Flip" bottom: "x" top: "flip" flip_param { flip_width: false } }'
            'layer { name: "abs" type: "AbsVal" bottom: "x" top: "abs" }'
            'layer { name: "same" type: "Interp" bottom: "abs" bottom: "flip" top: "same" }'
            'layer { name: "out" type: "TanH" bottom: "same" top: "out" }',
            "nor one that a dropped layer has read",
        ),
        (
            X + 'layer { name: "same" type: "Split" bottom: "x" top: "same" }'
            'layer { name: "x2" type: "ReLU" bottom: "x" top: "x" }'
            'layer { name: "a" type: "TanH" bottom: "x" top: "a" }'
            'layer { name: "b" type: "TanH" bottom: "same" top: "b" }',
            "an input keeps its name when it is overwritten while a copy of it is still read",
        ),
        (
            X + 'layer { name: "x2" type: "Sigmoid" bottom: "x" top: "x" }'
            'layer { name: "same" type: "Split" bottom: "x" top: "same" }'
            'layer { name: "x3" type: "AbsVal" bottom: "same" top: "z" }'
            'layer { name: "x4" type: "ReLU" bottom: "x" top: "x" }'
            'layer { name: "b" type: "TanH" bottom: "same" top: "b" }'
            'layer { name: "c" type: "TanH" bottom: "x" top: "c" }',
            "also in its second version",
        ),
    ],
)  # fmt: skip
def test_folding_keeps_inputs_and_outputs(text: str, why: str) -> None:
    net = protogen.loads(text)
    inference = net.folded()
    assert (inference.inputs, set(inference.outputs)) == (net.inputs, set(net.outputs)), why
    assert protogen.verify(net, tolerance=1e-5).ok


def test_layers_behind_a_filter_state_no_number_of_rows() -> None:
    net = protogen.loads(
        X + 'layer { name: "keep" type: "Input" top: "keep" input_param { shape { dim: 2 } } }'
        'layer { name: "filter" type: "Filter" bottom: "x" bottom: "keep" top: "kept" }'
        'layer { name: "exp" type: "Exp" bottom: "kept" top: "exp" exp_param { scale: 0.5 } }'
        'layer { name: "relu" type: "ReLU" bottom: "exp" top: "relu" }'
    )
    (output,) = net.to_onnx().graph.output
    assert not output.type.tensor_type.shape.dim[0].HasField("dim_value")
    assert protogen.verify(net, inputs={"keep": [1, 0]}).ok
