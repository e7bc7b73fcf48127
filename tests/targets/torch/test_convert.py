"""A net's PyTorch module as it is made: phases, seeds, folding, and PyTorch's compilers."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

import protogen
from protogen import ConversionError, NetBuilder
from tests.running import compile_whole
from tests.targets.torch.nets import assert_alike, image, small_net


def test_phases_set_the_mode() -> None:
    net = small_net()
    assert not net.to_torch().training
    assert net.at("TRAIN").to_torch().training


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


def test_folded_equals_unfolded() -> None:
    net = small_net()
    folded = net.to_torch(fold=True)
    assert_alike(folded(image(net)), net.to_torch()(image(net)))
    assert not [name for name, _ in folded.named_modules() if name.endswith(("/bn", "/scale", "/dropout"))]


def test_only_test_nets_fold() -> None:
    with pytest.raises(ConversionError, match="phase TEST"):
        small_net("TRAIN").to_torch(fold=True)


@pytest.mark.parametrize("fold", [False, True], ids=["as it is", "folded"])
def test_compile_without_graph_breaks(fold: bool) -> None:
    net = small_net()
    module = net.to_torch(fold=fold)
    compiled = compile_whole(module, "aot_eager")
    with torch.no_grad():
        assert_alike(compiled(image(net)), module(image(net)))


def test_compile_for_training() -> None:
    net = small_net("TRAIN")
    module, twin = net.to_torch(), net.to_torch()
    for each, call in ((module, compile_whole(module, "aot_eager")), (twin, twin)):
        torch.manual_seed(1)
        sum(tensor.square().sum() for tensor in call(image(net))).backward()
        assert each.caffe_grads("one")[0] is not None
    assert_alike(tuple(module.caffe_grads("one")), tuple(twin.caffe_grads("one")), 1e-4)
    assert_alike(tuple(module.caffe_params("one/bn")), tuple(twin.caffe_params("one/bn")))


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
