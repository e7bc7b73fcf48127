"""AnchorTargetLayer and ProposalTargetLayer: what is drawn from, how many, the targets of each, and nets trained with them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from protogen import ProtogenError, ProtogenWarning
from protogen.errors import LayerError
from protogen.graph.cut import without_measures
from protogen.targets.torch.convert import to_torch
from tests.corpus import CORPUS, needs_corpus
from tests.layers.nets import net_of
from tests.running import Arrays, by_torch, names_of, run_model

# Corners around the first cell for scales 2 and 4: 46x24, 92x48, 32x32, 64x64, 22x44 and 44x88 pixels around (7.5, 7.5).
ANCHORS = [[-15, -4, 30, 19], [-38, -16, 53, 31], [-8, -8, 23, 23], [-24, -24, 39, 39], [-3, -14, 18, 29], [-14, -36, 29, 51]]
TRUTH = np.array([[20, 30, 80, 95, 3], [100, 40, 160, 71, 1], [8, 120, 31, 170, 20], [150, 100, 181, 131, 7]], np.float32)
IMAGE = (190, 220)


def anchor_layer(text: str = "{'feat_stride': 16, 'scales': [2, 4]}", tops: int = 4) -> str:
    param = f'module: "rpn.anchor_target_layer" layer: "AnchorTargetLayer" param_str: "{text}"'
    made = " ".join(f'top: "t{i}"' for i in range(tops))
    return f'type: "Python" bottom: "a" bottom: "b" bottom: "c" {made} python_param {{ {param} }}'


def proposal_layer(text: str = "'num_classes': 21", tops: int = 5) -> str:
    param = f'module: "rpn.proposal_target_layer" layer: "ProposalTargetLayer" param_str: "{text}"'
    made = " ".join(f'top: "t{i}"' for i in range(tops))
    return f'type: "Python" bottom: "a" bottom: "b" {made} python_param {{ {param} }}'


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union, pixel by pixel: corners belong to a box."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:4], others[None, :, 2:4])
    common = (high - low + 1).clip(min=0).prod(2)
    area, other = ((each[:, 2] - each[:, 0] + 1) * (each[:, 3] - each[:, 1] + 1) for each in (boxes, others))
    return common / (area[:, None] + other - common)


def moved(boxes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """The boxes that offsets stand for."""
    size = boxes[:, 2:] - boxes[:, :2] + 1
    center = boxes[:, :2] + size / 2 + offsets[:, :2] * size
    half = np.exp(offsets[:, 2:]) * size / 2
    return np.concatenate([center - half, center + half - 1], 1)


# ---- AnchorTargetLayer


def all_anchors(height: int, width: int, stride: int, first: list[list[int]]) -> np.ndarray:
    """In the order of the cells, those of one cell next to each other."""
    shifts = [(x * stride, y * stride) * 2 for y in range(height) for x in range(width)]
    return np.array([np.add(anchor, shift) for shift in shifts for anchor in first], np.float64)


def anchor_targets(
    truth: np.ndarray, size: tuple[int, int], stride: int, image: tuple[int, int], first: list[list[int]], text: str
) -> tuple[np.ndarray, ...]:
    """Anchors, their labels, offsets, inside and outside weights, a row for each anchor."""
    net = net_of(anchor_layer(text), (1, 2 * len(first), *size), truth.shape, (1, 3))
    given = {"a": np.zeros(net.shapes["a"], np.float32), "b": truth, "c": np.array([[*image, 1]], np.float32)}
    labels, *maps = by_torch(net, given)
    assert [made.shape for made in (labels, *maps)] == [net.shapes[f"t{i}"] for i in range(4)]
    assert labels.shape == (1, 1, len(first) * size[0], size[1])
    rows = labels.reshape(len(first), *size).transpose(1, 2, 0).reshape(-1)
    return (
        all_anchors(*size, stride, first),
        rows,
        *(made[0].reshape(len(first), 4, *size).transpose(2, 3, 0, 1).reshape(-1, 4) for made in maps),
    )


@pytest.mark.parametrize("border", [0, 20])
def test_anchors_are_labelled_by_their_overlap(border: int) -> None:
    text = f"{{'feat_stride': 16, 'scales': [2, 4], 'allowed_border': {border}}}"
    anchors, labels, offsets, inner, outer = anchor_targets(TRUTH, (12, 14), 16, IMAGE, ANCHORS, text)
    inside = (anchors[:, :2] >= -border).all(1) & (anchors[:, 2] < 220 + border) & (anchors[:, 3] < 190 + border)
    overlap = overlaps(anchors, TRUTH) * inside[:, None]
    most = overlap.max(1)
    positive = (most >= 0.7) | (overlap == overlap.max(0)).any(1)
    assert len(TRUTH) <= positive.sum() <= 128
    np.testing.assert_array_equal(labels == 1, positive)

    negative = inside & (most < 0.3) & ~positive
    assert (labels == 0).sum() == min(negative.sum(), 256 - positive.sum())
    assert negative[labels == 0].all()
    assert ((most >= 0.3) & inside & ~positive).any(), "and there are some in between, which are left out"

    found = moved(anchors, offsets.astype(np.float64))
    np.testing.assert_allclose(found[inside], TRUTH[overlap.argmax(1)][inside, :4], atol=1e-3)
    assert not offsets[~inside].any()
    np.testing.assert_array_equal(inner, np.repeat(positive[:, None], 4, 1))
    np.testing.assert_allclose(outer, np.repeat((labels >= 0)[:, None] / (labels >= 0).sum(), 4, 1), rtol=1e-6)


def test_at_most_half_of_256_anchors_are_positive_and_others_are_drawn_each_time() -> None:
    corners = [(x, y) for x in (8, 56, 104, 152) for y in (8, 56, 104, 152)]
    truth = np.array([[x, y, x + 31, y + 31, 1] for x, y in corners], np.float32)
    first = ANCHORS[::2]
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        text = "{'feat_stride': 2, 'scales': [2]}"
        anchors, labels, _, inner, outer = anchor_targets(truth, (96, 96), 2, (192, 192), first, text)
        assert ((labels == 1).sum(), (labels == 0).sum()) == (128, 128)
        assert (outer.max(), outer.sum()) == (1 / 256, 4)
        assert inner.sum() == 4 * 128
        overlap = overlaps(anchors, truth).max(1)
        assert overlap[labels == 1].min() >= 0.7
        assert overlap[labels == 0].max() < 0.3
        drawn.append(labels)
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert not ((drawn[0] == 1) == (drawn[2] == 1)).all()
    assert not ((drawn[0] == 0) == (drawn[2] == 0)).all()


def test_where_no_anchor_fits_into_the_image_nothing_is_to_be_learned() -> None:
    text = "{'feat_stride': 16, 'scales': [2, 4]}"
    _, labels, offsets, inner, outer = anchor_targets(TRUTH, (4, 4), 16, (10, 10), ANCHORS, text)
    assert (labels == -1).all()
    assert not (offsets.any() or inner.any() or outer.any())


def test_anchors_are_those_of_the_proposals_unless_param_str_says_otherwise() -> None:
    def made(text: str) -> list[list[float]]:
        return net_of(anchor_layer(text), (1, 2, 3, 4), (1, 5), (1, 3)).ops[-1].anchors

    assert made("'feat_stride': 16")[0] == [-84, -40, 99, 55]
    assert len(made("'feat_stride': 16")) == 9
    assert made("{'feat_stride': 16, 'scales': [2, 4]}") == ANCHORS
    assert made("{'feat_stride': 8, 'scales': [2], 'ratios': [1], 'base_size': 8}") == [[-4, -4, 11, 11]]


# ---- ProposalTargetLayer


def regions(number: int, spread: float) -> np.ndarray:
    """Boxes near those of the ground truth, and anywhere."""
    rng = np.random.default_rng(2)
    near = TRUTH[rng.integers(0, len(TRUTH), number), :4] + rng.normal(0, spread, (number, 4))
    corner = rng.uniform(0, 150, (number, 2))
    boxes = np.concatenate([near, np.concatenate([corner, corner + rng.uniform(5, 70, (number, 2))], 1)])
    return np.concatenate([np.zeros((2 * number, 1)), boxes], 1).astype(np.float32)


def proposal_targets(given: np.ndarray, classes: int = 21, truth: np.ndarray = TRUTH) -> list[np.ndarray]:
    """The five tops without their axes of 1."""
    net = net_of(proposal_layer(f"'num_classes': {classes}"), given.shape, truth.shape)
    made = by_torch(net, {"a": given, "b": truth})
    assert [each.shape[1:] for each in made] == [net.shapes[f"t{i}"][1:] for i in range(5)]
    return [each[:, :, 0, 0] for each in made]


def test_a_quarter_of_128_regions_lie_on_objects() -> None:
    given = regions(300, 4)
    rois, labels, *_ = proposal_targets(given)
    assert rois.shape == (128, 5)
    overlap = overlaps(rois[:, 1:], TRUTH)
    assert (overlaps(given[:, 1:], TRUTH).max(1) >= 0.5).sum() > 32, "there are more"
    assert (labels > 0).sum() == 32
    assert (overlap.max(1)[labels[:, 0] > 0] >= 0.5).all()
    assert (overlap.max(1)[labels[:, 0] == 0] < 0.5).all()
    np.testing.assert_array_equal(labels[labels > 0], TRUTH[overlap.argmax(1), 4][labels[:, 0] > 0])
    everything = {tuple(row) for row in np.concatenate([given, np.pad(TRUTH[:, :4], ((0, 0), (1, 0)))])}
    drawn = {tuple(row) for row in rois}
    assert len(drawn) == 128, "none twice"
    assert drawn <= everything


def test_few_regions_are_all_taken_and_the_ground_truth_is_among_them() -> None:
    given = regions(5, 30)
    rois, labels, *_ = proposal_targets(given)
    wanted = np.concatenate([given, np.pad(TRUTH[:, :4], ((0, 0), (1, 0)))])
    assert sorted(map(tuple, rois)) == sorted(map(tuple, wanted))
    for row in TRUTH:
        (place,) = np.flatnonzero((rois[:, 1:] == row[:4]).all(1))
        assert labels[place, 0] == row[4]


def test_a_sixth_top_numbers_the_persons() -> None:
    """lib/rpn/proposal_target_layer.py of ShuangLI59/person_search: a region's box has a person, the background none."""
    given, truth = regions(40, 4), np.concatenate([TRUTH, [[7.0], [8.0], [-1.0], [9.0]]], 1).astype(np.float32)
    net = net_of(proposal_layer("'num_classes': 21, 'bg_aux_label': 5532", tops=6), given.shape, truth.shape)
    rois, labels, *_, person = (top[:, :, 0, 0] for top in by_torch(net, {"a": given, "b": truth}))
    box = overlaps(rois[:, 1:], TRUTH).argmax(1)
    np.testing.assert_array_equal(person[:, 0], np.where(labels[:, 0] > 0, truth[box, 5], 5532))
    assert len(set(person[:, 0])) == 5
    with pytest.raises(LayerError, match="with six tops, gt_boxes must have rows of x1, y1, x2, y2, label, person"):
        net_of(proposal_layer(tops=6), given.shape, TRUTH.shape)


