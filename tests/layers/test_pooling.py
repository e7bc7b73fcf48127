"""Pooling beyond the reference cases: other sizes, awkward windows, stochastic, masks, every form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import LayerError
from tests.layers.alone import Alone
from tests.layers.nets import OPSETS, check_every_form, net_of, values_for
from tests.running import Arrays, assert_same, by_onnx, by_torch

X = (2, 3, 7, 6)
AWKWARD = [
    "kernel_size: 3 stride: 2",
    "kernel_size: 3 stride: 2 pad: 1",
    "kernel_size: 3 stride: 2 pad: 2",  # pad > kernel / 2
    "kernel_size: 5 stride: 3 pad: 4",
    "kernel_size: 2 stride: 3",  # stride > kernel
    "kernel_size: 1 stride: 4",
    "kernel_size: 2 stride: 5 pad: 1",
    "kernel_h: 3 kernel_w: 2 stride_h: 1 stride_w: 3 pad_h: 0 pad_w: 1",
    "kernel_size: 3 stride: 2 round_mode: FLOOR",
    "kernel_size: 3 stride: 2 ceil_mode: false",
    "kernel_size: 3 stride: 2 torch_pooling: true",
    "kernel_size: 2 stride: 2 pad: 1 torch_pooling: true",
    "kernel_size: 3 stride: 2 pad: 1 avg_include_pad: false",
    "kernel_size: 3 stride: 1 pad: 1 avg_include_pad: false",
    "kernel_h: 3 kernel_w: 2 stride_h: 1 stride_w: 3 pad_h: 2 pad_w: 1 avg_include_pad: false torch_pooling: true",
    "kernel_size: 8 stride: 4",  # larger than the image: one clipped window
    "global_pooling: true",
]


def pooling(param: str, tops: str = 'top: "y"', shape: tuple[int, ...] = X, phase: str = "TEST"):
    return net_of(f'type: "Pooling" bottom: "a" {tops} pooling_param {{ {param} }}', shape, phase=phase)


def window_loop(net, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maximum, its index and average of every window, one window after the other as Caffe goes."""
    op = net.ops[-1]
    n, c, height, width = x.shape
    kernel = (height, width) if op.global_pooling else op.kernel
    out = []
    for i, size in enumerate((height, width)):
        steps = (size + 2 * op.pad[i] - kernel[i]) / op.stride[i]
        count = (math.floor(steps) if op.floor else math.ceil(steps)) + 1
        if any(op.pad) and (count - 1) * op.stride[i] >= size + op.pad[i]:
            count -= 1
        out.append(count)
    largest = np.full((n, c, *out), np.float32(-3.4028234663852886e38))
    mask, average = np.full((n, c, *out), -1.0), np.zeros((n, c, *out))
    for i in range(out[0]):
        for j in range(out[1]):
            top, left = i * op.stride[0] - op.pad[0], j * op.stride[1] - op.pad[1]
            bottom, right = min(top + kernel[0], height + op.pad[0]), min(left + kernel[1], width + op.pad[1])
            area = (bottom - top) * (right - left)
            if not op.param.avg_include_pad:
                area = (min(bottom, height) - max(top, 0)) * (min(right, width) - max(left, 0))
            rows, columns = range(max(top, 0), min(bottom, height)), range(max(left, 0), min(right, width))
            places = [(r, k) for r in rows for k in columns]
            total = np.zeros((n, c))
            for r, k in places:
                higher = x[:, :, r, k] > largest[:, :, i, j]
                largest[:, :, i, j] = np.where(higher, x[:, :, r, k], largest[:, :, i, j])
                mask[:, :, i, j] = np.where(higher, r * width + k, mask[:, :, i, j])
                total += x[:, :, r, k]
            with np.errstate(invalid="ignore", divide="ignore"):
                average[:, :, i, j] = total / area
    return largest, mask, average


