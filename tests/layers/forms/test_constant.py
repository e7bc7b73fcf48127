"""Constants in a module: they follow its device and type, and are no weights."""

from __future__ import annotations

import torch

from protogen.layers.forms.constant import ConstantModule


def test_constants_follow_the_modules_type_and_are_no_weights() -> None:
    module = ConstantModule([0.5, -2.0], [(2, 3), ()])
    first, second = module.double()()
    assert (first.dtype, first.tolist(), second.item()) == (torch.float64, [[0.5] * 3] * 2, -2)
    assert module.state_dict() == {} and not list(module.parameters())
    assert repr(module) == "ConstantModule(0.5 (2, 3), -2 ())"