@pytest.mark.parametrize("classes", [21, 2])
def test_offsets_stand_in_the_columns_of_the_label(classes: int) -> None:
    """With two classes, all objects are the second."""
    rois, labels, targets, inner, outer = proposal_targets(regions(40, 4), classes)
    number = labels[:, 0].astype(int)
    column = np.minimum(number, 1) if classes == 2 else number
    expected = np.zeros((len(rois), classes, 4), np.float32)
    expected[np.arange(len(rois)), column] = 1
    expected[column == 0] = 0
    assert expected.any()
    np.testing.assert_array_equal(inner, expected.reshape(len(rois), -1))
    np.testing.assert_array_equal(outer, inner)
    assert not targets[inner == 0].any()

    objects = number > 0
    offsets = targets[inner > 0].reshape(-1, 4) * (0.1, 0.1, 0.2, 0.2)
    nearest = TRUTH[overlaps(rois[:, 1:], TRUTH).argmax(1)]
    np.testing.assert_allclose(moved(rois[objects, 1:].astype(np.float64), offsets), nearest[objects, :4], atol=1e-3)
    np.testing.assert_array_equal(number[objects], nearest[objects, 4])


# ---- what is refused


@pytest.mark.parametrize(
    ("text", "sizes", "message"),
    [
        (anchor_layer("{}"), [(1, 12, 5, 6), (2, 5), (1, 3)], "feat_stride, a positive whole number"),
        (anchor_layer("'feat_stride': 0"), [(1, 12, 5, 6), (2, 5), (1, 3)], "feat_stride, a positive whole number"),
        (anchor_layer("{'feat_stride': 16, 'scales': []}"), [(1, 12, 5, 6), (2, 5), (1, 3)], "scales must be positive numbers"),
        (anchor_layer("{'feat_stride': 16, 'ratios': [1e-9]}"), [(1, 12, 5, 6), (2, 5), (1, 3)], "ratios must be positive"),
        (anchor_layer("{'feat_stride': 16, 'base_size': 1e400}"), [(1, 12, 5, 6), (2, 5), (1, 3)], "must set base_size"),
        (anchor_layer("{'feat_stride': 16, 'allowed_border': 'x'}"), [(1, 12, 5, 6), (2, 5), (1, 3)], "allowed_border must be"),
        (anchor_layer(), [(2, 12, 5, 6), (2, 5), (1, 3)], "one image"),
        (anchor_layer(), [(1, 12, 5, 6), (2, 4), (1, 3)], "gt_boxes must have rows of x1, y1, x2, y2, label"),
        (anchor_layer(), [(1, 12, 5, 6), (2, 5), (2, 3)], "height and width of one image"),
        (anchor_layer(tops=3), [(1, 12, 5, 6), (2, 5), (1, 3)], "needs 4 tops, has 3"),
        (proposal_layer("'classes': 21"), [(9, 5), (2, 5)], "num_classes, a whole number"),
        (proposal_layer("'num_classes': 1"), [(9, 5), (2, 5)], "num_classes, a whole number of at least 2"),
        (proposal_layer("'num_classes': 99999999999"), [(9, 5), (2, 5)], "num_classes, a whole number"),
        (proposal_layer(), [(9, 4), (2, 5)], "regions must have 5 values each"),
        (proposal_layer(), [(9, 5), (10,)], "gt_boxes must have rows"),
        (proposal_layer(tops=2), [(9, 5), (2, 5)], "needs 5 to 6 tops, has 2"),
    ],
)
def test_what_cannot_be_built_names_the_layer(text: str, sizes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(LayerError, match="layer 'op'") as error:
        net_of(text, *sizes)
    assert message in str(error.value)


def test_an_image_without_objects_is_refused() -> None:
    nothing = torch.zeros(0, 5)
    with pytest.raises(ProtogenError, match=r"'op'.*without ground truth boxes"):
        net_of(anchor_layer(), (1, 12, 5, 6), (2, 5), (1, 3)).to_torch()(torch.zeros(1, 12, 5, 6), nothing, torch.ones(1, 3))
    with pytest.raises(ProtogenError, match=r"'op'.*without ground truth boxes"):
        net_of(proposal_layer(), (9, 5), (2, 5)).to_torch()(torch.zeros(9, 5), nothing)


# ---- whole nets


def conv(name: str, bottom: str, channels: int, size: int = 1, stride: int = 1) -> str:
    return f"""layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" convolution_param {{
        num_output: {channels} kernel_size: {size} stride: {stride} pad: {size // 2} weight_filler {{ type: "xavier" }} }} }}
    """


def fc(name: str, channels: int) -> str:
    return f"""layer {{ name: "{name}" type: "InnerProduct" bottom: "pool" top: "{name}"
        inner_product_param {{ num_output: {channels} weight_filler {{ type: "xavier" }} }} }}
    """


def reshape(name: str, bottom: str, channels: int) -> str:
    return f"""layer {{ name: "{name}" type: "Reshape" bottom: "{bottom}" top: "{name}"
        reshape_param {{ shape {{ dim: 0 dim: {channels} dim: -1 dim: 0 }} }} }}
    """


def python(name: str, module: str, text: str, bottoms: str, tops: str) -> str:
    names = "".join(f' {kind}: "{blob}"' for kind, blobs in (("bottom", bottoms), ("top", tops)) for blob in blobs.split())
    module, layer = module.split()
    param = f'module: "{module}" layer: "{layer}" param_str: "{text}"'
    return f'layer {{ name: "{name}" type: "Python"{names} python_param {{ {param} }} }}\n'


def loss(type: str, top: str, bottoms: str, more: str = "") -> str:
    names = " ".join(f'bottom: "{blob}"' for blob in bottoms.split())
    return f'layer {{ name: "{top}" type: "{type}" {names} top: "{top}" loss_weight: 1 {more} }}\n'


CLASSES = 21
IGNORE = "loss_param { ignore_label: -1 normalize: true }"
FASTER_RCNN = (
    python("input-data", "roi_data_layer.layer RoIDataLayer", "'num_classes': 21", "", "data im_info gt_boxes")
    + conv("conv", "data", 8, 3, 16)
    + conv("scores", "conv", 12)
    + conv("moves", "conv", 24)
    + reshape("two", "scores", 2)
    + python(
        "rpn-data",
        "rpn.anchor_target_layer AnchorTargetLayer",
        "{'feat_stride': 16, 'scales': [2, 4]}",
        "scores gt_boxes im_info data",
        "rpn_labels rpn_targets rpn_inner rpn_outer",
    )
    + loss("SoftmaxWithLoss", "rpn_loss_cls", "two rpn_labels", IGNORE)
    + loss("SmoothL1Loss", "rpn_loss_bbox", "moves rpn_targets rpn_inner rpn_outer", "smooth_l1_loss_param { sigma: 3 }")
    + 'layer { name: "prob" type: "Softmax" bottom: "two" top: "prob" }'
    + reshape("pair", "prob", 12)
    + python(
        "proposal",
        "rpn.proposal_layer ProposalLayer",
        "{'feat_stride': 16, 'scales': [2, 4]}",
        "pair moves im_info",
        "rpn_rois",
    )
    + python(
        "roi-data",
        "rpn.proposal_target_layer ProposalTargetLayer",
        "'num_classes': 21",
        "rpn_rois gt_boxes",
        "rois labels bbox_targets bbox_inner bbox_outer",
    )
    + """layer { name: "pool" type: "ROIPooling" bottom: "conv" bottom: "rois" top: "pool"
                 roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0.0625 } }
    """
    + fc("cls_score", CLASSES)
    + fc("bbox_pred", 4 * CLASSES)
    + loss("SoftmaxWithLoss", "loss_cls", "cls_score labels", IGNORE)
    + loss("SmoothL1Loss", "loss_bbox", "bbox_pred bbox_targets bbox_inner bbox_outer")
    + 'layer { name: "accuracy" type: "Accuracy" bottom: "cls_score" bottom: "labels" top: "accuracy" }'
)
INPUTS = {"data": (1, 3, *IMAGE), "im_info": (1, 3), "gt_boxes": TRUTH.shape}
LEFT_OUT = ["rpn-data", "rpn_loss_cls", "rpn_loss_bbox", "roi-data", "loss_cls", "loss_bbox", "accuracy"]


def feed(size: tuple[int, int] = IMAGE) -> Arrays:
    data = np.random.default_rng(7).standard_normal((1, 3, *size)).astype(np.float32)
    return {"data": data, "im_info": np.array([[*size, 1]], np.float32), "gt_boxes": TRUTH}


def test_a_faster_rcnn_is_trained_end_to_end() -> None:
    net = protogen.loads(FASTER_RCNN, phase="TRAIN", inputs=INPUTS).fill(1)
    module, given = net.to_torch(), [torch.tensor(value) for value in feed().values()]
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    losses = []
    torch.manual_seed(0)
    for _ in range(12):
        optimizer.zero_grad()
        found = module.loss(*given)
        found.backward()
        losses.append(found.item())
        for layer in ("conv", "scores", "moves", "cls_score", "bbox_pred"):
            assert all(grad is not None and torch.isfinite(grad).all() and grad.any() for grad in module.caffe_grads(layer)[:1])
        optimizer.step()
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])