@pytest.mark.parametrize("shape", [X, (1, 2, 5, 8), (2, 1, 6, 6), (1, 1, 9, 11)])
@pytest.mark.parametrize("param", AWKWARD)
def test_any_image_size_through_one_module(param: str, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    for method, wanted in (("MAX", 0), ("AVE", 2)):
        net = pooling(f"pool: {method} {param}")
        made = net.to_torch()(torch.tensor(x)).numpy()
        expected = window_loop(net, x)[wanted]
        assert made.shape == expected.shape
        np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@pytest.mark.parametrize("param", AWKWARD)
def test_every_form_agrees(param: str, method: str) -> None:
    check_every_form(pooling(f"pool: {method} {param}"))


@pytest.mark.parametrize("param", AWKWARD)
def test_masks(param: str) -> None:
    net = pooling(param, 'top: "y" top: "mask"')
    values = values_for(net)
    largest, mask, _ = window_loop(net, values["a"])
    assert_same(by_torch(net, values), [largest, mask])
    check_every_form(net)


@pytest.mark.parametrize("param", ["kernel_size: 3 stride: 2", "kernel_size: 2 stride: 3", "global_pooling: true"])
def test_stochastic_in_test_weights_values_by_themselves(param: str) -> None:
    net = pooling(f"pool: STOCHASTIC {param}", shape=(2, 3, 8, 6))
    values = {"a": np.abs(values_for(net)["a"])}
    values["a"][:, 0] = 0  # windows of nothing but zeros give zero
    y = by_torch(net, values)[0]
    whole = param.startswith("global")
    window = values["a"] if whole else values["a"][:, :, :3, :3] if "3 stride: 2" in param else values["a"][:, :, :2, :2]
    with np.errstate(invalid="ignore"):
        expected = np.nan_to_num((window**2).sum((2, 3)) / window.sum((2, 3)))
    np.testing.assert_allclose(y[:, :, 0, 0], expected, rtol=1e-5)
    for opset in OPSETS:
        assert_same(by_onnx(net, values, opset=opset), [y])


@pytest.mark.parametrize("shape", [(2, 3, 7, 6), (1, 3, 5, 9)])
@pytest.mark.parametrize("param", ["kernel_size: 3 stride: 2", "kernel_size: 2 stride: 2", "global_pooling: true"])
def test_stochastic_in_train_draws_values_of_the_window(param: str, shape: tuple[int, ...]) -> None:
    net = pooling(f"pool: STOCHASTIC {param}", phase="TRAIN")
    x = torch.rand(shape) + 0.1
    module = net.to_torch()
    y = module(x)
    kernel, stride = (shape[2:], 1) if param.startswith("global") else (int(param[13]), 2)
    kernel = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    for i in range(y.shape[2]):
        for j in range(y.shape[3]):
            window = x[:, :, i * stride : i * stride + kernel[0], j * stride : j * stride + kernel[1]].flatten(2)
            assert (window == y[:, :, i, j, None]).any(2).all()
    assert not torch.equal(torch.stack([module(x) for _ in range(20)]).amin(0), y) or y.numel() == 1


def test_stochastic_draws_in_proportion() -> None:
    net = pooling("pool: STOCHASTIC global_pooling: true", shape=(4000, 1, 1, 2), phase="TRAIN")
    y = net.to_torch()(torch.tensor([1.0, 3.0]).expand(4000, 1, 1, 2))
    assert 0.7 < (y == 3).float().mean().item() < 0.8


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("kernel_size: 0", "kernel size must be positive"),
        ("", "kernel_size (or kernel_h and kernel_w) is missing"),
        ("kernel_size: 2 kernel_h: 2 kernel_w: 2", "give either kernel_size, or both"),
        ("kernel_h: 2", "give either kernel_size, or both"),
        ("kernel_size: 2 stride: 0", "stride must be positive"),
        ("kernel_size: 2 stride: 2 stride_h: 1 stride_w: 1", "give either stride, or both"),
        ("kernel_size: 2 pad_h: 1", "give either pad, or both"),
        ("kernel_size: 2 pad: 2", "must be smaller than the kernel"),
        ("kernel_size: 9", "is larger than its bottom"),
        ("kernel_size: 9 stride: 2", "is larger than its bottom"),
        ("kernel_size: 8 stride: 2 round_mode: FLOOR", "is larger than its bottom"),
        ("global_pooling: true kernel_size: 2", "leave kernel_size out"),
        ("global_pooling: true stride: 2", "no pad and no stride"),
        ("pool: STOCHASTIC kernel_size: 3 pad: 1", "stochastic pooling takes no pad"),
    ],
)
def test_what_caffe_refuses_names_the_layer(param: str, message: str) -> None:
    with pytest.raises(LayerError, match="layer 'op'") as error:
        pooling(param)
    assert message in str(error.value)


def test_only_max_pooling_has_a_mask() -> None:
    with pytest.raises(LayerError, match="only MAX pooling has a mask"):
        pooling("pool: AVE kernel_size: 2", 'top: "y" top: "mask"')


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ("round_mode: FLOOR ceil_mode: true", "round_mode and ceil_mode"),
        ("round_mode: CEIL torch_pooling: true", "round_mode and torch_pooling"),
        ("ceil_mode: true torch_pooling: true", "ceil_mode and torch_pooling"),
        ("round_mode: FLOOR ceil_mode: false", ""),
        ("ceil_mode: true torch_pooling: false", ""),
    ],
)
def test_roundings_that_contradict_each_other_are_refused(fields: str, refused: str) -> None:
    """Each field is another fork's; where they disagree, no Caffe says which goes."""
    pool = f'layer {{ name: "p" type: "Pooling" bottom: "x" top: "p" pooling_param {{ kernel_size: 2 stride: 2 {fields} }} }}'
    net = protogen.loads(f'layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: [1, 1, 5, 5] }} }} }} {pool}')
    if refused:
        with pytest.raises(protogen.ConversionError, match=f"layer 'p'.*{refused} contradict each other"):
            net.to_torch()
    else:
        net.to_torch()


def rounded_down(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    """PyTorch's maximum over whole windows only."""
    return [torch.nn.functional.max_pool2d(torch.tensor(values["a"]), 3, 2).numpy()]


def without_padding(net: protogen.Net, values: Arrays) -> list[np.ndarray]:
    """PyTorch's average over those values of a window that lie within the image."""
    return [torch.nn.functional.avg_pool2d(torch.tensor(values["a"]), 3, 2, 1, count_include_pad=False).numpy()]


POOL = 'bottom: "a" top: "y" pooling_param { kernel_size: 3 stride: 2 %s }'
ALONE = [
    *(
        Alone("Pooling", f"pooling_param.{field}", value, POOL % "", [X], rounded_down)
        for field, value in (("round_mode", "FLOOR"), ("ceil_mode", False), ("torch_pooling", True))
    ),
    Alone("Pooling", "pooling_param.avg_include_pad", False, POOL % "pool: AVE pad: 1", [(2, 3, 7, 5)], without_padding),
]
