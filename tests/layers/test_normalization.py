"""Normalizing layers beyond the cases of real Caffe: refusals, forks' forms, training, compile, export, ONNX."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import LayerError
from tests.layers.alone import Alone
from tests.layers.nets import behind_convolution, check_every_form, gradient, inputs_of, over
from tests.running import assert_same, by_onnx, by_torch, compile_whole, randomised

SEGNET_LEARN = 'type: "BN" bn_param { scale_filler { value: 1 } shift_filler { value: 0 } }'
NVIDIA = 'type: "BatchNorm" batch_norm_param { scale_bias: true moving_average_fraction: 0.9 }'


@pytest.mark.parametrize(
    ("layer", "tops"),
    [
        ('type: "LRN"', "out"),
        ('type: "LRN" lrn_param { local_size: 3 alpha: 0.5 beta: 0.5 k: 2 }', "out"),
        ('type: "LRN" lrn_param { local_size: 101 alpha: 5 }', "out"),
        ('type: "LRN" lrn_param { local_size: 3 alpha: 0 k: 2 }', "out"),  # ONNX Runtime's LRN takes neither this
        ('type: "LRN" lrn_param { local_size: 3 alpha: 0.5 beta: -0.75 }', "out"),  # nor that
        ('type: "LRN" lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL k: 9 }', "out"),
        ('type: "LRN" lrn_param { local_size: 101 norm_region: WITHIN_CHANNEL alpha: 50 }', "out"),
        ('type: "MVN"', "out"),
        ('type: "MVN" mvn_param { across_channels: true eps: 0.1 }', "out"),
        ('type: "MVN" mvn_param { normalize_variance: false }', "out"),
        ('type: "Normalize" norm_param { }', "out"),
        ('type: "Normalize" norm_param { across_spatial: false channel_shared: false }', "out"),
        ('type: "Normalize" norm_param { across_spatial: true channel_shared: false }', "out"),
        ('type: "Normalize" normalize_param { }', "out"),
        ('type: "Normalize" normalize_param { normalize_type: "L1" }', "out norm"),
        ('type: "Normalize"', "out norm"),
        ('type: "L2Normalization"', "out"),
        ('type: "BN" bn_param { bn_mode: INFERENCE }', "out"),
        (SEGNET_LEARN.replace("bn_param {", "bn_param { bn_mode: INFERENCE"), "out"),
        ('type: "BN" bn_param { eps: 0.1 }', "out"),
        ('type: "BN" bn_param { frozen: true }', "out"),
        ('type: "BatchNorm"', "out"),
        (NVIDIA, "out"),
    ],
)
def test_every_form_of_a_type_agrees(layer: str, tops: str) -> None:
    check_every_form(randomised(over(layer, (2, 3, 4, 5), tops=tops)))


@pytest.mark.parametrize(
    "layer", ['type: "MVN"', 'type: "Normalize" normalize_param { }', 'type: "BN" bn_param { bn_mode: INFERENCE }']
)
def test_tops_with_four_axes_for_bottoms_with_fewer(layer: str) -> None:
    net = over(layer, (2, 3, 4))
    assert net.shapes["out"] == (2, 3, 4, 1)
    check_every_form(randomised(net))


@pytest.mark.parametrize(
    "layer",
    ['type: "Normalize" norm_param { channel_shared: false }', 'type: "BN" bn_param { eps: 1e-5 }', 'type: "L2Normalization"'],
)
def test_tops_shaped_as_bottoms_with_two_axes(layer: str) -> None:
    net = over(layer, (2, 3))
    assert net.shapes["out"] == (2, 3)
    check_every_form(randomised(net))


@pytest.mark.parametrize(
    ("layer", "shape", "tops", "message"),
    [
        ('type: "LRN" lrn_param { local_size: 4 }', (1, 2, 3, 3), "out", "local_size must be odd"),
        ('type: "LRN" lrn_param { local_size: 0 }', (1, 2, 3, 3), "out", "local_size must be odd"),
        ('type: "LRN"', (1, 2, 3), "out", "4 axes"),
        ('type: "MVN"', (1, 2, 3, 3, 3), "out", "at most 4 axes"),
        ('type: "Normalize" norm_param { }', (3,), "out", "2 to 4 axes"),
        ('type: "Normalize" norm_param { }', (1, 2, 3, 3), "out norm", "one top"),
        ('type: "Normalize" normalize_param { normalize_type: "L3" }', (1, 2, 3, 3), "out", '"L1" or "L2"'),
        ('type: "L2Normalization"', (3,), "out", "batch axis"),
        ('type: "BN"', (3,), "out", "2 to 4 axes"),
        ('type: "BN" bn_param { bn_mode: LEARN eps: 1 }', (1, 2, 3, 3), "out", "mixes"),
        ('type: "BN" bn_param { frozen: true }', (1, 2, 3, 3), "out mean", "one top"),
        ('type: "BN" bn_param { bn_mode: INFERENCE }', (1, 2, 3, 3), "out mean", "only bn_mode: LEARN"),
    ],
)
def test_what_caffe_refuses_is_refused(layer: str, shape: tuple[int, ...], tops: str, message: str) -> None:
    with pytest.raises(LayerError, match="'op'.*" + message):
        _ = over(layer, shape, tops=tops).shapes


@pytest.mark.parametrize("size", [3, 5, 9])
def test_lrn_follows_its_formula_where_windows_reach_over_the_edge(size: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 2)).astype(np.float32)
    half = size // 2
    padded = np.pad(x.astype(np.float64) ** 2, [(0, 0), (half, half), (half, half), (half, half)])
    across = sum(padded[:, i : i + 3, half : half + 4, half : half + 2] for i in range(size))
    within = sum(padded[:, half : half + 3, i : i + 4, j : j + 2] for i in range(size) for j in range(size))
    net = over(f'type: "LRN" lrn_param {{ local_size: {size} alpha: 2 k: 3 }}', x.shape)
    assert_same(by_torch(net, [torch.tensor(x)]), [x * (3 + 2 / size * across) ** -0.75])
    net = over(f'type: "LRN" lrn_param {{ local_size: {size} alpha: 2 k: 3 norm_region: WITHIN_CHANNEL }}', x.shape)
    assert_same(by_torch(net, [torch.tensor(x)]), [x * (1 + 2 / size**2 * within) ** -0.75])


def test_a_huge_lrn_window_costs_no_memory() -> None:
    for region in ("ACROSS_CHANNELS", "WITHIN_CHANNEL"):
        net = over(f'type: "LRN" lrn_param {{ local_size: 4294967295 alpha: 1 norm_region: {region} }}', (1, 2, 3, 3))
        (x,) = inputs_of(net)
        assert_same(by_torch(net, [x]), [x.numpy()])  # alpha is shared out over so many that nothing is left
        assert_same(by_onnx(net, [x]), [x.numpy()])


def test_mvn_gradient_is_caffes_for_a_large_eps() -> None:
    net = over('type: "MVN" mvn_param { eps: 0.5 }', (2, 3, 4, 5))
    (x,) = inputs_of(net)
    weights = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(2))
    x.requires_grad_()
    y = net.to_torch()(x)
    (y * weights).sum().backward()
    with torch.no_grad():
        divisor = x.var((2, 3), correction=0, keepdim=True).sqrt() + 0.5
        projected = weights - weights.mean((2, 3), keepdim=True) - y * (y * weights).mean((2, 3), keepdim=True)
    assert x.grad is not None
    torch.testing.assert_close(x.grad, projected / divisor)


def test_mvn_of_a_constant_is_zero_with_a_finite_gradient() -> None:
    net = over('type: "MVN"', (1, 1, 2, 2))
    assert by_torch(net, [torch.full((1, 1, 2, 2), 2.0)])[0].tolist() == [[[[0, 0], [0, 0]]]]
    assert torch.isfinite(gradient(net, torch.full((1, 1, 2, 2), 2.0))).all()


def test_normalize_is_ssds_or_happynears_by_its_parameters() -> None:
    shape = (1, 3, 2, 2)
    assert over('type: "Normalize" norm_param { channel_shared: false }', shape).param_shapes == {"op": [(3,)]}
    assert over('type: "Normalize" norm_param { }', shape).param_shapes == {"op": [()]}
    assert over('type: "Normalize" param { lr_mult: 0 }', shape).param_shapes == {"op": [()]}
    assert over('type: "Normalize" normalize_param { }', shape).param_shapes == {}
    net = over('type: "Normalize"', shape, tops="out norm")
    assert net.param_shapes == {}
    assert net.shapes["norm"] == (1, 1, 2, 2)


@pytest.mark.parametrize("kind", ["L1", "L2"])
def test_happynears_normalize_gives_the_norm_and_its_gradient_if_asked(kind: str) -> None:
    x = torch.tensor([[3.0, -4.0]])
    length = 7.0 if kind == "L1" else 5.0
    for bp_norm in (False, True):
        param = f'normalize_param {{ normalize_type: "{kind}" bp_norm: {str(bp_norm).lower()} }}'
        net = over(f'type: "Normalize" {param}', (1, 2), tops="out norm")
        y, norm = by_torch(net, [x])
        np.testing.assert_allclose(y.reshape(-1), x.numpy()[0] / length, rtol=1e-6)
        np.testing.assert_allclose(norm, [[[[length]]]], rtol=1e-6)
        module = net.to_torch()
        leaf = x.clone().requires_grad_()
        tops = module(leaf)
        (0 * tops[0].sum() + tops[1].sum()).backward()
        direction = torch.sign(x) if kind == "L1" else x / 5
        torch.testing.assert_close(leaf.grad, direction if bp_norm else torch.zeros_like(x), atol=1e-6, rtol=1e-6)


def test_segnets_bn_learns_from_the_batch_in_test_too() -> None:
    net = over(SEGNET_LEARN, (4, 3, 5, 5), tops="out mean variance")
    assert net.shapes["variance"] == (1, 3, 1, 1)
    randomised(net)
    scale, shift = net.weights["op"]
    (x,) = inputs_of(net)
    values = x.numpy().astype(np.float64)
    mean, variance = values.mean((0, 2, 3), keepdims=True), values.var((0, 2, 3), keepdims=True)
    expected = [(values - mean) / np.sqrt(variance + 1e-9) * scale + shift, mean, variance]
    assert_same(by_torch(net, [x]), expected)
    for opset in (11, 18):
        assert_same(by_onnx(net, [x], opset=opset), expected)
    compiled = compile_whole(net.to_torch())(x)
    assert_same([tensor.detach().numpy() for tensor in compiled], expected)


def test_pspnets_bn_moves_its_statistics_in_training() -> None:
    net = over('type: "BN" bn_param { slope_filler { value: 1 } momentum: 0.8 eps: 0.01 }', (4, 3, 5, 5), phase="TRAIN")
    randomised(net)
    slope, bias, mean, variance = (blob.copy() for blob in net.weights["op"])
    (x,) = inputs_of(net)
    values = x.numpy().astype(np.float64)
    new_mean, new_variance = values.mean((0, 2, 3), keepdims=True), values.var((0, 2, 3), keepdims=True)
    module = net.to_torch()
    y = compile_whole(module)(x)
    assert_same([y.detach().numpy()], [(values - new_mean) / np.sqrt(new_variance + 0.01) * slope + bias])
    stored = [tensor.detach().numpy() for tensor in module.caffe_params("op")]
    assert_same(stored, [slope, bias, 0.8 * mean + 0.2 * new_mean, 0.8 * variance + 0.2 * new_variance])


def test_a_frozen_bn_keeps_everything_in_training() -> None:
    net = over('type: "BN" bn_param { frozen: true }', (2, 3, 4, 4), phase="TRAIN")
    randomised(net)
    (x,) = inputs_of(net)
    slope, bias, mean, variance = net.weights["op"]
    module = net.to_torch()
    x.requires_grad_()
    y = module(x)
    assert_same([y.detach().numpy()], [(x.detach().numpy() - mean) / np.sqrt(variance + 1e-5) * slope + bias])
    y.sum().backward()
    assert module.caffe_grads("op") == [None] * 4
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), np.broadcast_to(slope / np.sqrt(variance + 1e-5), x.shape), rtol=1e-5)
    assert_same([tensor.detach().numpy() for tensor in module.caffe_params("op")], net.weights["op"])


@pytest.mark.parametrize("layer", ['type: "BN" bn_param { bn_mode: INFERENCE }', 'type: "BN" bn_param { eps: 0.1 }', NVIDIA])
def test_bn_folds_into_the_convolution_before(layer: str) -> None:
    net = behind_convolution(layer)
    inputs = inputs_of(net)
    assert [node.op_type for node in net.to_onnx().graph.node] == ["Conv"]
    expected = by_torch(net, inputs)
    assert_same(by_onnx(net, inputs), expected)
    assert_same(by_onnx(net, inputs, fold=False), expected)


def test_segnets_learning_bn_is_not_folded() -> None:
    net = behind_convolution(SEGNET_LEARN)
    inputs = inputs_of(net)
    assert_same(by_onnx(net, inputs), by_torch(net, inputs))


# ---- NVIDIA's BatchNorm


@pytest.mark.parametrize("decided", ["", "use_global_stats: false"])
def test_nvidias_batch_norm_in_test_uses_its_statistics_undivided(decided: str) -> None:
    layer = f'type: "BatchNorm" batch_norm_param {{ scale_bias: true eps: 0 {decided} }}'
    net = over(layer, (2, 3, 4, 4))
    assert net.param_shapes["op"] == [(3,), (3,), (1,), (3,), (3,)]
    randomised(net)
    mean, variance, _, scale, bias = (blob.reshape(-1, 1, 1) for blob in net.weights["op"])
    (x,) = inputs_of(net)
    expected = [(x.numpy() - mean) / np.sqrt(variance + 1e-5) * scale + bias]
    assert_same(by_torch(net, [x]), expected)
    assert_same(by_onnx(net, [x], fold=False), expected)


def test_nvidias_batch_norm_begins_its_averages_with_the_first_batch() -> None:
    net = over(NVIDIA, (4, 3, 5, 5), phase="TRAIN")
    zero, one = np.zeros(3, np.float32), np.ones(3, np.float32)
    net.weights["op"] = [zero, zero, np.ones(1, np.float32), one, zero]
    module = net.to_torch()
    step = compile_whole(module)
    means, variances = [], []
    for seed in range(2):
        (x,) = inputs_of(net, seed=seed)
        step(x + seed)
        values = (x + seed).numpy().astype(np.float64)
        means.append(values.mean((0, 2, 3)))
        variances.append(values.var((0, 2, 3)) + 1e-5)
        expected = [np.dot([1] if seed == 0 else [0.9, 0.1], blob) for blob in (means, variances)]
        mean, variance, factor, _, _ = (tensor.detach().numpy() for tensor in module.caffe_params("op"))
        assert_same([mean, variance], expected)
        assert factor.tolist() == [1]


def test_batch_norm_in_training_divides_by_its_own_deviation_with_scale_and_bias() -> None:
    net = over(NVIDIA, (4, 3, 5, 5), phase="TRAIN")
    randomised(net)
    scale, bias = (blob.reshape(-1, 1, 1) for blob in net.weights["op"][3:])
    (x,) = inputs_of(net)
    values = x.numpy().astype(np.float64)
    mean, variance = values.mean((0, 2, 3), keepdims=True), values.var((0, 2, 3), keepdims=True)
    expected = (values - mean) / np.sqrt(variance + 1e-5) * scale + bias
    module = net.to_torch()
    y = module(x)
    assert_same([y.detach().numpy()], [expected])
    y.sum().backward()
    grads = module.caffe_grads("op")
    assert grads[:3] == [None] * 3
    torch.testing.assert_close(grads[4], torch.full((3,), 100.0))


@pytest.mark.parametrize("kind", ["L1", "L2"])
def test_happynears_fix_gradient_leaves_out_the_division_by_the_norm(kind: str) -> None:
    def run(fields: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        net = over(f'type: "Normalize" normalize_param {{ normalize_type: "{kind}" {fields} }}', (2, 3, 2, 2), tops="out norm")
        (x,) = inputs_of(net)
        x.requires_grad_()
        y, norm = net.to_torch()(x)
        ((y * torch.arange(24.0).reshape(y.shape)).sum() + (norm.sum() if norm.requires_grad else 0)).backward()
        assert x.grad is not None
        return y.detach(), norm.detach(), x.grad

    y, norm, slope = run("")
    fixed, _, larger = run("fix_gradient: true")
    assert_same([fixed.numpy()], [y.numpy()])
    torch.testing.assert_close(larger, slope * norm)
    _, _, both = run("bp_norm: true")
    _, _, larger_both = run("bp_norm: true fix_gradient: true")
    torch.testing.assert_close(larger_both - larger, both - slope)  # what comes back through the norm is as it was


def happynears(kind: str, fixed: bool = False, through_norm: bool = False):
    """x / norm and the norm, and the gradient of their sum, as normalize_layer.cpp and .cu of happynear/caffe-windows go."""

    def of(net: protogen.Net, values: dict[str, np.ndarray]) -> list[np.ndarray]:
        x = values["a"].astype(np.float64)
        norm = np.abs(x).sum(1, keepdims=True) + 1e-6 if kind == "L1" else np.sqrt((x * x).sum(1, keepdims=True) + 1e-6)
        y, along = x / norm, np.sign(x) if kind == "L1" else x / norm
        slope = (1 - along * y.sum(1, keepdims=True)) / (1 if fixed else norm) + along * through_norm
        return [y, norm, slope]

    return of


def ssds(net: protogen.Net, values: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [values["a"] / np.sqrt((values["a"] ** 2).sum((1, 2, 3), keepdims=True) + 4)]


BOTH = 'bottom: "a" top: "y" top: "norm" normalize_param { normalize_type: "L2" }'
ALONE = [
    Alone("Normalize", "norm_param.eps", 4, 'bottom: "a" top: "y" norm_param { across_spatial: true }', [(2, 3, 2, 2)], ssds),
    *(
        Alone("Normalize", f"normalize_param.{field}", value, BOTH, [(2, 3, 2, 2)], reference, gradient=("a",))
        for field, value, reference in (
            ("normalize_type", "L1", happynears("L1")),
            ("fix_gradient", True, happynears("L2", fixed=True)),
            ("bp_norm", True, happynears("L2", through_norm=True)),
        )
    ),
]
