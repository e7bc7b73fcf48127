"""Expectations of whole nets: BVLC Caffe's test_net.cpp, and armnn's parser tests.

Those of armnn are of ARM-software/armnn, src/armnnCaffeParser/test.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen

INPUT = 'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: {} dim: {} }} }} }}'.format
IP = (
    'layer {{ name: "{0}" type: "InnerProduct" bottom: "{1}" top: "{0}" {2} '
    "inner_product_param {{ num_output: {3} bias_term: false }} }}"
).format

IMAGE = 'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: 1 dim: {} dim: {} dim: {} }} }} }}'.format

# ---- which layers take part (test_net.cpp, FilterNetTest)

RULES = [
    ("TestNoFilter", "", {}, True),
    ("TestFilterLeNetTrainTest", "include { phase: TRAIN }", {}, False),
    ("TestFilterLeNetTrainTest", "include { phase: TRAIN }", {"phase": "TRAIN"}, True),
    ("TestFilterLeNetTrainTest", "exclude { phase: TEST }", {}, False),
    ("TestFilterOutByStage", 'include { stage: "mystage" }', {}, False),
    ("TestFilterOutByStage2", 'exclude { stage: "mystage" }', {"stages": ["mystage"]}, False),
    ("TestFilterInByStage", 'include { stage: "mystage" }', {"stages": ["mystage"]}, True),
    ("TestFilterInByStage2", 'exclude { stage: "mystage" }', {}, True),
    ("TestFilterOutByMultipleStage", 'include { stage: "mystage" stage: "myotherstage" }', {"stages": ["mystage"]}, False),
    (
        "TestFilterInByMultipleStage",
        'include { stage: "myotherstage" } include { stage: "mystage" }',
        {"stages": ["mystage"]},
        True,
    ),
    ("TestFilterInByMultipleStage2", 'include { stage: "a" stage: "b" }', {"stages": ["a", "b"]}, True),
    ("TestFilterInByNotStage", 'include { not_stage: "myotherstage" }', {"stages": ["mystage"]}, True),
    ("TestFilterOutByNotStage", 'include { not_stage: "mystage" }', {"stages": ["mystage"]}, False),
    ("TestFilterOutByMinLevel", "include { min_level: 3 }", {}, False),
    ("TestFilterOutByMaxLevel", "include { max_level: -3 }", {}, False),
    ("TestFilterInByMinLevel", "include { min_level: 0 }", {}, True),
    ("TestFilterInByMinLevel2", "include { min_level: 3 }", {"level": 7}, True),
    ("TestFilterInByMaxLevel", "include { max_level: 0 }", {}, True),
    ("TestFilterInByMaxLevel2", "include { max_level: 3 }", {"level": -7}, True),
    ("TestFilterInOutByIncludeMultiRule", "include { min_level: 2 phase: TRAIN }", {"level": 4, "phase": "TEST"}, False),
    ("TestFilterInOutByIncludeMultiRule", "include { min_level: 2 phase: TRAIN }", {"level": 4, "phase": "TRAIN"}, True),
    ("TestFilterInByIncludeMultiRule", "include { min_level: 2 phase: TEST } include { phase: TRAIN }", {"level": 2}, True),
    ("TestFilterInByIncludeMultiRule", "include { min_level: 2 phase: TEST } include { phase: TRAIN }", {"phase": "TRAIN"}, True),
    ("TestFilterInOutByExcludeMultiRule", "exclude { min_level: 2 phase: TRAIN }", {"level": 4, "phase": "TRAIN"}, False),
    ("TestFilterInOutByExcludeMultiRule", "exclude { min_level: 2 phase: TRAIN }", {"level": 4, "phase": "TEST"}, True),
    ("TestFilterInOutByExcludeMultiRule", "exclude { min_level: 2 phase: TRAIN }", {"level": 1, "phase": "TRAIN"}, True),
]


@pytest.mark.parametrize(("test", "rules", "state", "included"), RULES, ids=[f"{i} {row[0]}" for i, row in enumerate(RULES)])
def test_which_layers_take_part(test: str, rules: str, state: dict[str, object], included: bool) -> None:
    net = protogen.loads(INPUT(1, 2) + IP("ip", "data", rules, 3), **state)
    assert ("ip" in net.shapes) == included
    assert net.outputs == (["ip"] if included else ["data"])


def test_a_layer_has_rules_of_one_kind() -> None:
    """net.cpp, FilterNet."""
    with pytest.raises(protogen.NetError, match="both include and exclude"):
        protogen.loads(INPUT(1, 2) + IP("ip", "data", "include { phase: TEST } exclude { phase: TRAIN }", 3))


ALL_IN_ONE = (
    'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } include { not_stage: "deploy" } }'
    'layer { name: "deployed" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 } } include { stage: "deploy" } }'
    'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 2 } } include { not_stage: "deploy" } }'
    'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2 } }'
    'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" '
    'include { phase: TRAIN } include { phase: TEST stage: "val" } }'
    'layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" include { stage: "deploy" } }'
)


@pytest.mark.parametrize(
    ("state", "inputs", "outputs", "batch"),
    [
        ({"phase": "TRAIN"}, ["data", "label"], ["loss"], 2),  # TestAllInOneNetTrain
        ({"stages": ["val"]}, ["data", "label"], ["loss"], 2),  # TestAllInOneNetVal
        ({"stages": ["deploy"]}, ["data"], ["prob"], 1),  # TestAllInOneNetDeploy
    ],
)
def test_three_nets_in_one_file(state: dict[str, object], inputs: list[str], outputs: list[str], batch: int) -> None:
    net = protogen.loads(ALL_IN_ONE, **state)
    assert (net.inputs, net.outputs, net.shapes["ip"]) == (inputs, outputs, (batch, 2))


# ---- gradients (test_net.cpp, NetTest)


def losses(first: str = "", middle: str = "", last: str = "") -> protogen.Net:
    """data (1, 2) times 2, "mid" times 3: what EuclideanLoss makes of it and t; fields for three of the layers."""
    net = protogen.loads(
        INPUT(1, 2)
        + 'layer { name: "t" type: "Input" top: "t" input_param { shape { dim: 1 dim: 2 } } }'
        + IP("ip", "data", first, 2)
        + f'layer {{ name: "mid" type: "Power" bottom: "ip" top: "mid" power_param {{ scale: 3 }} {middle} }}'
        + f'layer {{ name: "loss" type: "EuclideanLoss" bottom: "mid" bottom: "t" top: "loss" {last} }}', phase="TRAIN",
    )  # fmt: skip
    net.weights["ip"] = [2 * np.eye(2)]
    return net


X, T = torch.tensor([[1.0, 2.0]]), torch.zeros(1, 2)


def loss_and_gradient(net: protogen.Net) -> tuple[float, list[list[float]] | None]:
    module = net.to_torch()
    loss = module.loss(X, T)
    loss.backward()
    (grad,) = module.caffe_grads("ip")
    return loss.item(), None if grad is None else grad.tolist()


@pytest.mark.parametrize("weight", [1, 2, -1.5, 0.5, 100])
def test_loss_and_gradients_grow_with_the_loss_weight(weight: float) -> None:
    """TestLossWeight: outputs 6 and 12 make (36 + 144) / 2; each gradient is 3 times the output times the input."""
    loss, gradient = loss_and_gradient(losses(last=f"loss_weight: {weight}"))
    assert loss == 90 * weight
    assert gradient == [[18 * weight, 36 * weight], [36 * weight, 72 * weight]]


@pytest.mark.parametrize("weight", [2, -1, 0.5])
def test_any_layer_can_have_a_loss_weight(weight: float) -> None:
    """TestLossWeightMidNet and TestComboLossWeight: the middle layer adds the sum of its values, the loss may weigh 0."""
    loss, gradient = loss_and_gradient(losses(middle=f"loss_weight: {weight}", last="loss_weight: 0"))
    assert (loss, gradient) == (18 * weight, [[3 * weight, 6 * weight]] * 2)
    loss, gradient = loss_and_gradient(losses(middle=f"loss_weight: {weight}", last="loss_weight: 2"))
    assert (loss, gradient) == (180 + 18 * weight, [[36 + 3 * weight, 72 + 6 * weight], [72 + 3 * weight, 144 + 6 * weight]])


def test_the_wrong_number_of_loss_weights() -> None:
    with pytest.raises(protogen.LayerError, match="1 top and 2 of loss_weight"):
        losses(last="loss_weight: 1 loss_weight: 1")


def test_labels_and_data_need_no_gradient() -> None:
    """TestBottomNeedBackward: only what weights lead to does."""
    blobs = losses().to_torch().blobs(X, T)
    assert [name for name, blob in blobs.items() if blob.requires_grad] == ["ip", "mid", "loss"]


def test_frozen_layers_below_need_none() -> None:
    """TestBottomNeedBackwardTricky, with the first layer frozen."""
    net = losses("param { lr_mult: 0 }")
    assert not any(blob.requires_grad for blob in net.to_torch(freeze=True).blobs(X, T).values())


def test_propagate_down_false_stops_at_a_layer() -> None:
    """TestSkipPropagateDown."""
    module = losses(middle="propagate_down: false").to_torch()
    assert not module.loss(X, T).requires_grad


def test_inputs_can_have_gradients_too() -> None:
    """TestBottomNeedBackwardForce: the loss is x times 6, squared, over 2."""
    x = X.clone().requires_grad_()
    losses().to_torch().loss(x, T).backward()
    assert x.grad.tolist() == [[36.0, 72.0]]


def pair(*names: str) -> protogen.Net:
    one, two = names
    text = (INPUT(2, 3) + IP("one", "data", f'param {{ name: "{one}" }}', 3) + IP("two", "data", f'param {{ name: "{two}" }}', 3)
            + 'layer { name: "loss" type: "EuclideanLoss" bottom: "one" bottom: "two" top: "loss" }')  # fmt: skip
    net = protogen.loads(text, phase="TRAIN")
    for i, layer in enumerate(dict.fromkeys(["one"] if one == two else ["one", "two"])):
        net.weights[layer] = [np.eye(3) * (i + 1)]
    return net


def test_weights_of_two_names_differ_and_of_one_name_are_one() -> None:
    """TestUnsharedWeightsDataNet, TestSharedWeightsDataNet: the difference of the two products."""
    x = torch.ones(2, 3)
    assert pair("a", "b").to_torch().loss(x).item() == 6 / 4
    assert pair("a", "a").to_torch().loss(x).item() == 0


def test_gradients_of_shared_weights_add_up() -> None:
    """TestUnsharedWeightsDiffNet, TestSharedWeightsDiffNet: those of a difference cancel."""
    x = torch.ones(2, 3)
    module = pair("a", "b").to_torch()
    module.loss(x).backward()
    assert module.caffe_grads("one")[0].tolist() == [[-1.0] * 3] * 3
    assert module.caffe_grads("two")[0].tolist() == [[1.0] * 3] * 3
    shared = pair("a", "a").to_torch()
    shared.loss(x).backward()
    assert shared.caffe_grads("one")[0].abs().max() == 0


def test_an_update_of_a_shared_blob_counts_everywhere() -> None:
    """TestSharedWeightsUpdate, TestSharedWeightsResume."""
    net = pair("a", "a")
    module = net.to_torch()
    with torch.no_grad():
        module.caffe_params("one")[0].fill_(7)
    assert module.caffe_params("two")[0].tolist() == [[7.0] * 3] * 3
    net.weights["one"] = [module.caffe_params("one")[0].detach().numpy()]
    assert net.weights["two"][0].tolist() == [[7.0] * 3] * 3


@pytest.mark.parametrize(
    ("sharer", "fits"),
    [
        ("num_output: 2 kernel_size: 1", True),
        ("num_output: 4 kernel_size: 1", False),
        ("num_output: 1 kernel_h: 1 kernel_w: 2", False),  # as many values in another shape
    ],
)
@pytest.mark.parametrize("mode", ["STRICT", "PERMISSIVE"])
def test_a_shared_blob_fits_each_layer(sharer: str, fits: bool, mode: str) -> None:
    """net.cpp, AppendParam; with PERMISSIVE, as many values in another shape will do."""
    text = IMAGE(2, 4, 4) + "".join(
        f'''layer {{ name: "{name}" type: "Convolution" bottom: "data" top: "{name}" param {{ name: "w" share_mode: {mode} }}
                  convolution_param {{ bias_term: false {param} }} }}'''
        for name, param in (("one", "num_output: 2 kernel_size: 1"), ("two", sharer))
    )
    if fits or (mode == "PERMISSIVE" and "kernel_w" in sharer):
        net = protogen.loads(text).fill(1)
        assert np.array_equal(net.weights["one"][0].ravel(), net.weights["two"][0].ravel())
        return
    with pytest.raises(protogen.LayerError, match=r"layer 'two' \(Convolution\): its weight .* cannot share param 'w'"):
        protogen.loads(text)


@pytest.mark.parametrize("size", [(1, 3, 100, 100), (2, 3, 60, 80), (5, 3, 37, 51)])
def test_a_net_at_other_sizes(size: tuple[int, ...]) -> None:
    """TestReshape: 5 x 5 with padding 2 keeps the size, pooling of 2 halves it and rounds up, and the values follow."""
    net = protogen.loads("""
        input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }
        layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
                convolution_param { num_output: 5 kernel_size: 5 pad: 2 } }
        layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }""").fill()
    n, _, height, width = size
    other = net.at(inputs={"data": size})
    assert other.shapes["pool"] == (n, 5, -(-height // 2), -(-width // 2))
    x = torch.randn(size)
    assert torch.equal(net.to_torch()(x), other.to_torch()(x))


def test_names_of_blobs_and_layers() -> None:
    """TestHasBlob, TestGetBlob, TestHasLayer, TestGetLayerByName."""
    net = losses()
    assert set(net.shapes) == {"data", "t", "ip", "mid", "loss"}
    assert "label" not in net.shapes
    assert net.layer("ip").type == "InnerProduct"
    with pytest.raises(protogen.NetError, match="no layer 'label'"):
        net.layer("label")


def test_a_part_gives_what_the_whole_gives() -> None:
    """TestFromTo; test_net.py test_forward_start_end: from "mid" on, with its bottom fed."""
    net = losses()
    part = net.cut(inputs={"ip": (1, 2)}, outputs=["mid"])
    assert part.to_torch()(torch.tensor([[2.0, 5.0]])).tolist() == [[6.0, 15.0]]


# ---- armnn's parser


def layer(type: str, name: str, *bottoms: str, top: str = "", more: str = "") -> str:
    return f'layer {{ name: "{name}" type: "{type}" {" ".join(f"bottom: {b!r}" for b in bottoms)} top: "{top or name}" {more} }}'


ARMNN = [
    (
        "TestAdd.cpp Add",
        IMAGE(1, 1, 2) + layer("Eltwise", "sum", "data", "data", more="eltwise_param { operation: SUM }"),
        [1, 2],
        [2, 4],
    ),
    (
        "TestMul.cpp Mul",
        IMAGE(1, 1, 2) + layer("Eltwise", "product", "data", "data", more="eltwise_param { operation: PROD }"),
        [3, -2],
        [9, 4],
    ),
    ("TestConcat.cpp", IMAGE(1, 1, 2) + layer("ReLU", "r", "data") + layer("Concat", "c", "r", "data"), [-1, 2], [0, 2, -1, 2]),
    (
        "TestInPlace.cpp",
        IMAGE(1, 1, 2) + layer("ReLU", "r", "data", top="data") + layer("Power", "p", "data", more="power_param { scale: 2 }"),
        [-1, 2],
        [0, 4],
    ),
    (
        "TestInPlace.cpp, a branch before",
        IMAGE(1, 1, 2)
        + layer("Power", "a", "data")
        + layer("Power", "b", "a", more="power_param { scale: 2 }")
        + layer("ReLU", "r", "a", top="a")
        + layer("Eltwise", "s", "a", "b"),
        [-1, 2],
        [-2, 6],
    ),
    (
        "TestDropout.cpp",
        IMAGE(1, 1, 2) + layer("Dropout", "d", "data", top="data") + layer("Eltwise", "s", "data", "data"),
        [1, -2],
        [2, -4],
    ),
    (
        "TestSplit.cpp",
        IMAGE(1, 1, 2) + 'layer { name: "s" type: "Split" bottom: "data" top: "a" top: "b" }' + layer("Eltwise", "y", "a", "b"),
        [1, 5],
        [2, 10],
    ),
    (
        "TestPooling2d.cpp, global",
        IMAGE(1, 2, 2) + layer("Pooling", "p", "data", more="pooling_param { pool: AVE global_pooling: true }"),
        [1, 2, 3, 6],
        [3],
    ),
    (
        "TestPooling2d.cpp, stride 0 is 1",
        IMAGE(1, 1, 3) + layer("Pooling", "p", "data", more="pooling_param { kernel_h: 1 kernel_w: 2 }"),
        [1, 3, 2],
        [3, 3],
    ),
]


@pytest.mark.parametrize(("test", "text", "x", "expected"), ARMNN, ids=[row[0] for row in ARMNN])
def test_small_nets_of_armnn(test: str, text: str, x: list[float], expected: list[float]) -> None:
    net = protogen.loads(text)
    made = net.to_torch()(torch.tensor(x).float().view(net.shapes["data"]))
    assert made.flatten().tolist() == expected


def test_several_inputs_and_outputs() -> None:
    """TestMultiInputsOutputs.cpp."""
    layers = layer("Eltwise", "sum", "a", "b") + layer("Power", "square", "a", more="power_param { power: 2 }")
    net = protogen.loads(f'input: "a" input_shape {{ dim: 1 }} input: "b" input_shape {{ dim: 1 }} {layers}')
    assert [made.item() for made in net.to_torch()(torch.tensor([3.0]), torch.tensor([4.0]))] == [7, 9]


@pytest.mark.parametrize(
    "text",
    [
        'input: "data" input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4',
        'input: "data" input_shape { dim: 1 dim: 2 dim: 3 dim: 4 }',
        'layer { name: "in" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 3 dim: 4 } } }',
    ],
)
def test_three_ways_to_state_an_input(text: str) -> None:
    """TestInputs.cpp, InputShapes; the third is an Input layer's, whose name need not be its top's."""
    net = protogen.loads(f"{text} " + layer("ReLU", "r", "data"))
    assert (net.inputs, net.shapes["r"]) == (["data"], (1, 2, 3, 4))


def test_a_layer_that_nothing_defines_is_named() -> None:
    """python/caffe/test/test_net_spec.py test_type_error and layer_factory.cpp."""
    with pytest.raises(protogen.NetError, match="unknown layer type 'Nonsense'"):
        protogen.loads(INPUT(1, 2) + layer("Nonsense", "n", "data")).to_torch()
