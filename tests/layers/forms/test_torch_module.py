"""The PyTorch module of one layer: what it is called, how it shows itself, and hooks on it."""

from __future__ import annotations

import torch

from tests.targets.torch.nets import image, small_net


def test_submodules_carry_the_layers_names() -> None:
    module = small_net().to_torch()
    assert {"one", "one/bn", "two/dwise", "fc"} <= {name for name, _ in module.named_children()}
    assert "two/dwise.weight" in module.state_dict()
    assert "one/bn.mean" in dict(module.named_buffers())
    assert "(fc): LayerModule(InnerProduct, num_output=5" in repr(module)


def test_hooks_on_layers_see_their_outputs() -> None:
    net = small_net()
    module = net.to_torch()
    seen: list[torch.Tensor] = []
    module.get_submodule("map").register_forward_hook(lambda _, __, output: seen.append(output))
    made = module(image(net))
    assert seen[0] is made[0]