def test_its_onnx_model_predicts_for_all_proposals() -> None:
    net = protogen.loads(FASTER_RCNN, inputs=INPUTS).fill(1)
    with pytest.warns(ProtogenWarning, match="left out of the ONNX model.*" + ", ".join(map(repr, LEFT_OUT)) + "$"):
        model = net.to_onnx()
    inputs, names = names_of(model)
    assert inputs == ["data", "im_info"]
    assert {"rpn_rois", "cls_score", "bbox_pred"} <= set(names)
    assert not {"rois", "labels"} & set(names)
    given = feed()
    made = run_model(model, given)
    # The training net itself has the same proposals, before some are drawn.
    blobs = net.to_torch().blobs(*[torch.tensor(value) for value in given.values()])
    np.testing.assert_allclose(made["rpn_rois"], blobs["rpn_rois"].detach().numpy(), atol=1e-3)
    assert len(made["cls_score"]) == len(made["rpn_rois"]) > 100
    rest = to_torch(without_measures(net.graph()))
    again = rest(*[torch.tensor(given[name]) for name in rest.input_names])
    for name, value in zip(rest.output_names, again):
        np.testing.assert_allclose(made[name], value.detach().numpy(), rtol=1e-3, atol=1e-3)


@needs_corpus
@pytest.mark.parametrize(
    "path",
    [
        "rbgirshick+py-faster-rcnn/models/pascal_voc/ZF/faster_rcnn_end2end/train.prototxt",
        "soeaver+caffe-model/det/rfcn/models/pascal_voc/resnet18/rfcn_voc_resnet18-priv-merge-ohem.prototxt",
    ],
    ids=["Faster R-CNN", "R-FCN"],
)
def test_published_nets_train_and_become_models(path: str) -> None:
    net = protogen.load(CORPUS / path, phase="TRAIN", inputs=INPUTS)
    module = net.to_torch()
    for tensor in module.parameters():  # the files fill new layers only: without weights, most are 0
        if tensor.dim() > 1 and not tensor.any():
            torch.nn.init.kaiming_normal_(tensor)
    torch.manual_seed(0)
    found = module.loss(*[torch.tensor(value) for value in feed().values()])
    found.backward()
    assert torch.isfinite(found)
    first = next(layer.name for layer in net.layers if layer.type == "Convolution")
    assert module.caffe_grads(first)[0].any()
    with pytest.warns(ProtogenWarning, match="'rpn-data'.*'roi-data'"):
        model = net.to_onnx()
    assert [value.name for value in model.graph.input] == ["data", "im_info"]
    assert {"rpn_rois", "cls_score", "bbox_pred"} <= {value.name for value in model.graph.output}
