"""Folding: what merges into what, what must not, and that the numbers stay."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import protogen
from protogen import NetBuilder
from tests.nets import begun
from tests.running import randomised


def check(b: NetBuilder, seed: int = 0) -> protogen.Net:
    """The folded net, after holding it against the unfolded one: outputs, their names, and the net given."""
    net = randomised(b.build(), seed)
    before = net.to_prototxt()
    result = net.folded()
    assert net.to_prototxt() == before
    assert set(result.outputs) == set(net.outputs)
    assert result.inputs == net.inputs
    assert net.to_torch(fold=True).output_names == net.outputs
    assert {name: result.shapes[name] for name in result.outputs} == {name: net.shapes[name] for name in net.outputs}
    rng = np.random.default_rng(seed + 1)
    inputs = [torch.tensor(rng.standard_normal(net.shapes[name])) for name in net.inputs]
    # In double precision only a wrong formula shows, not rounding.
    with torch.no_grad():
        expected, actual = net.to_torch().double().blobs(*inputs), result.to_torch().double().blobs(*inputs)
    for name in net.outputs:
        scale = max(1.0, float(expected[name].abs().max()))
        assert float((expected[name] - actual[name]).abs().max()) <= 1e-5 * scale, name  # weights are rounded to float32
    return result


def types(net: protogen.Net) -> list[str]:
    return [layer.type for layer in net.layers if layer.type != "Input"]


MAKERS: dict[str, Callable[[NetBuilder, bool], str]] = {
    "Convolution": lambda b, bias: b.conv("data", 6, 3, bias_term=bias, name="made"),
    "Convolution in groups": lambda b, bias: b.conv("data", 8, 3, group=2, bias_term=bias, name="made"),
    "depthwise": lambda b, bias: b.depthwise_conv("data", 3, multiplier=2, bias_term=bias, name="made"),
    "Deconvolution": lambda b, bias: b.deconv("data", 6, 4, stride=2, bias_term=bias, name="made"),
    "Deconvolution in groups": lambda b, bias: b.deconv("data", 8, 4, stride=2, group=2, bias_term=bias, name="made"),
    "InnerProduct": lambda b, bias: b.fc("data", 6, bias_term=bias, name="made"),
    "InnerProduct transposed": lambda b, bias: b.fc("data", 6, bias_term=bias, transpose=True, name="made"),
    "DepthwiseConvolution": lambda b, bias: b.conv(
        "data", 4, 3, group=4, bias_term=bias, type="DepthwiseConvolution", name="made"
    ),
}


@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "not in place"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("maker", MAKERS)
def test_batch_norm_and_scale_behind(maker: str, bias: bool, in_place: bool) -> None:
    b = begun((2, 4, 9, 9))
    made = MAKERS[maker](b, bias)
    b.relu(b.bn(made, in_place=in_place, name=None if in_place else "normalised"))
    result = check(b)
    assert [kind for kind in types(result) if kind in ("BatchNorm", "Scale")] == []
    assert len(result.layers) == 3
    assert result.layers[1].name == "made"
    assert len(result.param_shapes["made"]) == 2, "the shift becomes a bias"


def test_scale_alone_and_bias_alone() -> None:
    for kind in ("Scale", "Bias"):
        b = begun((2, 4, 9, 9))
        b.conv(5, 3, name="conv", bias_term=False)
        b.layer(kind, "conv", name="affine", top="out")
        result = check(b)
        assert types(result) == ["Convolution"]
        assert result.outputs == ["out"]


def test_every_layer_of_a_chain_of_affine_layers() -> None:
    b = begun((2, 4, 9, 9))
    b.bn(b.bn(b.conv(5, 3, name="conv")))
    b.scale("conv", bias_term=True, name="last")
    result = check(b)
    assert types(result) == ["Convolution"]
    assert result.outputs == ["last"]


def test_batch_norm_before_a_convolution_stays_in_front() -> None:
    """Pre-activation: padding comes after BatchNorm, so merging forwards would be wrong at the border."""
    b = begun((2, 4, 9, 9))
    b.relu(b.bn("data", in_place=False, name="pre"))
    b.conv(6, 3, pad=1, name="conv")
    result = check(b)
    assert types(result) == ["Scale", "ReLU", "Convolution"], "the pair becomes one Scale"


def test_batch_norm_behind_a_relu_or_a_pool_stays() -> None:
    for between in (lambda b: b.relu(), lambda b: b.pool("MAX", 2)):
        b = begun((2, 4, 9, 9))
        b.conv(6, 3, name="conv")
        between(b)
        b.bn()
        assert types(check(b))[-1] == "Scale"


def test_a_blob_read_twice_is_not_folded_into() -> None:
    b = begun((2, 4, 9, 9))
    conv = b.conv(6, 3, name="conv")
    normal = b.bn(conv, in_place=False, name="normal")
    b.eltwise(conv, normal, name="sum")
    assert types(check(b)) == ["Convolution", "Scale", "Eltwise"]


def test_both_readers_see_the_folded_blob() -> None:
    b = begun((2, 4, 9, 9))
    conv = b.bn(b.conv(6, 3, name="conv"))
    b.eltwise(b.relu(conv, in_place=False, name="left"), b.sigmoid(conv, in_place=False, name="right"), name="sum")
    assert types(check(b)) == ["Convolution", "ReLU", "Sigmoid", "Eltwise"]


def test_what_is_folded_into_takes_the_last_name() -> None:
    b = begun((2, 4, 9, 9))
    b.conv(6, 3, name="conv")
    b.bn("conv", in_place=False, name="normal")
    result = check(b)
    assert result.outputs == ["normal"]


def test_shared_weights_are_not_folded() -> None:
    """Two convolutions of one kernel, normalised differently: a merged kernel would be wrong for the other."""
    b = begun((2, 4, 9, 9))
    outs = []
    for side in ("left", "right"):
        x = b.conv("data", 6, 3, bias_term=False, name=side, param=[{"name": "kernel"}])
        outs.append(b.bn(x))
    b.eltwise(*outs, name="sum")
    result = check(b)
    assert types(result).count("Scale") == 2
    assert result.shared_blobs == {("right", 0): ("left", 0)}


def test_shared_batch_norm_stays_right() -> None:
    b = begun((2, 4, 9, 9))
    for side in ("left", "right"):
        b.conv("data", 6, 3, name=side)
        b.layer("BatchNorm", side, name=f"{side}/bn", in_place=True, param=[{"name": f"stat{i}"} for i in range(3)])
    b.eltwise("left", "right", name="sum")
    check(b)


def test_a_scale_by_another_blob_stays() -> None:
    b = begun((2, 4, 9, 9))
    conv = b.conv(6, 3, name="conv")
    gate = b.flatten(b.sigmoid(b.global_pool(conv, name="pool")), name="gate")
    b.scale(conv, gate, axis=0, name="gated")
    assert "Scale" in types(check(b))


def test_a_scale_along_another_axis_stays_right() -> None:
    b = begun((2, 4, 5, 5))
    b.conv(6, 1, name="conv")
    b.layer("Scale", "conv", name="rows", axis=2, num_axes=1, top="rows")
    assert "Scale" in types(check(b))


def test_batch_norm_with_its_batchs_own_statistics_is_not_folded() -> None:
    b = begun((2, 4, 9, 9))
    b.conv(6, 3, name="conv")
    b.bn(use_global_stats=False)
    assert "BatchNorm" in types(check(b))


def test_empty_statistics() -> None:
    """A factor of 0 (no statistics yet) means mean and variance 0, as in Caffe, and no division by zero."""
    b = begun((2, 4, 9, 9))
    b.bn(b.conv(6, 3, name="conv"))
    net = randomised(b.build())
    net.weights["conv/bn"] = [np.ones(6), np.ones(6), np.zeros(1)]
    x = torch.randn(2, 4, 9, 9)
    torch.testing.assert_close(net.to_torch(fold=True)(x), net.to_torch()(x), rtol=1e-4, atol=1e-3)


# ---- Dropout and other layers that do nothing


def test_dropout_goes() -> None:
    b = begun((2, 4, 9, 9))
    b.dropout(b.relu(b.conv(6, 3, name="conv")))
    b.fc(5, name="fc")
    assert types(check(b)) == ["Convolution", "ReLU", "InnerProduct"]


def test_dropout_between_a_convolution_and_its_batch_norm() -> None:
    b = begun((2, 4, 9, 9))
    b.conv(6, 3, name="conv")
    b.bn(b.dropout("conv", in_place=False, name="dropped"), in_place=False, name="out")
    assert types(check(b)) == ["Convolution"]


def test_a_dropout_that_makes_an_output_leaves_its_name() -> None:
    b = begun((2, 4, 9, 9))
    b.dropout(b.fc(5, name="fc"), in_place=False, name="out")
    result = check(b)
    assert result.outputs == ["out"]
    assert types(result) == ["InnerProduct"]


def test_an_output_that_equals_a_blob_others_read() -> None:
    b = begun((2, 4, 9, 9))
    b.conv(6, 3, name="conv")
    b.dropout("conv", in_place=False, name="out")
    b.relu("conv", in_place=False, name="other")
    result = check(b)
    assert result.outputs == ["out", "other"]


def test_an_output_that_equals_an_input() -> None:
    b = begun((2, 4, 9, 9))
    b.dropout("data", in_place=False, name="out")
    assert check(b).outputs == ["out"]


def test_split() -> None:
    b = begun((2, 4, 9, 9))
    b.conv(6, 3, name="conv")
    one, two = b.layer("Split", "conv", top=["one", "two"])
    b.eltwise(b.bn(one, in_place=False, name="n"), two, name="sum")
    assert "Split" not in types(check(b))


def test_two_outputs_of_a_split() -> None:
    b = begun((2, 4, 9, 9))
    b.conv(6, 3, name="conv")
    b.layer("Split", "conv", top=["one", "two"])
    assert check(b).outputs == ["one", "two"]


def test_in_place_on_a_blob_that_was_split_off() -> None:
    """The ReLU overwrites only its own copy, also when the copying layer is gone."""
    b = begun((2, 4, 9, 9))
    b.conv(6, 3, name="conv")
    b.layer("Split", "conv", top=["one", "two"])
    b.relu("one")
    b.eltwise("one", "two", name="sum")
    check(b)


def test_in_place_on_a_dropped_blob_that_is_read_elsewhere() -> None:
    b = begun((2, 4, 9, 9))
    b.conv(6, 3, name="conv")
    b.relu(b.dropout("conv", in_place=False, name="copy"))
    b.eltwise("conv", "copy", name="sum")
    check(b)


def test_outputs_keep_their_order() -> None:
    """BatchNorm behind another output merges into a convolution before it."""
    b = begun((2, 4, 9, 9))
    b.conv(6, 3, name="conv")
    b.relu("data", in_place=False, name="first")
    b.bn("conv", in_place=False, name="second")
    net = randomised(b.build())
    assert net.outputs == ["first", "second"]
    x = torch.randn(2, 4, 9, 9)
    for plain, merged in zip(net.to_torch()(x), net.to_torch(fold=True)(x)):
        torch.testing.assert_close(merged, plain, rtol=1e-4, atol=1e-4)
    assert [value.name for value in net.to_onnx(outputs=net.outputs).graph.output] == net.outputs


def test_folding_twice_changes_nothing_more() -> None:
    b = begun((2, 4, 9, 9))
    b.fc(b.dropout(b.relu(b.bn(b.conv(6, 3, name="conv")))), 3)
    once = check(b)
    assert once.folded().to_prototxt() == once.to_prototxt()


def test_a_folded_net_is_a_net() -> None:
    """It writes, reads back, and takes its own weights from a file."""
    net = randomised(protogen.models.peleenet(size=32, classes=5))
    result = net.folded()
    assert not {"BatchNorm", "Scale"} & set(types(result))
    again = protogen.loads(result.to_prototxt())
    assert again.param_shapes == result.param_shapes


# ---- any small net


@st.composite
def nets(draw: st.DrawFn) -> NetBuilder:
    """Up to ten layers over random earlier blobs, in place or not."""
    b = NetBuilder("random")
    blobs = [b.input("data", (1, 4, 6, 6))]
    for i in range(draw(st.integers(1, 10))):
        kind = draw(st.sampled_from(["conv", "bn", "scale", "relu", "dropout", "sum", "split", "bias", "deconv", "pool"]))
        x = draw(st.sampled_from(blobs))
        in_place = draw(st.booleans()) and x != "data"
        name = f"l{i}"
        if kind in ("conv", "deconv"):
            made = getattr(b, kind)(x, 4, 1, bias_term=draw(st.booleans()), group=draw(st.sampled_from([None, 2])), name=name)
        elif kind == "bn":
            made = b.bn(x, in_place=in_place, scale=draw(st.booleans()), name=name)
        elif kind in ("relu", "dropout"):
            made = getattr(b, kind)(x, in_place=in_place, name=name)
        elif kind == "sum":
            made = b.eltwise(x, draw(st.sampled_from(blobs)), name=name)
        elif kind == "split":
            blobs += b.layer("Split", x, top=[f"{name}a", f"{name}b"], name=name)
            continue
        elif kind == "pool":
            made = b.pool(x, "MAX", 3, stride=1, pad=1, name=name)
        else:
            made = b.layer(kind.capitalize(), x, name=name, in_place=in_place)
        if made not in blobs:
            blobs.append(made)
    return b


@settings(max_examples=60, deadline=None)
@given(nets(), st.integers(0, 3))
def test_any_net(b: NetBuilder, seed: int) -> None:
    check(b, seed)


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
