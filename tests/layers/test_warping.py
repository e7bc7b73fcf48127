"""FlowWarp, Warp and Warping, pixel by pixel as in the forks' C++ and CUDA."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import LayerError
from tests.layers.alone import Alone
from tests.layers.nets import check_every_form, net_of, over
from tests.running import Arrays, by_torch

SHAPES = [(2, 3, 4, 5), (2, 2, 4, 5)]
NAN = float("nan")


def flows(shape: tuple[int, ...]) -> np.ndarray:
    """Flows that lead inside and outside, past the last pixel's middle, and to whole positions."""
    flow = np.random.default_rng(3).uniform(-2.5, 2.5, shape).astype(np.float32)
    flow[0, :, 1] = np.round(flow[0, :, 1])
    flow[0, :, -1, -1] = 0.5, 0.25
    flow[1, :, 0, 0] = 0
    return flow


def warped(image: np.ndarray, flow: np.ndarray, past: bool, fill: float) -> np.ndarray:
    """The loops of flow_warp_layer.cpp (`past`: up to below W and H) and warp_layer.cu (up to W - 1 and H - 1)."""
    n, channels, height, width = image.shape
    out = np.full_like(image, fill)
    for i, y, x in np.ndindex(n, height, width):
        at_x, at_y = np.float32(x) + flow[i, 0, y, x], np.float32(y) + flow[i, 1, y, x]
        below = np.nextafter(np.float32([width, height]), 0) if past else np.float32([width - 1, height - 1])
        if not (0 <= at_x <= below[0] and 0 <= at_y <= below[1]):
            continue
        left, top = math.floor(at_x), math.floor(at_y)
        right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
        alpha, beta = at_x - left, at_y - top
        for c in range(channels):
            plane = image[i, c]
            out[i, c, y, x] = (
                (1 - alpha) * (1 - beta) * plane[top, left]
                + alpha * (1 - beta) * plane[top, right]
                + (1 - alpha) * beta * plane[bottom, left]
                + alpha * beta * plane[bottom, right]
            )
    return out


def example(kind: str, param: str = "") -> tuple[protogen.Net, Arrays]:
    image = np.random.default_rng(1).standard_normal(SHAPES[0]).astype(np.float32)
    return over(f'type: "{kind}" {param}', *SHAPES), {"a": image, "b": flows(SHAPES[1])}


@pytest.mark.parametrize(("kind", "past"), [("FlowWarp", True), ("Warp", False)])
def test_warping_is_the_forks(kind: str, past: bool) -> None:
    net, values = example(kind)
    expected = warped(values["a"], values["b"], past, 0.0)
    np.testing.assert_allclose(by_torch(net, values)[0], expected, rtol=0, atol=1e-5)
    check_every_form(net)


@pytest.mark.parametrize("kind", ["FlowWarp", "Warp"])
def test_gradients_are_the_slopes_of_the_image(kind: str) -> None:
    net, values = example(kind)
    module = net.to_torch().double()
    image = torch.tensor(values["a"], dtype=torch.float64, requires_grad=True)
    inside = torch.rand((2, 2, 4, 5), generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.8 + 0.1
    flow = torch.where(torch.arange(5) < 4, inside, -inside)  # no whole positions, none near the border
    flow[:, 1, 3] = -flow[:, 1, 3].abs()
    flow = flow.requires_grad_()
    assert torch.autograd.gradcheck(module, (image, flow))


def test_warps_flow_at_whole_positions_has_the_mean_slope_of_both_sides() -> None:
    net = net_of('type: "Warp" bottom: "a" bottom: "b" top: "y"', (1, 1, 1, 4), (1, 2, 1, 4))
    image, flow = torch.tensor([[[[1.0, 2.0, 4.0, 8.0]]]]), torch.zeros(1, 2, 1, 4, requires_grad=True)
    net.to_torch()(image, flow).sum().backward()
    assert flow.grad is not None
    assert flow.grad[0, 0, 0].tolist() == [0.5, 1.5, 3.0, 2.0]  # half of the slopes on the left and on the right
    assert flow.grad[0, 1, 0].tolist() == [0.0] * 4


def test_a_flow_of_another_size_is_refused() -> None:
    with pytest.raises(LayerError, match=r"the flow for an image of shape \(2, 3, 4, 5\) must be \(2, 2, 4, 5\)"):
        over('type: "FlowWarp"', (2, 3, 4, 5), (2, 2, 4, 4))


# ---- Warping, whose flow has two bottoms

TWO_FLOWS = [(2, 3, 4, 5), (2, 1, 4, 5), (2, 1, 4, 5)]


def test_warping_by_two_flows_is_the_forks_with_its_central_differences() -> None:
    """warping_layer.cu: the gradient of a flow is that of the warped image, whose edges have none."""
    net = over('type: "Warping"', *TWO_FLOWS)
    flow = flows(SHAPES[1])
    values = {"a": example("Warp")[1]["a"], "b": flow[:, :1], "c": flow[:, 1:]}
    expected = warped(values["a"], flow, False, 0.0)
    height, width = expected.shape[2:]
    for i, y, x in np.ndindex(2, height, width):  # the last row and column are outside here
        if x + flow[i, 0, y, x] >= width - 1 or y + flow[i, 1, y, x] >= height - 1:
            expected[i, :, y, x] = 0
    tensors = [torch.tensor(values[name], requires_grad=name != "a") for name in "abc"]
    top = net.to_torch()(*tensors)
    np.testing.assert_allclose(top.detach(), expected, rtol=0, atol=1e-5)
    top.sum().backward()
    for axis, tensor in zip((3, 2), tensors[1:]):
        slope = np.zeros_like(expected)
        inner = [slice(None)] * 4
        inner[axis] = slice(1, -1)
        slope[tuple(inner)] = np.gradient(expected, axis=axis)[tuple(inner)]
        assert tensor.grad is not None
        np.testing.assert_allclose(tensor.grad, slope.sum(1, keepdims=True), rtol=0, atol=1e-5)
    check_every_form(net)


def test_a_warping_of_two_bottoms_is_another_forks() -> None:
    with pytest.raises(LayerError, match="needs 3 bottoms, has 2"):
        over('type: "Warping"', *SHAPES)


def filled_with_nan(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    return [warped(values["a"], values["b"], True, NAN)]


ALONE = [
    Alone(
        "FlowWarp", "flow_warp_param.fill_value", "NOT_A_NUMBER", 'bottom: "a" bottom: "b" top: "y"', SHAPES, filled_with_nan,
        inputs=lambda: [example("FlowWarp")[1][name] for name in "ab"],
    ),
]  # fmt: skip
