"""The same on a CUDA device: PyTorch there against PyTorch and ONNX Runtime on the CPU, and against real Caffe."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

import protogen
from protogen import blocks
from tests.oracle import Case, assert_close, cases, families

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch sees no CUDA device here"),
]

TOLERANCE = 1e-4  # of max(1, largest value): sums are taken in another order than on a CPU


@pytest.fixture(autouse=True)
def exact_float32() -> Iterator[None]:
    """TF32 keeps 10 bits of the inputs; without it float32 means float32."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def peleenet() -> protogen.Net:
    return protogen.models.peleenet(size=64, classes=10)


def residual_net() -> protogen.Net:
    b = protogen.NetBuilder("residual")
    x = b.input("data", (2, 3, 32, 32))
    x = b.conv_block(x, 16, 7, stride=2)
    x = blocks.basic_block(b, b.pool(x, "MAX", 3, stride=2), 16)
    x = blocks.bottleneck(b, x, 32, stride=2)
    b.softmax(b.fc(b.global_pool(x), 10))
    return b.build()


def mobile_net() -> protogen.Net:
    b = protogen.NetBuilder("mobile")
    x = b.input("data", (2, 3, 32, 32))
    x = b.conv_block(x, 8, 3, stride=2)
    x = blocks.inverted_residual(b, x, 8)
    x = blocks.squeeze_excite(b, blocks.inverted_residual(b, x, 16, 2), 4)
    b.sigmoid(b.deconv(x, 4, 4, stride=2, pad=1))
    return b.build()


def plain_net() -> protogen.Net:
    b = protogen.NetBuilder("plain")
    x = b.input("data", (2, 3, 31, 29))
    x = b.prelu(b.conv(x, 12, (5, 3), stride=2, pad=(2, 1)))
    x = b.pool(b.lrn(x), "AVE", 3, stride=2, pad=1)
    b.softmax(b.fc(b.dropout(b.relu(b.fc(b.flatten(x), 32))), 5))
    return b.build()


NETS: list[Callable[[], protogen.Net]] = [peleenet, residual_net, mobile_net, plain_net]


@pytest.mark.parametrize("make", NETS)
def test_verify_in_float32(make: Callable[[], protogen.Net]) -> None:
    report = protogen.verify(make(), device="cuda")
    assert report.ok, report.verdict
    assert report.tolerance == 1e-5


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("make", NETS)
def test_verify_in_half_precision(make: Callable[[], protogen.Net], dtype: str) -> None:
    report = protogen.verify(make(), device="cuda", dtype=dtype)
    assert report.ok, report.verdict
    assert report.comparisons == [f"torch {dtype} / torch"]
    assert max(row.max_rel for row in report.rows) > 1e-5, "it did not run in half precision"


@pytest.mark.parametrize("make", NETS)
def test_the_module_moves_to_the_device_whole(make: Callable[[], protogen.Net]) -> None:
    module = make().to_torch()
    inputs = [torch.randn(make().shapes[name]) for name in module.input_names]
    with torch.no_grad():
        expected = module(*inputs)
        actual = module.to("cuda")(*[tensor.cuda() for tensor in inputs])
    assert actual.device.type == "cuda"
    assert all(tensor.device.type == "cuda" for tensor in module.state_dict().values())
    assert_close(actual.cpu().numpy(), expected.numpy(), TOLERANCE, "output")


def test_compiled_on_the_device() -> None:
    net = residual_net()
    module = net.to_torch(fold=True).cuda()
    x = torch.randn(net.shapes["data"], device="cuda")
    with torch.no_grad():
        assert_close(torch.compile(module, fullgraph=True)(x).cpu().numpy(), module(x).cpu().numpy(), TOLERANCE, "output")


def test_a_training_step() -> None:
    """Forward, backward and running sums in TRAIN are the CPU's."""
    b = protogen.NetBuilder("t", phase="TRAIN")
    x, label = b.input("data", (4, 3, 16, 16)), b.input("label", (4,))
    b.softmax_loss(b.fc(b.global_pool(blocks.basic_block(b, x, 8)), 5), label)
    net = b.build()
    inputs = [torch.randn(4, 3, 16, 16), torch.tensor([0.0, 1, 2, 3])]
    results = []
    for device in ("cpu", "cuda"):
        module = net.to_torch().to(device)
        module.loss(*[tensor.to(device) for tensor in inputs]).backward()
        grads = {name: p.grad.cpu().numpy() for name, p in module.named_parameters() if p.grad is not None}
        buffers = {name: value.cpu().numpy() for name, value in module.named_buffers()}
        results.append({**grads, **buffers})
    assert results[0].keys() == results[1].keys()
    for name, value in results[0].items():
        assert_close(results[1][name], value, TOLERANCE, name)


@pytest.mark.parametrize("family", families())
def test_every_family_gives_caffes_numbers(family: str) -> None:
    for name, case in cases(family).items():
        check(case, f"{family}/{name}")


def check(case: Case, what: str) -> None:
    net = protogen.loads(case.prototxt, phase=case.phase)
    for layer, params in case.per_layer("param").items():
        net.weights[layer] = params
    given = case.of("in")
    with torch.no_grad():
        blobs = net.to_torch().cuda().blobs(*[torch.tensor(given[blob], device="cuda") for blob in net.inputs])
    for blob, expected in case.of("out").items():
        assert blobs[blob].device.type == "cuda", f"{what}: blob {blob} was computed elsewhere"
        assert_close(np.asarray(blobs[blob].cpu()), expected, TOLERANCE, f"{what}: blob {blob}")
