"""Net surgery: what the new nets compute, whose weights they have, what their prototxt says, and what is told."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch

import protogen
from protogen import Net, NetError, ProtogenNote, training
from tests.nets import SSD
from tests.random_nets import random_net

NET = """
name: "net"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "conv2" type: "Convolution" bottom: "conv1" top: "conv2"
        convolution_param { num_output: 4 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "sum" type: "Eltwise" bottom: "conv1" bottom: "conv2" top: "sum" }
layer { name: "fc8" type: "InnerProduct" bottom: "sum" top: "fc8"
        inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "drop8" type: "Dropout" bottom: "fc8" top: "fc8" }
layer { name: "prob" type: "Softmax" bottom: "fc8" top: "prob" }
"""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ProtogenNote)
        yield


@pytest.fixture
def net() -> Net:
    return protogen.loads(NET).fill(3)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype(np.float32)


def notes(call: Callable[[], Any]) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call()
    return "\n".join(str(warning.message) for warning in caught)


def values(net: Net, image: np.ndarray) -> dict[str, np.ndarray]:
    """Every blob, by PyTorch."""
    module: Any = net.to_torch()
    return {name: value.detach().numpy() for name, value in module.blobs(torch.from_numpy(image)).items()}


def output(net: Net, image: np.ndarray) -> np.ndarray:
    return values(net, image)[net.outputs[-1]]


def again(net: Net) -> Net:
    """The net read back from its own prototxt, with its weights."""
    twin = protogen.loads(net.to_prototxt(), phase=net.phase)
    twin.weights = dict(net.weights)
    return twin


def written(text: str, net: Net) -> Net:
    """A net written by hand, with the weights of another."""
    twin = protogen.loads(text)
    twin.weights = {layer: net.weights[layer] for layer in twin.param_shapes}
    return twin


# What surgery gives, and the same net as a person writes it.
OPERATIONS: dict[str, tuple[Callable[[Net], Net], Callable[[str], str]]] = {
    "without a layer in place": (
        lambda net: net.without("relu1"),
        lambda text: text.replace('layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }\n', ""),
    ),
    "without a layer between": (
        lambda net: net.without("drop8", "prob"),
        lambda text: text[: text.index('layer { name: "drop8"')],
    ),
    "replaced": (
        lambda net: net.replaced("relu1", "ReLU", negative_slope=0.1),
        lambda text: text.replace('top: "conv1" }', 'top: "conv1" relu_param { negative_slope: 0.1 } }'),
    ),
    "changed": (
        lambda net: net.changed({"sum": {"operation": "MAX"}, "prob": {"axis": 0}}),
        lambda text: text.replace('top: "sum" }', 'top: "sum" eltwise_param { operation: MAX } }').replace(
            'top: "prob" }', 'top: "prob" softmax_param { axis: 0 } }'
        ),
    ),
    "inserted after": (
        lambda net: net.inserted("Power", after="conv1", name="twice", scale=2.0, shift=0.5),
        lambda text: text.replace('bottom: "conv1"', 'bottom: "twice"').replace(
            'layer { name: "relu1" type: "ReLU" bottom: "twice" top: "conv1" }',
            'layer { name: "twice" type: "Power" bottom: "conv1" top: "twice" power_param { scale: 2 shift: 0.5 } }\n'
            'layer { name: "relu1" type: "ReLU" bottom: "twice" top: "twice" }',
        ),
    ),
    "inserted in place": (
        lambda net: net.inserted("Power", after="conv1", in_place=True, scale=2.0),
        lambda text: text.replace(
            'layer { name: "relu1"',
            'layer { name: "power1" type: "Power" bottom: "conv1" top: "conv1" power_param { scale: 2 } }\nlayer { name: "relu1"',
        ),
    ),
    "inserted before": (
        lambda net: net.inserted("Power", before="conv2", name="p", scale=3.0),
        lambda text: text.replace(
            'layer { name: "conv2" type: "Convolution" bottom: "conv1"',
            'layer { name: "p" type: "Power" bottom: "conv1" top: "p" power_param { scale: 3 } }\n'
            'layer { name: "conv2" type: "Convolution" bottom: "p"',
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("operate", "edit"), OPERATIONS.values(), ids=list(OPERATIONS))
def test_it_is_the_net_that_a_person_would_write(
    net: Net, image: np.ndarray, operate: Callable[[Net], Net], edit: Callable[[str], str]
) -> None:
    result, expected = operate(net), written(edit(NET), net)
    assert result.to_prototxt() == expected.to_prototxt()
    np.testing.assert_array_equal(output(result, image), output(expected, image))
    np.testing.assert_array_equal(output(again(result), image), output(expected, image))
    assert net.to_prototxt() == protogen.loads(NET).to_prototxt()  # a net is never changed itself


def test_weights_follow_without_a_copy(net: Net, image: np.ndarray) -> None:
    result = net.renamed({"conv2": "conv2b", "data": "images"})
    assert np.shares_memory(result.weights["conv2b"][0], net.weights["conv2"][0])
    assert result.inputs == ["images"]
    np.testing.assert_array_equal(output(result, image), output(net, image))
    assert list(result.weights) == ["conv1", "conv2b", "fc8"]


def test_another_number_of_classes(net: Net, image: np.ndarray) -> None:
    result = net.with_classes(4)
    assert result.shapes["prob"] == (2, 4)
    assert np.shares_memory(result.weights["conv1"][0], net.weights["conv1"][0])
    assert not result.weights.missing and np.abs(result.weights["fc8"][0]).max() > 0
    np.testing.assert_array_equal(values(result, image)["sum"], values(net, image)["sum"])
    text = notes(lambda: net.with_classes(4))
    assert "filled anew by the layers' fillers: 'fc8'" in text and "(4, 144), the weights' (10, 144)" in text
    assert "other numbers of classes in 'fc8'" in text
    assert net.with_classes(4, seed=1).weights["fc8"][0][0, 0] != result.weights["fc8"][0][0, 0]


def test_zeros_of_layers_without_fillers_are_told() -> None:
    plain = protogen.loads(NET.replace('weight_filler { type: "xavier" }', ""))
    plain.weights = dict(protogen.loads(NET).fill().weights)
    assert "(zeros in 'fc8', which name none)" in notes(lambda: plain.with_classes(4))


def test_a_net_without_weights_gets_none() -> None:
    result = protogen.loads(NET).with_classes(4)
    assert list(result.weights) == []
    assert "filled" not in notes(lambda: protogen.loads(NET).with_classes(4))


def test_classes_of_layers_that_are_named() -> None:
    net = protogen.loads(NET)
    assert net.with_classes(layers={"conv2": 4, "fc8": 6}).shapes["prob"] == (2, 6)
    with pytest.raises(NetError, match=r"layer 'prob' .Softmax. has neither num_output nor num_classes"):
        net.with_classes(layers={"prob": 4})
    for wrong in ({}, {"classes": 4, "layers": {"fc8": 4}}):
        with pytest.raises(NetError, match=r"say with_classes\(N\), or"):
            net.with_classes(**wrong)  # type: ignore[arg-type]
    with pytest.raises(NetError, match="at least one class, not 0"):
        net.with_classes(0)


def test_an_ssd_detects_other_classes() -> None:
    net = protogen.loads(SSD).fill(1)
    result = net.with_classes(5)
    assert result.shapes["conf_flat"][1] * 4 == 5 * result.shapes["loc_flat"][1]
    x = np.random.default_rng(0).standard_normal((1, 3, 16, 16)).astype(np.float32)
    np.testing.assert_array_equal(values(result, x)["loc_flat"], values(net, x)["loc_flat"])
    assert again(result).with_classes(3).to_prototxt() == net.to_prototxt()  # and back


def train_val(phase: str = "TRAIN") -> Net:
    b = protogen.NetBuilder("tv", phase="TRAIN", defaults=training.with_train_defaults())
    x = b.conv(b.data(16, train_batch=4, val_batch=2), 8, 3, name="conv1")
    training.losses(b, b.fc(x, 10, bias_term=True, name="fc8"))
    return b.build().at(phase).fill()


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_a_net_to_train_keeps_both_phases(phase: str) -> None:
    """Fine-tuning: other classes, and a name under which Caffe finds no old weights."""
    result = train_val(phase).with_classes(6).renamed({"fc8": "fc6"})
    for other in ("TRAIN", "TEST"):
        twin = protogen.loads(result.to_prototxt(), phase=other)
        assert twin.shapes["fc6"] == ({"TRAIN": 4, "TEST": 2}[other], 6)
        assert twin.layer("loss").bottoms == ["fc6", "label"]
    assert protogen.loads(result.to_prototxt()).layer("accuracy/top5").bottoms == ["fc6", "label"]
    assert [layer.lr_mult for layer in result.layer("fc6").message.param] == [1, 2]
    with pytest.raises(NetError, match="top_k 5 is more than the 4 classes"):  # of the phase that is not shown, too
        train_val(phase).with_classes(4)


def test_another_number_of_input_channels(net: Net) -> None:
    result = net.with_input_channels(1)
    assert result.shapes["data"] == (2, 1, 8, 8)
    assert not result.weights.missing
    assert "filled anew by the layers' fillers: 'conv1'" in notes(lambda: net.with_input_channels(1))
    assert list(protogen.loads(result.to_prototxt()).layer("data").message.input_param.shape[0].dim) == [2, 1, 8, 8]
    reshaped = protogen.loads(NET, inputs={"data": (1, 3, 12, 12)}).with_input_channels(4)
    assert reshaped.shapes["data"] == (1, 4, 12, 12)


def test_inputs_that_are_not_clear_are_refused() -> None:
    two = NET.replace(
        'layer { name: "data" type: "Input" top: "data"', 'layer { name: "data" type: "Input" top: "data" top: "data2"'
    ).replace('name: "conv2" type: "Convolution" bottom: "conv1"', 'name: "conv2" type: "Convolution" bottom: "data2"')
    two = two.replace('bottom: "conv2" top: "sum"', 'bottom: "conv1" top: "sum"')
    with pytest.raises(NetError, match=r"'data', 'data2' of the net's inputs have images; say .*inputs="):
        protogen.loads(two).with_input_channels(1)
    result = protogen.loads(two).with_input_channels(1, inputs=["data2"])
    assert (result.shapes["data"], result.shapes["data2"]) == ((2, 3, 8, 8), (2, 1, 8, 8))
    with pytest.raises(NetError, match=r"follow from the data of layer 'data' .Data.: .*force_gray"):
        train_val().with_input_channels(1, inputs=["data"])
    with pytest.raises(NetError, match="no input 'dat'"):
        protogen.loads(NET).with_input_channels(1, inputs=["dat"])
    with pytest.raises(NetError, match="at least one channel"):
        protogen.loads(NET).with_input_channels(0)


def test_everything_that_no_longer_fits_is_named() -> None:
    two = protogen.loads(NET + 'layer { name: "more" type: "Eltwise" bottom: "conv2" bottom: "conv1" top: "more" }')
    with pytest.raises(NetError) as caught:
        two.changed({"conv2": {"num_output": 5}})
    assert caught.value.lines[0] == "changed like this, 2 of the net's layers would not fit:"
    assert ["layer 'sum' (Eltwise)" in caught.value.lines[1], "layer 'more' (Eltwise)" in caught.value.lines[2]] == [True] * 2


def test_a_field_is_left_to_its_default() -> None:
    net = protogen.loads(NET.replace("num_output: 4 kernel_size: 3", "num_output: 4 kernel_size: 3 pad: 1 bias_term: false"))
    result = net.changed({"conv1": {"pad": None, "bias_term": None}, "conv2": {"pad": None, "param": None}})
    assert result.to_prototxt() == protogen.loads(NET).to_prototxt()
    sloped = NET.replace('top: "conv1" }', 'top: "conv1" relu_param { negative_slope: 0.1 } }')
    assert protogen.loads(sloped).changed({"relu1": {"negative_slope": None}}).to_prototxt() == protogen.loads(NET).to_prototxt()
    with pytest.raises(NetError, match=r"layer 'conv1' .Convolution.: unknown field 'pads'; did you mean 'pad'"):
        net.changed({"conv1": {"pads": None}})


def test_weights_of_changed_layers_are_named(net: Net) -> None:
    text = notes(lambda: net.changed({"conv1": {"kernel_size": [1]}}))
    assert "without weights now" in text
    assert all(f"layer {name!r}, blob 0: the net's shape is" in text for name in ("conv1", "fc8"))
    assert net.changed({"conv1": {"kernel_size": [1]}}).weights.missing == ["conv1", "fc8"]


def test_a_layer_replaced_by_one_of_the_same_shape_has_no_weights_of_the_old_one(net: Net) -> None:
    result = net.replaced("conv2", "Convolution", num_output=4, kernel_size=1)
    assert result.weights.missing == ["conv2"]


@pytest.mark.parametrize(
    ("operate", "message"),
    [
        (lambda net: net.inserted("ReLU"), "say where the new layer goes"),
        (lambda net: net.inserted("ReLU", after="conv1", before="conv2"), "say where the new layer goes"),
        (lambda net: net.inserted("Pooling", after="conv1", kernel=3), "layer 'pooling1' .Pooling.: unknown field 'kernel'"),
        (lambda net: net.changed({"conv1": {"num_outputs": 3}}), "layer 'conv1' .Convolution.: .*did you mean 'num_output'"),
        (lambda net: net.replaced("conv", "ReLU"), "no layer 'conv' in this net"),
        (lambda net: net.replaced("relu1", "ReLU", slope=1), "layer 'relu1' .ReLU.: unknown field 'slope'"),
    ],
)
def test_mistakes_are_told(net: Net, operate: Callable[[Net], Net], message: str) -> None:
    with pytest.raises(NetError, match=message):
        operate(net)


def test_weights_in_the_prototxt_move_along() -> None:
    text = """
    layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }
    layer { name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param { num_output: 1 bias_term: false }
            blobs { shape { dim: 1 dim: 2 } data: 3 data: 4 } }
    layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" inner_product_param { num_output: 2 bias_term: false }
            blobs { shape { dim: 2 dim: 1 } data: 5 data: 6 } }"""
    result = protogen.loads(text).with_classes(3)
    np.testing.assert_array_equal(result.weights["a"][0], [[3, 4]])
    assert result.weights["b"][0].shape == (3, 1)
    assert "blobs" not in result.to_prototxt()  # they belong in a caffemodel now, as those of a folded net


def test_a_cut_net_keeps_its_outputs(net: Net) -> None:
    part = net.cut(outputs=["sum", "fc8"])
    assert part.renamed({"fc8": "scores"}).outputs == ["sum", "scores"]
    assert part.without("fc8", "drop8").outputs == ["sum"]
    assert part.inserted("ReLU", after="fc8", name="last").outputs == ["sum", "last"]


@pytest.mark.parametrize("start", range(0, 40, 10))
def test_a_layer_that_changes_nothing_changes_no_output_wherever_it_stands(start: int) -> None:
    """Power without parameters is the identity; random nets have layers in place, branches, several tops and two phases."""
    tried = 0
    for seed in range(start, start + 10):
        made = random_net(seed, 10)
        rng, before = np.random.default_rng(seed), blobs_of(made.net, made.values)
        for where in ("after", "before", "in place", "and away"):
            layers = [layer for layer in made.net.layers if layer.name and (layer.bottoms if where == "before" else layer.tops)]
            place = {"before" if where == "before" else "after": layers[rng.integers(len(layers))].name}
            with suppress(NetError):  # of nets for two phases, where one lacks the blob
                result = made.net.inserted("Power", name="same", in_place=where == "in place", **place)  # type: ignore[arg-type]
                result = result.without("same") if where == "and away" else result
                for net in (result, again(result)):
                    after = blobs_of(net, made.values)
                    for output in made.net.outputs:
                        np.testing.assert_array_equal(after[output if output in net.outputs else "same"], before[output])
                tried += 1
    assert tried > 30


def blobs_of(net: Net, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    module: Any = net.to_torch()
    with torch.no_grad():
        blobs = module.blobs(*(torch.tensor(values[name]) for name in net.inputs))
    return {name: value.detach().numpy() for name, value in blobs.items()}


def test_groups_of_the_builder_follow_renamed_layers() -> None:
    b = protogen.NetBuilder()
    b.input("data", (1, 3, 8, 8))
    with b.scope("stage"):
        b.conv(4, 1, name="a")
    assert b.build().renamed({"stage/a": "b"}).layer("b").group == "stage"
