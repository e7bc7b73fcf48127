"""Dropout and SELU's: factors, shares and means, refusals, every form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import ConversionError, LayerError
from tests.layers.alone import Alone
from tests.layers.nets import check_every_form, net_of, over
from tests.running import Arrays, assert_same, by_torch, randomised


@pytest.mark.parametrize(
    "layer",
    [
        'type: "SeLuDropout"',
        'type: "Dropout" dropout_param { scale_train: false dropout_ratio: 0.3 }',
    ],
)
def test_every_form_agrees(layer: str) -> None:
    check_every_form(randomised(over(layer, (2, 3, 4, 2))))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ('type: "Dropout" dropout_param { dropout_ratio: 1.5 }', "dropout_ratio"),
        ('type: "SeLuDropout" selu_dropout_param { dropout_ratio: -0.1 }', "dropout_ratio"),
    ],
)
def test_what_caffe_refuses_is_refused(layer: str, message: str) -> None:
    with pytest.raises(LayerError, match="'op'.*" + message):
        _ = over(layer, (1, 2)).shapes


def test_selu_dropout_keeps_mean_and_variance_in_training() -> None:
    net = over('type: "SeLuDropout" selu_dropout_param { dropout_ratio: 0.3 }', (400, 500), phase="TRAIN")
    x = torch.randn(400, 500, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    y = net.to_torch()(x)
    assert abs(float(y.mean())) < 0.02
    assert abs(float(y.var()) - 1) < 0.02
    dropped = y == y.flatten().mode().values  # the one value that comes up again and again
    assert abs(float(dropped.float().mean()) - 0.3) < 0.01


def test_selu_dropout_puts_alpha_where_it_drops() -> None:
    net = over('type: "SeLuDropout" selu_dropout_param { dropout_ratio: 0.25 alpha: -1 }', (40, 50), phase="TRAIN")
    y = net.to_torch()(torch.full((40, 50), 2.0))
    scale = (0.75 + 0.75 * 0.25) ** -0.5
    np.testing.assert_allclose(y.unique(), [(-1 + 0.25) * scale, (2 + 0.25) * scale], rtol=1e-6)


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    for scale_train, value in (("true", 1 / 0.75), ("false", 1.0)):
        layer = f'type: "Dropout" dropout_param {{ dropout_ratio: 0.25 scale_train: {scale_train} }}'
        y = over(layer, (400, 500), phase="TRAIN").to_torch()(torch.ones(400, 500))
        assert abs(float((y == 0).float().mean()) - 0.25) < 0.01
        np.testing.assert_allclose(y[y != 0], value, rtol=1e-6)


def dropout(param: str, phase: str) -> protogen.Net:
    return net_of(f'type: "Dropout" bottom: "a" top: "y" dropout_param {{ dropout_ratio: 0.75 {param} }}', (4, 5000), phase=phase)


@pytest.mark.parametrize(("param", "train", "test"), [("", 4, 1), ("sqrt_scale: true", 2, 1), ("scale_train: false", 1, 0.25)])
def test_dropouts_factors_are_those_of_its_fork(param: str, train: float, test: float) -> None:
    x = torch.ones(4, 5000)
    kept = dropout(param, "TRAIN").to_torch()(x)
    assert set(kept.unique().tolist()) == {0, train}
    assert 0.2 < (kept > 0).float().mean() < 0.3
    assert dropout(param, "TEST").to_torch()(x).unique().tolist() == [test]


def test_segnets_dropout_that_samples_in_test_is_random_in_pytorch_and_refused_for_onnx() -> None:
    net = dropout("sample_weights_test: true", "TEST")
    assert set(net.to_torch()(torch.ones(4, 5000)).unique().tolist()) == {0, 4}
    assert set(net.to_torch(fold=True)(torch.ones(4, 5000)).unique().tolist()) == {0, 4}
    with pytest.raises(ConversionError, match="it is random in TEST, too"):
        net.to_onnx()


def test_sqrt_scale_without_a_scale_is_refused() -> None:
    with pytest.raises(LayerError, match="no effect with scale_train: false"):
        dropout("scale_train: false sqrt_scale: true", "TRAIN")


def kept(net: protogen.Net, values: Arrays, ratio: float) -> np.ndarray:
    """The values that PyTorch's dropout keeps first after the seed that `Alone` sets."""
    torch.manual_seed(0)
    return torch.empty(net.shapes["a"]).bernoulli_(1 - ratio).numpy()


def dropped(ratio: float, factor: float):
    """Zeros, and where values are kept `factor` times what they were."""
    return lambda net, values: [values["a"] * kept(net, values, ratio) * factor]


def shifted(ratio: float, alpha: float):
    """`alpha` where values are dropped; then a x + b, which keeps mean 0 and variance 1 (Klambauer et al. 2017)."""

    def of(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
        torch.manual_seed(0)
        x = np.where(torch.rand(net.shapes["a"]).numpy() < 1 - ratio, values["a"], alpha)
        a = ((1 - ratio) + alpha**2 * ratio * (1 - ratio)) ** -0.5
        return [a * x - a * ratio * alpha]

    return of


ONE, SHAPE = 'bottom: "a" top: "y"', [(4, 50)]
QUARTER = ONE + " dropout_param { dropout_ratio: 0.25 }"
ALONE = [
    Alone("Dropout", "dropout_param.dropout_ratio", 0.25, ONE, SHAPE, dropped(0.25, 1 / 0.75), phase="TRAIN"),
    Alone("Dropout", "dropout_param.sqrt_scale", True, QUARTER, SHAPE, dropped(0.25, 0.75**-0.5), phase="TRAIN"),
    Alone("Dropout", "dropout_param.scale_train", False, QUARTER, SHAPE, dropped(0.25, 1), phase="TRAIN"),
    Alone("Dropout", "dropout_param.scale_train", False, QUARTER, SHAPE, lambda net, values: [0.75 * values["a"]]),
    Alone("Dropout", "dropout_param.sample_weights_test", True, QUARTER, SHAPE, dropped(0.25, 1 / 0.75)),
    Alone("SeLuDropout", "selu_dropout_param.dropout_ratio", 0.25, ONE, SHAPE, shifted(0.25, -1.7580993408473766), phase="TRAIN"),
    Alone("SeLuDropout", "selu_dropout_param.alpha", -1, ONE, SHAPE, shifted(0.1, -1), phase="TRAIN"),
]


def test_a_ratio_of_1_drops_everything_in_training_only() -> None:
    """BVLC's dropout_layer.cpp has a DCHECK that release builds skip; in TEST the ratio is not used."""
    net = net_of('type: "Dropout" bottom: "a" top: "y" dropout_param { dropout_ratio: 1 }', (2, 3))
    x = np.float32([[1, 2, 3], [4, 5, 6]])
    assert_same(by_torch(net, {"a": x}), [x])
    with pytest.raises(LayerError, match=r"dropout_ratio must be in \[0, 1\), not 1"):
        net.at("TRAIN")
