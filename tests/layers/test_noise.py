"""Noise by happynear/caffe-windows' noise_layer.cpp: its moments in training, and nothing in inference."""

from __future__ import annotations

import pytest
import torch

import protogen
from protogen.errors import LayerError
from tests.layers.alone import Alone
from tests.layers.nets import check_every_form, over
from tests.running import Arrays

SHAPE = (200, 300)


def noise(param: str, phase: str = "TRAIN", x: float = 3.0) -> torch.Tensor:
    module = over(f'type: "Noise" noise_param {{ {param} }}', SHAPE, phase=phase).to_torch().train()
    torch.manual_seed(0)
    return (module(torch.full(SHAPE, x)) - x).detach()


@pytest.mark.parametrize("bias", [0.0, 0.5])
def test_training_adds_noise_of_these_moments(bias: float) -> None:
    normal = noise(f"gaussian_std: 0.1 bias: {bias}")  # times the root mean square of the blob, 3
    assert normal.mean().item() == pytest.approx(bias, abs=0.01)
    assert normal.std().item() == pytest.approx(0.3, rel=0.02)
    uniform = noise(f"uniform_range: 0.2 bias: {bias}")
    assert bias - 0.2001 <= uniform.min() < bias - 0.19
    assert bias + 0.19 < uniform.max() <= bias + 0.2001
    assert uniform.mean().item() == pytest.approx(bias, abs=0.01)


def test_inference_leaves_the_blob_and_gradients_pass() -> None:
    assert not noise("gaussian_std: 0.1 bias: 1", phase="TEST").any()
    check_every_form(over('type: "Noise" noise_param { gaussian_std: 0.1 }', (2, 3)))
    x = torch.randn(2, 3, requires_grad=True)
    over('type: "Noise" noise_param { gaussian_std: 0.1 }', (2, 3), phase="TRAIN").to_torch().train()(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[1.0] * 3] * 2


def test_noise_of_other_forks_is_refused() -> None:
    with pytest.raises(LayerError, match="must set gaussian_std or uniform_range"):
        over('type: "Noise"', (2, 3))
    with pytest.raises(protogen.ProtogenError, match=r"noise_param.prob is not computed"):
        over('type: "Noise" noise_param { gaussian_std: 1 prob: 0.5 }', (2, 3)).to_torch()


def shifted(net: protogen.Net, values: Arrays) -> list:  # without any spread
    return [values["a"] + net.layers[-1].message.noise_param.bias]


def drawn(net: protogen.Net, values: Arrays) -> list:
    """The same draws by their formula: from the seed that `Alone` sets."""
    p, x = net.layers[-1].message.noise_param, torch.tensor(values["a"])
    torch.manual_seed(0)
    if "gaussian_std" in p:
        return [(x + torch.randn_like(x) * x.square().mean().sqrt() * p.gaussian_std).numpy()]
    return [(x + (2 * torch.rand_like(x) - 1) * p.uniform_range).numpy()]


PLAIN, NEEDED = 'bottom: "a" top: "y"', "must set gaussian_std or uniform_range"
ALONE = [
    Alone("Noise", "noise_param.gaussian_std", 0.5, PLAIN, [(2, 3)], drawn, phase="TRAIN", refused=NEEDED),
    Alone("Noise", "noise_param.uniform_range", 0.5, PLAIN, [(2, 3)], drawn, phase="TRAIN", refused=NEEDED),
    Alone("Noise", "noise_param.bias", 2.0, PLAIN + " noise_param { uniform_range: 0 gaussian_std: 0 }", [(2, 3)], shifted,
          phase="TRAIN"),
]  # fmt: skip
