"""What YOLO's two losses share: the fork's own numbers, laws, grids, borders, and nets that learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import LayerError, ProtogenWarning
from tests.corpus import CORPUS, needs_corpus
from tests.layers.detection.plain_yolo import (
    CLASSES,
    ROWS,
    SCALE,
    SIDE,
    V2_ANCHORS,
    V3_ANCHORS,
    case,
    check,
    region_text,
    relative,
    run,
    sigmoid,
    slope,
    yolov3_text,
)  # fmt: skip
from tests.layers.nets import net_of
from tests.running import compile_whole

# What the fork's own code, compiled alone, gives for `wild_case`: the loss and the sum of the gradient's absolute values.
FORK = [
    (2, {}, (483.3026, 44.63083)),
    (2, {"bias_match": 0, "rescore": 0}, (328.0835, 38.07092)),
    (3, {"logic": True, "mask": (3, 4, 5)}, (17.49046, 2.833773)),
    (3, {"kind": "IOU", "mask": (0, 1, 2), "iou_thresh": 0.3}, (21.94671, 34.79419)),
    (3, {"kind": "GIOU", "mask": (0, 1, 2), "iou_thresh": 0.3}, (21.74695, 36.23333)),
    (3, {"kind": "DIOU", "mask": (0, 1, 2), "iou_thresh": 0.3}, (21.94671, 35.26782)),
    (3, {"kind": "CIOU", "mask": (0, 1, 2), "iou_thresh": 0.3}, (21.9411, 35.37053)),
]


def wild_case(version: int) -> tuple[np.ndarray, np.ndarray]:
    """Predictions far off; for YOLO v3 boxes so small that some lie apart from what is predicted for them."""
    x, label = case(version, 5 if version == 2 else 3, seed=4)
    if version == 3:
        label[..., 3:] *= np.float32(0.25)
    return 3 * x, label


@pytest.mark.parametrize(("version", "settings", "expected"), FORK, ids=str)
def test_far_off_predictions_give_what_the_fork_gives(version: int, settings: dict, expected: tuple[float, float]) -> None:
    text = region_text(**settings) if version == 2 else yolov3_text(**settings)
    loss, gradient = run(text, *wild_case(version))
    assert (loss, np.abs(gradient).sum()) == pytest.approx(expected, rel=2e-5)


# ---- laws


def perfect(version: int) -> tuple[np.ndarray, np.ndarray]:
    """One box, and predictions that find it and nothing else."""
    boxes, anchors = (5, relative(V2_ANCHORS, SIDE)) if version == 2 else (3, relative(V3_ANCHORS[3:], SIDE * SCALE))
    x = np.zeros((1, boxes, 5 + CLASSES, SIDE, SIDE), np.float32)
    x[:, :, 4:] = -30
    x[0, 1, 4:6, 2, 1] = 30  # anchor 1, row 2, column 1: an object of class 0
    label = np.zeros((1, 1, 2, 5), np.float32)
    label[0, 0, 0] = [0, 1.5 / SIDE, 2.5 / SIDE, *anchors[1]]
    return x.reshape(1, -1, SIDE, SIDE), label


@pytest.mark.parametrize(
    ("version", "text"),
    [(2, region_text()), (3, yolov3_text(smooth=0.0)), (3, yolov3_text(smooth=0.0, kind="GIOU")), (3, yolov3_text(focal=True))],
)
def test_perfect_predictions_have_neither_loss_nor_gradient(version: int, text: str) -> None:
    loss, gradient = run(text, *perfect(version))
    assert loss < 1e-9
    assert np.abs(gradient).max() < 1e-5


@pytest.mark.parametrize("version", [2, 3])
def test_without_boxes_only_objectness_counts(version: int) -> None:
    boxes, text = (5, region_text(noobject=2.0)) if version == 2 else (3, yolov3_text(object=7.0))
    x, label = case(version, boxes)
    loss, gradient = run(text, x, label * 0)
    y = sigmoid(x.reshape(3, boxes, -1, SIDE, SIDE)[:, :, 4].astype(float))
    delta = 2 * y * slope(y) if version == 2 else y
    assert loss == pytest.approx((delta**2).sum() / 3, rel=1e-5)
    gradient = gradient.reshape(3, boxes, -1, SIDE, SIDE)
    np.testing.assert_allclose(gradient[:, :, 4], delta / 3, rtol=1e-5, atol=1e-7)
    gradient[:, :, 4] = 0
    assert not gradient.any()


def test_loss_weight_scales_the_gradient_and_images_share_it() -> None:
    x, label = case(3, 3)
    loss, gradient = run(yolov3_text(), x, label)
    twice = run(yolov3_text().replace("top:", "loss_weight: 2 top:"), x, label)
    check(twice, (2 * loss, 2 * gradient))
    check(run(yolov3_text(), np.tile(x, (2, 1, 1, 1)), np.tile(label, (2, 1, 1, 1))), (loss, np.tile(gradient, (2, 1, 1, 1)) / 2))


def test_grids_need_not_be_square_nor_as_they_were_built() -> None:
    x, label = case(3, 3)
    module = net_of(yolov3_text(), x.shape, label.shape, phase="TRAIN").to_torch()
    wide = np.zeros((2, x.shape[1], 3, 6), np.float32)
    shape = torch.tensor(np.float32([[[[1, 5.5 / 6, 0.5, 30 / (6 * SCALE), 38 / (3 * SCALE)]]]])).expand(2, 1, 1, 5)
    given = torch.tensor(wide, requires_grad=True)
    module(given, shape).backward()
    found = given.grad.reshape(2, 3, 8, 3, 6)
    assert {tuple(place) for place in found[0, :, 6].nonzero().tolist()} == {(0, 1, 5)}
    assert not found[0, 0, :4, 1, 5].abs().max() > 1e-5


@pytest.mark.parametrize("text", [region_text(), yolov3_text(), yolov3_text(kind="CIOU"), yolov3_text(focal=True)])
def test_losses_compile_into_one_graph(text: str) -> None:
    version, boxes = (2, 5) if "RegionLoss" in text else (3, 3)
    first, second = ([torch.tensor(value) for value in case(version, boxes, seed)] for seed in range(2))
    module = net_of(text, *(value.shape for value in first), phase="TRAIN").to_torch()
    compiled = compile_whole(module)
    exported = torch.export.export(module, tuple(first), strict=False).module()
    for values in (first, second):  # nothing of the data was taken as fixed
        assert torch.allclose(compiled(*values), module(*values))
        assert torch.allclose(exported(*values), module(*values))


@pytest.mark.parametrize("text", [region_text(), yolov3_text(), yolov3_text(kind="DIOU")])
def test_boxes_on_the_border_or_without_size_do_no_harm(text: str) -> None:
    x, label = case(*((2, 5) if "RegionLoss" in text else (3, 3)))
    label[:, 0, :4] = [[0, 1, 1, 0.4, 0.4], [1, 0.5, 0.5, 0.2, 0], [9, 0.5, 0.5, 0.3, 0.3], [-1, -3, 7, 0.3, 0.3]]
    loss, gradient = run(text, x, label)
    assert math.isfinite(loss)
    assert np.isfinite(gradient).all()


# ---- mistakes

X2, X3, BOXES = (1, 5 * 8, 4, 4), (1, 3 * 8, 4, 4), (1, 1, 300, 5)


@pytest.mark.parametrize(
    ("text", "shapes", "why"),
    [
        (region_text(), [(1, 39, 4, 4), BOXES], r"predictions \(N, 40, H, W\)"),
        (region_text(), [(1, 40, 4, 5), BOXES], "square"),
        (region_text(), [X2, (2, 1, 300, 5)], "first axis"),
        (region_text(), [X2, (1, 1, 3, 8)], r"labels \(N, 1, 300, 5\)"),
        (region_text().replace("num: 5", "num: 5 coords: 5"), [X2, BOXES], "coords"),
        (region_text().replace(" biases: 3.6", ""), [X2, BOXES], "biases"),
        (region_text().replace("biases: 0.6 ", "biases: 0 "), [X2, BOXES], "positive"),
        (region_text().replace("num: 5", "num: 0"), [X2, BOXES], "num"),
        (yolov3_text().replace("top:", 'bottom: "b" top:'), [X3, BOXES], "2 bottoms"),
        (yolov3_text(), [(1, 25, 4, 4), BOXES], r"predictions \(N, 24, H, W\)"),
        (yolov3_text().replace("mask: 5", ""), [X3, BOXES], "mask"),
        (yolov3_text().replace("mask: 5", "mask: 6"), [X3, BOXES], "mask has anchor 6"),
        (yolov3_text().replace(f"anchors_scale: {SCALE}", "anchors_scale: 0"), [X3, BOXES], "anchors_scale"),
    ],
)  # fmt: skip
def test_mistakes_name_the_layer(text: str, shapes: list, why: str) -> None:
    with pytest.raises(LayerError, match=why) as error:
        net_of(text, *shapes, phase="TRAIN")
    assert "'op'" in str(error.value)


# ---- training


@pytest.mark.parametrize("text", [region_text(), yolov3_text(), yolov3_text(kind="GIOU", normalizer=1.0)])
def test_a_small_net_learns(text: str) -> None:
    channels = (5 if "RegionLoss" in text else 3) * (5 + CLASSES)
    net = protogen.loads(
        f"""layer {{ name: "in" type: "Input" top: "data" top: "b" input_param {{ shape {{ dim: 2 dim: 3 dim: 32 dim: 32 }}
          shape {{ dim: 2 dim: 1 dim: {ROWS} dim: 5 }} }} }}
        layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {{ num_output: 16 kernel_size: 8
          stride: 8 weight_filler {{ type: "xavier" }} }} }}
        layer {{ name: "relu" type: "ReLU" bottom: "conv" top: "conv" }}
        layer {{ name: "head" type: "Convolution" bottom: "conv" top: "a" convolution_param {{
          num_output: {channels} kernel_size: 1 weight_filler {{ type: "xavier" }} }} }}
        layer {{ name: "op" {text} }}""",
        phase="TRAIN",
    ).fill()
    module = net.to_torch()
    _, label = case(2 if "RegionLoss" in text else 3, 3, images=2)
    inputs = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.tensor(label)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.02, momentum=0.9)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = module.loss(*inputs)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


# ---- published nets

MODELS = CORPUS / "eric612+MobileNet-YOLO" / "models"
PUBLISHED = {
    "mobilenetv3_voc/train_AE.prototxt": {"label": (1, 1, 300, 5)},
    "yolov2/mobilenet_yolo_train.prototxt": {"label": (1, 1, 300, 5)},
    "tusimple/mobilenet_yolov3_lite_train.prototxt": {"label": (1, 1, 300, 5), "seg_label": (1, 1, 24, 24)},
}


@needs_corpus
@pytest.mark.parametrize("path", PUBLISHED)
def test_published_nets_train_and_convert(path: str) -> None:
    shapes = {"data": (1, 3, 96, 96), **PUBLISHED[path]}
    net = protogen.load(MODELS / path, phase="TRAIN", inputs=shapes).fill()
    rng = np.random.default_rng(0)
    inputs = {name: torch.tensor(rng.random(net.shapes[name]).astype(np.float32)) for name in net.inputs}
    inputs["label"] = torch.zeros(1, 1, 300, 5)
    inputs["label"][0, 0, :2] = torch.tensor([[3, 0.3, 0.4, 0.3, 0.5], [7, 0.6, 0.7, 0.6, 0.4]])
    module = net.to_torch()
    loss = module.loss(*(inputs[name] for name in net.inputs))
    loss.backward()
    assert 0 < loss.item() < math.inf
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    with pytest.warns(ProtogenWarning, match="left out"):
        model = net.to_onnx()
    assert [value.name for value in model.graph.input] == ["data"]
