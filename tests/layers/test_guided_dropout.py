"""GuidedDropout by the loops of Cysu/caffe's guided_dropout_layer.cpp."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import LayerError
from tests.layers.alone import Alone
from tests.layers.nets import check_every_form, over
from tests.running import Arrays, assert_same, by_torch

SHAPES = [(3, 4, 2, 2), (3, 4, 1, 1)]


def guided(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    """The deterministic form, and the stochastic one of TEST."""
    p, top = net.layers[-1].message.guided_dropout_param, values["a"].copy()
    if p.type == "deterministic":
        for item, guidance in zip(top, values["b"].reshape(len(top), -1)):
            kept = guidance > p.guidance_threshold
            item[~kept] = 0
            if kept.any():
                item *= len(kept) / kept.sum()
    return [top]


def inputs() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    x, guidance = (rng.standard_normal(shape).astype(np.float32) for shape in SHAPES)
    guidance[2] = -3  # nothing is kept
    return [x, guidance]


@pytest.mark.parametrize("shapes", [SHAPES, [(3, 4), (3, 4)]])
@pytest.mark.parametrize("more", ["", "guidance_threshold: 0.4"])
def test_the_deterministic_form(more: str, shapes: list[tuple[int, ...]]) -> None:
    net = over(f'type: "GuidedDropout" guided_dropout_param {{ {more} }}', *shapes)
    x, guidance = inputs()
    values = {"a": x if len(shapes[0]) == 4 else x[:, :, 0, 0], "b": guidance.reshape(shapes[1])}
    assert_same(by_torch(net, values), guided(net, values))
    check_every_form(net)


def test_the_stochastic_form_drops_in_training_only() -> None:
    text = 'type: "GuidedDropout" guided_dropout_param { type: "stochastic" sigmoid_scaler: 2 }'
    values = dict(zip("ab", inputs()))
    assert_same(by_torch(over(text, *SHAPES), values), [values["a"]])
    module = over(text, *SHAPES, phase="TRAIN").to_torch().train()
    x, guidance = (torch.tensor(value) for value in values.values())
    torch.manual_seed(0)
    draws = torch.stack([module(torch.ones_like(x), guidance) for _ in range(2000)])
    chance = (2 * guidance).sigmoid()
    factor = 4 / chance.sum(1, keepdim=True)
    assert ((draws == 0) | torch.isclose(draws, factor)).all()
    torch.testing.assert_close((draws != 0).float().mean(0)[:, :, :1, :1], chance, atol=0.05, rtol=0)


def test_the_guidance_must_fit() -> None:
    with pytest.raises(LayerError, match=r"the guidance for \(3, 4, 2, 2\) must be \(3, 4, 1, 1\)"):
        over('type: "GuidedDropout"', (3, 4, 2, 2), (3, 5, 1, 1))


def scaled(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    """The stochastic form in TRAIN, where the guidance decides: far above 0 or below it."""
    chance = 1 / (1 + np.exp(-values["b"].astype(np.float64) * net.layers[-1].message.guided_dropout_param.sigmoid_scaler))
    factor = values["b"].shape[1] / chance.sum(1, keepdims=True)
    return [(values["a"] * (values["b"] > 0) * factor).astype(np.float32)]


def decisive() -> list[np.ndarray]:
    x, guidance = inputs()
    return [x, np.sign(guidance).astype(np.float32) * 30]


LAYER = 'bottom: "a" bottom: "b" top: "y" guided_dropout_param { %s }'
ALONE = [
    Alone("GuidedDropout", "guided_dropout_param.type", "stochastic", LAYER % "", SHAPES, guided, inputs=inputs),
    Alone("GuidedDropout", "guided_dropout_param.guidance_threshold", 0.4, LAYER % "", SHAPES, guided, inputs=inputs),
    Alone("GuidedDropout", "guided_dropout_param.sigmoid_scaler", 40.0, LAYER % 'type: "stochastic"', SHAPES,
          scaled, inputs=lambda: [inputs()[0], decisive()[1] / 60], phase="TRAIN"),
]  # fmt: skip
