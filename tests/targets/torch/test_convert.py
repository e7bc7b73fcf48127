"""The PyTorch module of a net: names, calls, training, folding, and what PyTorch's own tools make of it."""

from __future__ import annotations

import copy
import io
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import protogen
from protogen import ConversionError, NetBuilder, ProtogenError, blocks


def small_net(phase: str = "TEST") -> protogen.Net:
    """A convolution with BatchNorm, a branch that works in place, two outputs; random statistics, so that folding shows."""
    b = NetBuilder("small", phase=phase)
    x = b.input("data", (2, 3, 12, 12))
    x = b.conv_block(x, 6, 3, name="one")
    x = blocks.inverted_residual(b, x, 6, expansion=2, name="two")
    b.dropout(x)
    b.conv(x, 4, 1, name="map")
    b.softmax(b.fc(b.global_pool(x), 5, name="fc"))
    net = b.build().fill(1)
    rng = np.random.default_rng(2)
    for layer, arrays in net.weights.items():
        net.weights[layer] = [array + 0.2 * rng.random(array.shape, dtype=np.float32) for array in arrays]
    return net


def image(net: protogen.Net, batch: int = 2) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(batch, *net.shapes["data"][1:])


def assert_same(actual: tuple[torch.Tensor, ...], expected: tuple[torch.Tensor, ...], tolerance: float = 1e-5) -> None:
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected):
        torch.testing.assert_close(a, e, rtol=tolerance, atol=tolerance)


# ---- the module


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


def test_phases_set_the_mode() -> None:
    net = small_net()
    assert not net.to_torch().training
    assert net.at("TRAIN").to_torch().training


def test_submodules_carry_the_layers_names() -> None:
    module = small_net().to_torch()
    assert {"one", "one/bn", "two/dwise", "fc"} <= {name for name, _ in module.named_children()}
    assert "two/dwise.weight" in module.state_dict()
    assert "one/bn.mean" in dict(module.named_buffers())
    assert "(fc): LayerModule(InnerProduct, num_output=5" in repr(module)


def test_other_batch_sizes_and_image_sizes() -> None:
    net = small_net()
    module = net.to_torch()
    full = module(image(net, 5))
    assert [tensor.shape[0] for tensor in full] == [5, 5]
    assert_same(tuple(tensor[:1] for tensor in full), module(image(net, 5)[:1]))
    assert module(torch.randn(1, 3, 20, 16))[0].shape == (1, 4, 20, 16)


def test_the_wrong_number_of_inputs() -> None:
    with pytest.raises(ProtogenError, match=r"takes 1 inputs \(data\), not 2"):
        small_net().to_torch()(torch.zeros(1), torch.zeros(1))


def test_seed_of_the_fillers() -> None:
    net = protogen.models.peleenet(size=32, classes=4)
    first, again, other = (net.to_torch(seed=seed).state_dict()["stem1.weight"] for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_weights_are_copied() -> None:
    net = small_net()
    before = net.weights["fc"][0].copy()
    with torch.no_grad():
        net.to_torch().caffe_params("fc")[0].fill_(7)
    np.testing.assert_array_equal(net.weights["fc"][0], before)


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


def test_layers_without_a_pytorch_form_are_all_named() -> None:
    from protogen.layers import registry

    class Formless(protogen.LayerType):
        def setup(self) -> None:
            self.tops = [self.bottoms[0]]

    protogen.register("Formless")(Formless)
    try:
        b = NetBuilder()
        x = b.input("data", (1, 2))
        b.layer("Formless", b.layer("Formless", x, name="first"), name="second")
        module = b.build().to_torch()  # nothing is known to be missing before it runs
        with pytest.raises(ProtogenError, match=r"layer 'first' .*no PyTorch form"):
            module(torch.zeros(1, 2))
        with pytest.raises(ConversionError, match=r"layer 'first' [\s\S]*layer 'second' "):
            b.build().to_onnx()
    finally:
        registry.unregister("Formless")


# ---- learnable blobs as Caffe has them


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
    assert_same(net.at("TEST").to_torch()(image(net)), module.eval()(image(net)))


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


# ---- training


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


@pytest.mark.parametrize(
    ("weights", "message"),
    [("loss_weight: 1", "2 tops and 1 of loss_weight"), ("loss_weight: [1, 2, 3]", "2 tops and 3"), ("", "loss_weight 2 times")],
)
def test_loss_weights_go_with_the_tops(weights: str, message: str) -> None:
    """Caffe's SetLossWeights; a loss layer's own default is one, which does not go with two tops either."""
    text = """
        layer { name: "in" type: "Input" top: "x" top: "y" input_param { shape { dim: 4 dim: 3 } shape { dim: 4 } } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "x" bottom: "y" top: "loss" top: "p" %s }"""
    with pytest.raises(protogen.LayerError, match=rf"layer 'loss' .*{message}"):
        protogen.loads(text % weights)
    assert protogen.loads(text % "loss_weight: 1 loss_weight: 0").to_torch().loss(torch.zeros(4, 3), torch.zeros(4)) > 1


def test_a_net_without_a_loss_says_so() -> None:
    with pytest.raises(ProtogenError, match="this net has no loss"):
        small_net().to_torch().loss(image(small_net()))


# ---- folding


def test_folded_equals_unfolded() -> None:
    net = small_net()
    folded = net.to_torch(fold=True)
    assert_same(folded(image(net)), net.to_torch()(image(net)))
    assert not [name for name, _ in folded.named_modules() if name.endswith(("/bn", "/scale", "/dropout"))]


def test_only_test_nets_fold() -> None:
    with pytest.raises(ConversionError, match="phase TEST"):
        small_net("TRAIN").to_torch(fold=True)


# ---- PyTorch's own tools


@pytest.mark.parametrize("fold", [False, True], ids=["as it is", "folded"])
def test_compile_without_graph_breaks(fold: bool) -> None:
    torch.compiler.reset()
    net = small_net()
    module = net.to_torch(fold=fold)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        assert_same(compiled(image(net)), module(image(net)))


def test_compile_for_training() -> None:
    torch.compiler.reset()
    net = small_net("TRAIN")
    module, twin = net.to_torch(), net.to_torch()
    for each, call in ((module, torch.compile(module, fullgraph=True, backend="aot_eager")), (twin, twin)):
        torch.manual_seed(1)
        sum(tensor.square().sum() for tensor in call(image(net))).backward()
        assert each.caffe_grads("one")[0] is not None
    assert_same(tuple(module.caffe_grads("one")), tuple(twin.caffe_grads("one")), 1e-4)
    assert_same(tuple(module.caffe_params("one/bn")), tuple(twin.caffe_params("one/bn")))


def test_many_compiled_nets_in_one_process() -> None:
    """torch.compile caches by code object and gives up after eight nets that share one."""
    torch.compiler.reset()
    for channels in range(1, 13):
        b = NetBuilder()
        b.relu(b.conv(b.input("data", (1, 3, 6, 6)), channels, 3))
        module = b.build().to_torch()
        with torch.no_grad():
            made = torch.compile(module, fullgraph=True, backend="eager")(torch.ones(1, 3, 6, 6))
        torch.testing.assert_close(made, module(torch.ones(1, 3, 6, 6)))


@pytest.mark.parametrize("fold", [False, True], ids=["as it is", "folded"])
def test_export(fold: bool) -> None:
    net = small_net()
    module = net.to_torch(fold=fold)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(module, (image(net),), dynamic_shapes=(({0: batch},),) if fold else None)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    again = torch.export.load(file).module()
    assert_same(again(image(net)), module(image(net)))
    if fold:
        assert_same(again(image(net, 7)), module(image(net, 7)))


@pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="PyTorch's default compiler needs a C++ compiler"
)
def test_inductor_compiles_it() -> None:
    """The default backend, on a net small enough to compile in seconds."""
    torch.compiler.reset()
    b = NetBuilder()
    b.softmax(b.fc(b.pool(b.conv_block(b.input("data", (1, 3, 8, 8)), 4), "MAX", 3, stride=2), 3))
    net = b.build().fill()
    module = net.to_torch()
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(module, fullgraph=True)(image(net, 1)), module(image(net, 1)))


