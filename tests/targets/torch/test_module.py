"""The PyTorch module of a net: its blobs, Caffe's parameters and gradients, the loss, copies and PyTorch's own tools."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
import torch

import protogen
from protogen import NetBuilder, ProtogenError
from tests.running import compile_whole
from tests.targets.torch.nets import assert_alike, image, small_net


def test_outputs_come_in_the_nets_order() -> None:
    net = small_net()
    assert net.outputs == ["map", "prob"]
    made = net.to_torch()(image(net))
    assert isinstance(made, tuple)
    assert [tuple(tensor.shape) for tensor in made] == [net.shapes["map"], net.shapes["prob"]]
    single = protogen.models.peleenet(size=32, classes=4).to_torch()(torch.zeros(1, 3, 32, 32))
    assert isinstance(single, torch.Tensor)


def test_blobs_are_those_after_the_last_in_place_layer() -> None:
    net = small_net()
    blobs = net.to_torch().blobs(image(net))
    assert list(blobs) == list(net.shapes)
    assert {name: tuple(value.shape) for name, value in blobs.items()} == net.shapes
    assert blobs["one"].min() == 0, "the ReLU works in place on the convolution's blob"


def test_the_callers_input_is_not_changed() -> None:
    net = protogen.loads(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 4 } } } '
        'layer { name: "r" type: "ReLU" bottom: "x" top: "x" }'
    )
    x = torch.tensor([[-1.0, 2, -3, 4]])
    assert net.to_torch()(x).tolist() == [[0, 2, 0, 4]]
    assert x.tolist() == [[-1, 2, -3, 4]]


def test_other_batch_sizes_and_image_sizes() -> None:
    net = small_net()
    module = net.to_torch()
    full = module(image(net, 5))
    assert [tensor.shape[0] for tensor in full] == [5, 5]
    assert_alike(tuple(tensor[:1] for tensor in full), module(image(net, 5)[:1]))
    assert module(torch.randn(1, 3, 20, 16))[0].shape == (1, 4, 20, 16)


def test_the_wrong_number_of_inputs() -> None:
    with pytest.raises(ProtogenError, match=r"takes 1 inputs \(data\), not 2"):
        small_net().to_torch()(torch.zeros(1), torch.zeros(1))


ODD_NAMES = [
    "loss",
    "a.b",
    "forward",
    "blobs",
    "training",
    "a_b",
    "parameters",
    "T_destination",
    "x y",
    "é",
    "conv/1",
    "_steps",
    "0",
    "__init__",
]


def test_any_layer_name() -> None:
    b = NetBuilder()
    b.input("data", (1, 3, 4, 4))
    for name in ODD_NAMES:
        b.conv(b.last, 3, 1, name=name)
    net = b.build().fill()
    module = net.to_torch()
    x = torch.randn(1, 3, 4, 4)
    assert module(x).shape == (1, 3, 4, 4)
    assert [module.caffe_params(name)[0].shape for name in ODD_NAMES] == [(3, 3, 1, 1)] * len(ODD_NAMES)
    for name in ODD_NAMES:
        np.testing.assert_array_equal(module.caffe_params(name)[0].detach().numpy(), net.weights[name][0])
    torch.testing.assert_close(torch.export.export(module, (x,)).module()(x), module(x))
    again = net.to_torch(seed=9)
    again.load_state_dict(module.state_dict())
    torch.testing.assert_close(again(x), module(x))


def test_caffe_params_are_live_and_in_caffes_order_and_shape() -> None:
    net = small_net()
    module = net.to_torch()
    for layer, shapes in net.param_shapes.items():
        params = module.caffe_params(layer)
        assert [tuple(tensor.shape) for tensor in params] == shapes
        for tensor, array in zip(params, net.weights[layer]):
            np.testing.assert_array_equal(tensor.detach().numpy(), array)
    with torch.no_grad():
        module.caffe_params("fc")[1].add_(3)
    assert torch.equal(module.state_dict()["fc.bias"], torch.tensor(net.weights["fc"][1]) + 3)
    assert module.caffe_params("prob") == []
    with pytest.raises(ProtogenError, match="no layer 'nothing'"):
        module.caffe_params("nothing")


def test_trained_weights_go_back_to_the_net() -> None:
    """The round trip of someone who trains in PyTorch and deploys to Caffe."""
    net = small_net("TRAIN")
    module = net.to_torch()
    sum(tensor.square().sum() for tensor in module(image(net))).backward()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter -= 0.01 * parameter.grad
    for layer in net.param_shapes:
        net.weights[layer] = [tensor.detach().numpy() for tensor in module.caffe_params(layer)]
    assert_alike(net.at("TEST").to_torch()(image(net)), module.eval()(image(net)))


def test_caffe_grads() -> None:
    net = small_net()
    module = net.to_torch()
    assert module.caffe_grads("fc") == [None, None]
    module(image(net))[1].log().sum().backward()
    assert [tuple(grad.shape) for grad in module.caffe_grads("fc")] == net.param_shapes["fc"]
    assert module.caffe_grads("one/bn") == [None, None, None], "statistics have no gradient"
    assert module.caffe_grads("map") == [None, None], "it does not lead to that output"


def test_shared_parameters_are_one_tensor() -> None:
    fc = 'type: "InnerProduct" inner_product_param { num_output: 4 bias_term: false } param { name: "w" }'
    net = protogen.loads(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 4 } } }'
        f'layer {{ name: "a" bottom: "x" top: "a" {fc} }} layer {{ name: "b" bottom: "a" top: "b" {fc} }}'
    )
    net.weights["a"] = [np.eye(4) * 2]
    module = net.to_torch()
    assert len(list(module.parameters())) == 1
    x = torch.ones(2, 4)
    assert module(x).tolist() == (4 * x).tolist()
    module(x).sum().backward()
    assert torch.equal(module.caffe_grads("a")[0], module.caffe_grads("b")[0])
    assert module.caffe_grads("a")[0].sum() == 2 * 2 * 4 * 4 * 2, "gradients of both uses are added up"


def test_running_sums_follow_in_train_only() -> None:
    net = small_net()
    for phase, follows in (("TRAIN", True), ("TEST", False)):
        module = net.at(phase).to_torch()
        before = [tensor.clone() for tensor in module.caffe_params("one/bn")]
        x = image(net)
        module(x)
        mean, _, factor = module.caffe_params("one/bn")
        assert torch.equal(mean, before[0]) is not follows
        if follows:
            raw = torch.nn.functional.conv2d(x, module.caffe_params("one")[0], padding=1)
            torch.testing.assert_close(mean, 0.999 * before[0] + raw.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(factor, 0.999 * before[2] + 1)


def losses_net(first: str = "", second: str = "") -> protogen.Net:
    return protogen.loads(
        f"""
        layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 4 dim: 3 }} }} }}
        layer {{ name: "y" type: "Input" top: "y" input_param {{ shape {{ dim: 4 }} }} }}
        layer {{ name: "z" type: "Input" top: "z" input_param {{ shape {{ dim: 4 dim: 3 }} }} }}
        layer {{ name: "class" type: "SoftmaxWithLoss" bottom: "x" bottom: "y" top: "class" {first} }}
        layer {{ name: "distance" type: "EuclideanLoss" bottom: "x" bottom: "z" top: "distance" {second} }}
        layer {{ name: "size" type: "Reduction" bottom: "x" top: "size" reduction_param {{ operation: ASUM }} loss_weight: 0.5 }}
        """,
        phase="TRAIN",
    )


def test_loss_sums_tops_times_their_weights() -> None:
    x, y, z = torch.randn(4, 3), torch.tensor([0.0, 2, 1, 1]), torch.randn(4, 3)
    entropy = torch.nn.functional.cross_entropy(x, y.long())
    distance = (x - z).square().sum() / 8
    size = 0.5 * x.abs().sum()
    torch.testing.assert_close(losses_net().to_torch().loss(x, y, z), entropy + distance + size)
    weighted = losses_net("loss_weight: 3", "loss_weight: 0").to_torch()
    torch.testing.assert_close(weighted.loss(x, y, z), 3 * entropy + size)


def test_losses_of_weight_0_are_no_loss() -> None:
    """As in Caffe: their values do not count, not even if they are infinite, and nothing gets a gradient."""
    net = protogen.loads("""
        layer { name: "x" type: "Input" top: "x" top: "y" input_param { shape { dim: 4 dim: 3 } } }
        layer { name: "fc" type: "InnerProduct" bottom: "x" top: "fc" inner_product_param { num_output: 3 } }
        layer { name: "distance" type: "EuclideanLoss" bottom: "fc" bottom: "y" top: "distance" loss_weight: 0 }""")
    module = net.to_torch()
    loss = module.loss(torch.randn(4, 3), torch.full((4, 3), torch.inf))
    loss.backward()
    assert loss.item() == 0
    assert module.caffe_grads("fc") == [None, None]


def test_a_loss_counts_as_its_layer_made_it() -> None:
    """A layer behind it may overwrite its blob."""
    net = losses_net()
    text = net.to_prototxt() + 'layer { name: "ten" type: "Power" bottom: "size" top: "size" power_param { scale: 10 } }'
    x, y, z = torch.randn(4, 3), torch.tensor([0.0, 2, 1, 1]), torch.randn(4, 3)
    module = protogen.loads(text, phase="TRAIN").to_torch()
    torch.testing.assert_close(module.loss(x, y, z), net.to_torch().loss(x, y, z))


def test_a_net_without_a_loss_says_so() -> None:
    with pytest.raises(ProtogenError, match="this net has no loss"):
        small_net().to_torch().loss(image(small_net()))


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch.save"])
def test_whole_modules_are_copied(how: str) -> None:
    net = small_net()
    module = net.to_torch()
    if how == "deepcopy":
        twin = copy.deepcopy(module)
    elif how == "pickle":
        twin = pickle.loads(pickle.dumps(module))
    else:
        file = io.BytesIO()
        torch.save(module, file)
        file.seek(0)
        twin = torch.load(file, weights_only=False)
    assert_alike(twin(image(net)), module(image(net)), 0)
    with torch.no_grad():
        twin.caffe_params("fc")[1].add_(1)
    assert not torch.equal(twin(image(net))[1], module(image(net))[1]), "the copy runs its own weights"
    with torch.no_grad():
        assert_alike(compile_whole(twin)(image(net)), twin(image(net)))


def test_dtypes() -> None:
    net = small_net()
    double, half = net.to_torch().double()(image(net).double()), net.to_torch().bfloat16()(image(net).bfloat16())
    assert (double[0].dtype, half[0].dtype) == (torch.float64, torch.bfloat16)
    assert_alike(tuple(tensor.float() for tensor in double), net.to_torch()(image(net)))
    assert_alike(tuple(tensor.float() for tensor in half), net.to_torch()(image(net)), 0.2)


def test_blobs_by_name_run_only_the_layers_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    net = small_net()
    module = net.to_torch()
    every = module.blobs(image(net))
    ran: list[str] = []
    for name, child in module.named_children():
        child.register_forward_hook(lambda *_, name=name: ran.append(name))
    some = module.blobs(image(net), names=["one", "data"])
    assert list(some) == ["data", "one"], "in the net's order"
    assert all(torch.equal(some[name], every[name]) for name in some)
    assert 0 < len(ran) < len(module.module_names)
    assert module.blobs(image(net), names=[]) == {}
    assert [name for name, _ in module.each_blob(image(net), names=["prob"])] == ["prob"]


def test_blobs_one_by_one_are_those_together() -> None:
    net = small_net()
    module = net.to_torch()
    every = module.blobs(image(net))
    one_by_one = dict(module.each_blob(image(net)))
    assert one_by_one.keys() == every.keys()
    assert all(torch.equal(one_by_one[name], every[name]) for name in every)


def test_a_blob_that_is_not_there() -> None:
    net = small_net()
    for call in (net.to_torch().blobs, lambda *inputs, **options: list(net.to_torch().each_blob(*inputs, **options))):
        with pytest.raises(ProtogenError, match="no blob 'prb' in this module; did you mean 'prob'"):
            call(image(net), names=["prb"])
