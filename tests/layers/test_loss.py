"""Losses beyond the cases of real Caffe: normalizers, floors, weights, forks' forms, refusals, compile and export."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import protogen
from protogen.errors import ConversionError, LayerError, ProtogenError
from tests.running import compile_whole


def text(type: str, *shapes: tuple[int, ...], tops: int = 1, more: str = "") -> str:
    """A net of one loss layer "op" with inputs b0, b1, ... and tops t0, t1, ..."""
    dims = " ".join(f"shape {{ {' '.join(f'dim: {d}' for d in shape)} }}" for shape in shapes)
    names = [f"b{i}" for i in range(len(shapes))]
    # Caffe wants it where there are further tops, which count with 0; one that weighs nothing by itself may go without.
    weights = "loss_weight: 1" + " loss_weight: 0" * (tops - 1) if tops > 1 and type != "SmoothL1LossOHEM" else ""
    return (
        f'layer {{ name: "in" type: "Input" {" ".join(f"top: {n!r}" for n in names)} input_param {{ {dims} }} }}\n'
        f'layer {{ name: "op" type: "{type}" {" ".join(f"bottom: {n!r}" for n in names)} '
        f"{' '.join(f'top: {chr(39)}t{i}{chr(39)}' for i in range(tops))} {weights} {more} }}"
    )


def module(*args: object, **options: object) -> torch.nn.Module:
    return protogen.loads(text(*args, **options), phase="TRAIN").to_torch()  # type: ignore[arg-type]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def labels(*shape: int, classes: int = 4, seed: int = 1) -> torch.Tensor:
    return torch.randint(0, classes, shape, generator=torch.Generator().manual_seed(seed)).float()


X, Y = random(3, 4, 2, 5), labels(3, 2, 5)
PER_ITEM = F.cross_entropy(X, Y.long(), reduction="none")


@pytest.mark.parametrize(
    ("parameters", "divisor"),
    [
        ("", 30),
        ("normalization: FULL", 30),
        ("normalization: VALID", 30),
        ("normalization: BATCH_SIZE", 3),
        ("normalization: NONE", 1),
        ("normalize: true", 30),
        ("normalize: false", 3),
        ("normalize: false normalization: FULL", 30),
        ("normalization: PRE_FIXED pre_fixed_normalizer: 7", 7),
    ],
)
def test_softmax_loss_is_divided_by_its_normalizer(parameters: str, divisor: int) -> None:
    loss = module("SoftmaxWithLoss", X.shape, Y.shape, more=f"loss_param {{ {parameters} }}")(X, Y)
    assert loss.item() == pytest.approx(PER_ITEM.sum().item() / divisor, rel=1e-5)


@pytest.mark.parametrize(
    ("parameters", "by_valid"), [("", True), ("normalization: FULL", False), ("normalization: BATCH_SIZE", False)]
)
def test_ignored_labels_count_only_for_full_and_batch_size(parameters: str, by_valid: bool) -> None:
    y = Y.clone()
    y[0] = 255
    x = X.clone().requires_grad_()
    loss = module("SoftmaxWithLoss", X.shape, Y.shape, more=f"loss_param {{ ignore_label: 255 {parameters} }}")(x, y)
    divisor = 20 if by_valid else 3 if "BATCH" in parameters else 30
    assert loss.item() == pytest.approx(PER_ITEM[1:].sum().item() / divisor, rel=1e-5)
    loss.backward()
    assert not x.grad[0].any()
    assert x.grad[1].any()


@pytest.mark.parametrize("type", ["SoftmaxWithLoss", "SigmoidCrossEntropyLoss"])
def test_a_batch_where_all_is_ignored_gives_zero(type: str) -> None:
    y = torch.full((2, 3), 9.0) if type.startswith("Sig") else torch.full((2,), 9.0)
    x = random(2, 3).requires_grad_()
    loss = module(type, x.shape, y.shape, more="loss_param { ignore_label: 9 normalization: VALID }")(x, y)
    loss.backward()
    assert loss == 0
    assert not x.grad.any()


def test_softmax_axis_and_second_top() -> None:
    x, y = random(2, 3, 4), labels(2, 3)
    op = module("SoftmaxWithLoss", x.shape, y.shape, tops=2, more="softmax_param { axis: -1 }")
    x.requires_grad_()
    loss, prob = op(x, y)
    assert loss.item() == pytest.approx(F.cross_entropy(x.reshape(6, 4), y.flatten().long()).item(), rel=1e-5)
    assert torch.allclose(prob, x.softmax(2))
    assert not prob.requires_grad
    assert op.loss(x, y).item() == pytest.approx(loss.item())  # the second top has no loss weight


def test_softmax_loss_floor_has_caffes_value_and_gradient() -> None:
    x = torch.tensor([[0.0, 1000.0]], requires_grad=True)
    loss = module("SoftmaxWithLoss", (1, 2), (1,))(x, torch.tensor([0.0]))
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(1.1754943508222875e-38), rel=1e-6)
    assert x.grad.tolist() == [[-1.0, 1.0]]


def test_infogain_floor_has_caffes_value_and_gradient() -> None:
    x, h = torch.tensor([[0.0, 1000.0]], requires_grad=True), torch.tensor([[2.0, 0.5], [0.0, 1.0]])
    loss = module("InfogainLoss", (1, 2), (1,), (2, 2))(x, torch.tensor([0.0]), h)
    loss.backward()
    assert loss.item() == pytest.approx(-2 * math.log(1e-20), rel=1e-6)
    assert x.grad.tolist() == [[-2.0, 2.0]]


def test_multinomial_floor_has_caffes_value_and_gradient() -> None:
    p = torch.tensor([[0.0, 1.0]], requires_grad=True)
    loss = module("MultinomialLogisticLoss", (1, 2), (1,))(p, torch.tensor([0.0]))
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(1e-20), rel=1e-6)
    assert p.grad[0, 0].item() == pytest.approx(-1e20, rel=1e-5)


def test_infogain_over_places_with_ignored_labels() -> None:
    x, y, h = random(2, 3, 4), labels(2, 4, classes=3), random(1, 1, 3, 3, seed=2)
    y[0, 1] = y[1, 3] = 7
    loss, prob = module("InfogainLoss", x.shape, y.shape, h.shape, tops=2, more="loss_param { ignore_label: 7 }")(x, y, h)
    log, expected = x.log_softmax(1), 0.0
    for n in range(2):
        for s in range(4):
            if y[n, s] != 7:
                expected -= sum(h[0, 0, int(y[n, s]), k] * log[n, k, s] for k in range(3))
    assert loss.item() == pytest.approx(float(expected) / 6, rel=1e-5)
    assert torch.allclose(prob, x.softmax(1))


def blob_file(array: np.ndarray) -> bytes:
    """A BlobProto: its shape (field 7) and its packed data (field 5)."""
    dims = bytes([len(array.shape) + 2, 0x0A, len(array.shape), *array.shape])
    data = array.astype("<f4").tobytes()
    assert len(data) < 128
    return b"\x3a" + dims + b"\x2a" + bytes([len(data)]) + data


def test_infogain_matrix_from_a_file(tmp_path) -> None:
    h = random(3, 3, seed=2)
    (tmp_path / "h.binaryproto").write_bytes(blob_file(h.numpy()))
    more = f'infogain_loss_param {{ source: "{tmp_path / "h.binaryproto"}" }}'
    x, y = random(2, 3), labels(2, classes=3)
    assert module("InfogainLoss", (2, 3), (2,), more=more)(x, y).item() == pytest.approx(
        module("InfogainLoss", (2, 3), (2,), (3, 3))(x, y, h).item()
    )
    with pytest.raises(ProtogenError, match="4 x 4"):
        module("InfogainLoss", (2, 4), (2,), more=more)
    net = protogen.loads(text("InfogainLoss", (2, 3), (2,), more='infogain_loss_param { source: "none.binaryproto" }'))
    with pytest.raises(ProtogenError, match=r"none\.binaryproto"):  # only conversion needs the file
        net.to_torch()


def test_sigmoid_cross_entropy_knows_no_fixed_divisor() -> None:
    more = "loss_param { normalization: PRE_FIXED pre_fixed_normalizer: 7 }"
    with pytest.raises(ConversionError, match=r"'op' .*: loss_param.normalization: PRE_FIXED is not computed"):
        module("SigmoidCrossEntropyLoss", (2, 3), (2, 3), more=more)


def test_sigmoid_cross_entropy_takes_soft_targets_and_sends_them_no_gradient() -> None:
    x, t = random(2, 3).requires_grad_(), torch.rand(2, 3, generator=torch.Generator().manual_seed(3)).requires_grad_()
    loss = module("SigmoidCrossEntropyLoss", (2, 3), (2, 3))(x, t)
    loss.backward()
    assert loss.item() == pytest.approx(F.binary_cross_entropy_with_logits(x, t, reduction="sum").item() / 2, rel=1e-5)
    assert torch.allclose(x.grad, (x.sigmoid() - t).detach() / 2)
    assert t.grad is None


def test_hinge_loss_at_the_kink_and_on_many_axes() -> None:
    x = torch.tensor([[-1.0, 3.0], [0.5, 0.0]], requires_grad=True)
    module("HingeLoss", (2, 2), (2,))(x, torch.tensor([1.0, 1.0])).backward()
    assert x.grad.tolist() == [[0, 0], [0.5, -0.5]]
    y = random(2, 2, 3)
    flat = module("HingeLoss", (2, 6), (2,), more="hinge_loss_param { norm: L2 }")(y.reshape(2, 6), torch.tensor([5.0, 0.0]))
    assert module("HingeLoss", (2, 2, 3), (2,), more="hinge_loss_param { norm: L2 }")(y, torch.tensor([5.0, 0.0])) == flat


def test_contrastive_loss_of_equal_vectors_has_a_finite_gradient() -> None:
    a = torch.zeros(1, 3, requires_grad=True)
    module("ContrastiveLoss", (1, 3), (1, 3), (1,))(a, torch.zeros(1, 3), torch.zeros(1)).backward()
    assert a.grad.tolist() == [[0, 0, 0]]


def test_contrastive_gradient_divides_by_the_distance_plus_a_little() -> None:
    a = torch.tensor([[1e-4, 0.0]], requires_grad=True)
    module("ContrastiveLoss", (1, 2), (1, 2), (1,))(a, torch.zeros(1, 2), torch.zeros(1)).backward()
    assert a.grad[0, 0].item() == pytest.approx(-(1 - 1e-4) * 1e-4 / 2e-4, rel=1e-4)


# ---- smooth L1


def smooth(d: torch.Tensor, sigma: float = 1.0) -> torch.Tensor:
    return torch.where(d.abs() < 1 / sigma**2, (sigma * d) ** 2 / 2, d.abs() - 0.5 / sigma**2)


A, B, INSIDE, OUTSIDE = (random(3, 4, 2, 2, seed=seed) for seed in range(4))


def test_smooth_l1_with_inside_and_outside_weights() -> None:
    a, b = A.clone().requires_grad_(), B.clone().requires_grad_()
    op = module("SmoothL1Loss", *[A.shape] * 4, more="smooth_l1_loss_param { sigma: 3 }")
    loss = op(a, b, INSIDE, OUTSIDE)
    expected = (OUTSIDE * smooth(INSIDE * (a - b), 3)).sum() / 3
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    ours, reference = (torch.autograd.grad(value, (a, b)) for value in (loss, expected))
    assert all(torch.allclose(x, y, atol=1e-6) for x, y in zip(ours, reference))


def test_happynears_turn_point_is_where_smooth_l1_becomes_straight() -> None:
    a, b = torch.tensor([[0.0, 2.0, 2.75, -3.0]], requires_grad=True), torch.tensor([[0.5, 1.0, 0.0, 1.0]])
    loss = module("SmoothL1Loss", a.shape, b.shape, more="smoothl1_param { turn_point: 2 }").loss(a, b)
    loss.backward()
    assert loss.item() == 0.125 + 0.5 + (2.75 - 2 + 2) + (4 - 2 + 2), "d * d / 2 below 2, else |d| - 2 + 2 * 2 / 2"
    assert a.grad.tolist() == [[-0.5, 1, 1, -1]]


@pytest.mark.parametrize(
    ("type", "shapes"),
    [
        ("EuclideanLoss", [(3, 4), (3, 4)]),
        ("HingeLoss", [(3, 4), (3,)]),
        ("MultinomialLogisticLoss", [(3, 4), (3,)]),
        ("ContrastiveLoss", [(3, 4), (3, 4), (3,)]),
    ],
)
def test_losses_that_intels_caffe_would_not_divide_are_refused(type: str, shapes: list[tuple[int, ...]]) -> None:
    with pytest.raises(ConversionError, match=r"'op' .*: loss_param.normalization: NONE is not computed"):
        module(type, *shapes, more="loss_param { normalization: NONE }")
    values = [random(3, 4).abs(), random(3, 4, seed=2)][: len(shapes[1])] + ([labels(3)] if (3,) in shapes else [])
    plain, divided = (module(type, *shapes, more=more) for more in ("", "loss_param { normalization: BATCH_SIZE }"))
    assert divided.loss(*values) == plain.loss(*values), "no Caffe reads anything else"


@pytest.mark.parametrize("type", ["SmoothL1Loss", "SmoothL1LossOHEM"])
def test_one_weight_is_in_the_loss_and_not_in_the_gradient(type: str) -> None:
    a = A.clone().requires_grad_()
    loss = module(type, *[A.shape] * 3, more="loss_param { normalization: BATCH_SIZE }")(a, B, INSIDE)
    loss.backward()
    d = INSIDE * (A - B)
    assert loss.item() == pytest.approx(smooth(d).sum().item() / 3, rel=1e-5)
    assert torch.allclose(a.grad, d.clamp(-1, 1) / 3, atol=1e-6)


@pytest.mark.parametrize(
    ("type", "parameters", "divisor"),
    [
        ("SmoothL1Loss", "", 3),
        ("SmoothL1Loss", "loss_param { normalization: PRE_FIXED pre_fixed_normalizer: 128 }", 128),
        ("SmoothL1LossOHEM", "", 12),
        ("SmoothL1LossOHEM", "loss_param { normalization: FULL }", 12),
        ("SmoothL1LossOHEM", "loss_param { normalization: NONE }", 1),
        ("SmoothL1LossOHEM", "loss_param { normalization: PRE_FIXED pre_fixed_normalizer: 128 }", 128),
    ],
)
def test_smooth_l1_normalizers_and_per_item_losses(type: str, parameters: str, divisor: int) -> None:
    loss, per_item = module(type, A.shape, B.shape, tops=2, more=parameters)(A, B)
    assert loss.item() == pytest.approx(smooth(A - B).sum().item() / divisor, rel=1e-5)
    assert torch.allclose(per_item, smooth(A - B).sum(1, keepdim=True))


def test_r_fcn_losses_weigh_as_the_fork_does() -> None:
    with pytest.raises(ProtogenError, match="no loss"):
        module("SmoothL1LossOHEM", A.shape, B.shape).loss(A, B)
    x, y = random(5, 3), labels(5, 1, 1, 1, classes=3)
    y[2] = -1
    op = module("SoftmaxWithLossOHEM", x.shape, y.shape, tops=3, more="loss_param { ignore_label: -1 }")
    loss, prob, per_item = op(x, y)
    assert op.loss(x, y) == loss
    assert per_item.shape == y.shape
    assert per_item[2] == 0
    assert loss.item() == pytest.approx(per_item.sum().item() / 4, rel=1e-6)
    assert torch.allclose(prob, x.softmax(1))
    assert protogen.loads(text("SmoothL1LossOHEM", (5, 8), (5, 8), tops=2)).shapes["t1"] == (5, 1, 1, 1)


# ---- all types

EVERY = [
    ("SoftmaxWithLoss", [X, Y], 2, ""),
    ("SoftmaxWithLoss", [X, Y], 1, "loss_param { ignore_label: 1 }"),
    ("InfogainLoss", [X, Y, random(4, 4)], 2, ""),
    ("MultinomialLogisticLoss", [random(3, 4).softmax(1), labels(3)], 1, ""),
    ("HingeLoss", [random(3, 4), labels(3)], 1, ""),
    (
        "SigmoidCrossEntropyLoss",
        [random(3, 4), labels(3, 4, classes=2)],
        1,
        "loss_param { ignore_label: 1 normalization: VALID }",
    ),
    ("EuclideanLoss", [random(3, 4), random(3, 2, 2, seed=1)], 1, ""),
    ("ContrastiveLoss", [random(3, 4), random(3, 4, 1, 1, seed=1), labels(3, classes=2)], 1, ""),
    ("SmoothL1Loss", [A, B, INSIDE, OUTSIDE], 2, ""),
    ("SmoothL1LossOHEM", [A, B, INSIDE], 2, ""),
    ("SoftmaxWithLossOHEM", [X, Y], 3, ""),
]


@pytest.mark.parametrize(("type", "inputs", "tops", "more"), EVERY, ids=[f"{e[0]}{i}" for i, e in enumerate(EVERY)])
def test_losses_compile_and_export_and_follow_the_batch(type: str, inputs: list[torch.Tensor], tops: int, more: str) -> None:
    op = module(type, *[tuple(x.shape) for x in inputs], tops=tops, more=more)
    expected = op(*inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    net = protogen.loads(text(type, *[tuple(x.shape) for x in inputs], tops=tops, more=more))
    assert [tuple(top.shape) for top in expected] == [net.shapes[f"t{i}"] for i in range(tops)]
    for other in (compile_whole(op), torch.export.export(op, tuple(inputs), strict=False).module()):
        made = other(*inputs)
        made = made if isinstance(made, tuple) else (made,)
        assert all(torch.allclose(a, b) for a, b in zip(made, expected))
    double = [x if type == "InfogainLoss" and i == 2 else torch.cat([x, x]) for i, x in enumerate(inputs)]
    first = op(*double)
    first = first[0] if isinstance(first, tuple) else first
    assert first.item() == pytest.approx(expected[0].item(), rel=1e-4)  # a mean over the batch


@pytest.mark.parametrize(("type", "inputs", "tops", "more"), EVERY, ids=[f"{e[0]}{i}" for i, e in enumerate(EVERY)])
def test_losses_say_why_there_is_no_onnx(type: str, inputs: list[torch.Tensor], tops: int, more: str) -> None:
    with pytest.raises(ConversionError, match=r"'op'.*training only"):
        protogen.loads(text(type, *[tuple(x.shape) for x in inputs], tops=tops, more=more)).to_onnx()


def test_losses_keep_the_precision_of_their_inputs() -> None:
    for type, inputs, tops, more in EVERY:
        op = module(type, *[tuple(x.shape) for x in inputs], tops=tops, more=more)
        made = op(*[x.double() for x in inputs])
        assert (made[0] if isinstance(made, tuple) else made).dtype == torch.float64, type


@pytest.mark.parametrize(
    ("net", "why"),
    [
        (text("SoftmaxWithLoss", (2, 3), (3,)), "same first axis"),
        (text("SoftmaxWithLoss", (2, 3, 4), (2, 3)), "needs 8 labels"),
        (text("SoftmaxWithLoss", (2, 3), (2,), more="softmax_param { axis: 2 }"), "axis 2 is out of range"),
        (text("SoftmaxWithLoss", (2, 3)), "2 bottoms"),
        (text("SoftmaxWithLoss", (2, 3), (2,), tops=4), "1 to 3 tops"),
        (text("EuclideanLoss", (2, 3), (2, 4)), "the same size"),
        (text("ContrastiveLoss", (2, 3), (2, 4), (2,)), "number of channels"),
        (text("ContrastiveLoss", (2, 3, 2), (2, 3, 2), (2,)), r"must be \(N, C\)"),
        (text("ContrastiveLoss", (2, 3), (2, 3), (2, 2)), "one label per pair"),
        (text("HingeLoss", (2, 3), (3,)), "same first axis"),
        (text("InfogainLoss", (2, 3), (2,)), "infogain matrix"),
        (text("InfogainLoss", (2, 3), (2,), (4, 4)), "3 x 3"),
        (text("InfogainLoss", (2, 3), (2,), (3, 3), more="loss_param { normalize: true }"), "use normalization"),
        (text("MultinomialLogisticLoss", (2, 3), (2, 2)), "one label per item"),
        (text("SigmoidCrossEntropyLoss", (2, 3), (2, 4)), "as many targets"),
        (text("SmoothL1Loss", (2, 3), (2, 4)), "the same shape"),
        (text("SmoothL1Loss", (2, 4), (2, 4), (2, 4), (2, 3)), "the same shape"),
        (text("SmoothL1Loss", (2, 4), (2, 4), more="smooth_l1_loss_param { sigma: 0 }"), "sigma"),
        (text("SmoothL1Loss", (2, 4), (2, 4), more="smooth_l1_loss_param { sigma: 3 } smoothl1_param { turn_point: 2 }"), "both"),
        (text("SmoothL1LossOHEM", (2, 4), (2, 4), (2, 4), (2, 4)), "2 to 3 bottoms"),
    ],
)
def test_losses_refuse_what_caffe_refuses(net: str, why: str) -> None:
    with pytest.raises(LayerError, match=why) as error:
        protogen.loads(net)
    assert "'op'" in str(error.value)


@pytest.mark.parametrize(
    "more", ["loss_param { label_smoothing: 0.1 }", "softmax_param { hard_ratio: 0.5 }", "softmax_param { class_weight: 2 }"]
)
def test_forks_options_that_change_the_loss_are_not_passed_over(more: str) -> None:
    with pytest.raises(ProtogenError, match=r"'op'.* is not computed"):
        module("SoftmaxWithLoss", (2, 3), (2,), more=more)