def test_state_dict_saved_and_loaded() -> None:
    net = small_net()
    module = net.to_torch()
    file = io.BytesIO()
    torch.save(module.state_dict(), file)
    file.seek(0)
    blank = protogen.loads(net.to_prototxt()).to_torch(seed=5)
    assert not torch.equal(blank(image(net))[0], module(image(net))[0])
    blank.load_state_dict(torch.load(file, weights_only=True))
    assert_same(blank(image(net)), module(image(net)), 0)


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
    assert_same(twin(image(net)), module(image(net)), 0)
    with torch.no_grad():
        twin.caffe_params("fc")[1].add_(1)
    assert not torch.equal(twin(image(net))[1], module(image(net))[1]), "the copy runs its own weights"
    torch.compiler.reset()
    with torch.no_grad():
        assert_same(torch.compile(twin, fullgraph=True, backend="eager")(image(net)), twin(image(net)))


def test_dtypes() -> None:
    net = small_net()
    double, half = net.to_torch().double()(image(net).double()), net.to_torch().bfloat16()(image(net).bfloat16())
    assert (double[0].dtype, half[0].dtype) == (torch.float64, torch.bfloat16)
    assert_same(tuple(tensor.float() for tensor in double), net.to_torch()(image(net)))
    assert_same(tuple(tensor.float() for tensor in half), net.to_torch()(image(net)), 0.2)


def test_hooks_on_layers_see_their_outputs() -> None:
    net = small_net()
    module = net.to_torch()
    seen: list[torch.Tensor] = []
    module.get_submodule("map").register_forward_hook(lambda _, __, output: seen.append(output))
    made = module(image(net))
    assert seen[0] is made[0]


# ---- names of layers are data

NAMES = [
    *('quo"ted', "com,ma", "semi;colon", "back\\slash", "(", ")", "[", "]", "line\nbreak", "nul\x00", "\x1b[31m", "half\udcff"),
    *("None", "def", "class", "True", "self", "forward", "a/b", "a b", "it's", "{x}", "#", "名前", "a.b", "a_b", "__init__"),
    'x"), open("pwned", "w"), getattr(self, "y',
    "x'), open('pwned', 'w'), ('y",
    'x"\nopen("pwned", "w")\n"',
    """x'''\nopen("pwned", "w")\n'''""",
]


def test_names_are_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exported program is Python code with the submodules' names in it: these must not become statements of it."""
    monkeypatch.chdir(tmp_path)
    b = NetBuilder()
    x = b.input("data", (2, 3, 4, 4))
    for name in NAMES:
        x = b.conv(x, 3, 1, name=name)
    net = b.build().fill(1)
    module = net.to_torch()
    assert list(module.module_names) == NAMES
    assert len(set(module.module_names.values())) == len(NAMES)
    expected = module(image(net))
    file = io.BytesIO()
    torch.export.save(torch.export.export(module, (image(net),)), file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    torch.testing.assert_close(loaded(image(net)), expected)
    assert list(tmp_path.iterdir()) == []
    torch.save(module.state_dict(), "net.pth")
    again = protogen.loads(net.to_prototxt(), "net.pth")
    assert all((again.weights[name][0] == net.weights[name][0]).all() for name in NAMES)
