"""NormFace's LabelSpecificRescale and InnerDistance, by the loops of happynear/caffe-windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import LayerError
from tests.layers.alone import Alone
from tests.layers.nets import check_every_form, over
from tests.running import Arrays, assert_same, by_torch

WEIGHTS = "positive_weight: 3 negative_weight: 0.5"


def rescaled(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    """label_specific_rescale_layer.cpp."""
    p, top = net.layers[-1].message.label_specific_rescale_param, values["a"].copy()
    if net.phase == "TRAIN" or p.rescale_test:
        for item, label in zip(top, values["b"].astype(int)):
            for j in range(len(item)):
                item[j] *= p.positive_weight if j == label else p.negative_weight
    return [top]


def scores() -> list[np.ndarray]:
    return [np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32), np.float32([0, 4, 2, 2])]


@pytest.mark.parametrize(("phase", "more"), [("TRAIN", ""), ("TEST", ""), ("TEST", "rescale_test: true")])
def test_the_score_of_the_label_is_scaled_in_training(phase: str, more: str) -> None:
    net = over(f'type: "LabelSpecificRescale" label_specific_rescale_param {{ {WEIGHTS} {more} }}', (4, 5), (4,), phase=phase)
    values = dict(zip("ab", scores()))
    assert_same(by_torch(net, values), rescaled(net, values))
    if more:
        check_every_form(net, below=5)


def test_a_model_to_use_needs_no_labels() -> None:
    net = over(f'type: "LabelSpecificRescale" label_specific_rescale_param {{ {WEIGHTS} }}', (4, 5), (4,))
    text = (
        net.to_prototxt()
        + 'layer { name: "fc" type: "InnerProduct" bottom: "out" top: "fc" inner_product_param { num_output: 2 } }'
    )
    with pytest.warns(protogen.ProtogenWarning, match="left out"):
        assert [value.name for value in protogen.loads(text).to_onnx().graph.input] == ["a"]


def distances(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    """inner_distance_layer.cpp."""
    p = net.layers[-1].message.inner_distance_param
    x = values["a"].astype(np.float64)
    rows = (values["b"] if "b" in values else net.weights["op"][0]).astype(np.float64)
    rows = rows.reshape(len(rows), -1)
    axis = p.axis % x.ndim
    flat = x.reshape(-1, rows.shape[1])
    top = np.zeros((len(flat), len(rows)))
    for m, n in np.ndindex(top.shape):
        difference = flat[m] - rows[n]
        top[m, n] = (difference**2).sum() if p.distance_type == "L2" else np.abs(difference).sum()
    return [top.reshape(*x.shape[:axis], len(rows)).astype(np.float32)]


@pytest.mark.parametrize("more", ["", 'distance_type: "L1"'])
@pytest.mark.parametrize(
    ("shapes", "axis"), [([(3, 2, 2)], ""), ([(3, 4, 5)], "axis: -1"), ([(3, 4), (6, 4)], ""), ([(3, 4), (6, 2, 2)], "")]
)
def test_distances_to_each_row(shapes: list[tuple[int, ...]], axis: str, more: str) -> None:
    filler = 'num_output: 6 weight_filler { type: "gaussian" std: 1 }' if len(shapes) == 1 else ""
    net = over(f'type: "InnerDistance" inner_distance_param {{ {filler} {axis} {more} }}', *shapes).fill(1)
    values = {name: np.random.default_rng(1).standard_normal(net.shapes[name]).astype(np.float32) for name in net.inputs}
    assert_same(by_torch(net, values), distances(net, values))
    check_every_form(net, batch=None if len(shapes) == 2 else 5)


def test_gradients_are_the_forks() -> None:
    """2 (x - w), and -2 (x - w) for the rows; for L1 the signs."""
    for kind, factor in (("L2", 2.0), ("L1", 1.0)):
        net = over(f'type: "InnerDistance" inner_distance_param {{ distance_type: "{kind}" }}', (3, 4), (6, 4))
        x, rows = (torch.randn(net.shapes[name], generator=torch.Generator().manual_seed(0), requires_grad=True) for name in "ab")
        net.to_torch()(x, rows).sum().backward()
        difference = (x[:, None] - rows).detach()
        slope = factor * (difference if kind == "L2" else difference.sign())
        torch.testing.assert_close(x.grad, slope.sum(1))
        torch.testing.assert_close(rows.grad, -slope.sum(0))


@pytest.mark.parametrize("more", ["normalize: true", "transpose: true", "update_center_only: true"])
def test_what_changes_the_rows_is_refused_by_name(more: str) -> None:
    with pytest.raises(protogen.ProtogenError, match=more.split(":")[0]):
        over(f'type: "InnerDistance" inner_distance_param {{ num_output: 2 {more} }}', (3, 4)).to_torch()
    with pytest.raises(LayerError, match="distance_type must be L1 or L2"):
        over('type: "InnerDistance" inner_distance_param { num_output: 2 distance_type: "cosine" }', (3, 4))


@pytest.mark.parametrize(("shapes", "more"), [
    ([(3, 4), (6, 4)], "bias_term: false"),
    ([(3, 2, 2), (6, 4), (6,)], ""),
    ([(3, 5, 4), (6, 2, 2), (1, 6)], "axis: -1 num_output: 99"),
])  # fmt: skip
def test_weights_may_be_a_bottom(shapes: list[tuple[int, ...]], more: str) -> None:
    """inner_product_layer.cpp."""
    net = over(f'type: "InnerProduct" inner_product_param {{ {more} }}', *shapes)
    values = {name: np.random.default_rng(0).standard_normal(net.shapes[name]).astype(np.float32) for name in net.inputs}
    x, weight = values["a"].reshape(-1, 4), values["b"].reshape(6, 4)
    expected = x @ weight.T + (values["c"].reshape(6) if "c" in values else 0)
    assert_same(by_torch(net, values), [expected.reshape(net.shapes["out"])])
    check_every_form(net, batch=None)
    with pytest.raises(LayerError, match="the bias must be a third bottom"):
        over('type: "InnerProduct"', (3, 4), (6, 4))


BOTTOMS = 'bottom: "a" bottom: "b" top: "y"'
RESCALE = f"{BOTTOMS} label_specific_rescale_param {{ %s }}"
DISTANCE = 'bottom: "a" top: "y" inner_distance_param { num_output: 3 weight_filler { type: "gaussian" std: 1 } }'
ALONE = [
    Alone("LabelSpecificRescale", "label_specific_rescale_param.positive_weight", 3.0, RESCALE % "", [(4, 5), (4,)], rescaled,
          inputs=scores, phase="TRAIN"),
    Alone("LabelSpecificRescale", "label_specific_rescale_param.negative_weight", 3.0, RESCALE % "", [(4, 5), (4,)], rescaled,
          inputs=scores, phase="TRAIN"),
    Alone("LabelSpecificRescale", "label_specific_rescale_param.rescale_test", True, RESCALE % WEIGHTS, [(4, 5), (4,)], rescaled,
          inputs=scores),
    Alone("InnerDistance", "inner_distance_param.num_output", 5,
          'bottom: "a" top: "y" inner_distance_param { weight_filler { type: "gaussian" std: 1 } }', [(3, 4)], distances,
          refused="num_output must be positive"),
    Alone("InnerDistance", "inner_distance_param.axis", 2, DISTANCE, [(3, 4, 5)], distances),
    Alone("InnerDistance", "inner_distance_param.distance_type", "L1", DISTANCE, [(3, 4)], distances),
]  # fmt: skip
