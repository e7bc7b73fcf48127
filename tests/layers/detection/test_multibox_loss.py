"""SSD's MultiBoxLoss against a plain loop over boxes, written from the description of the layer."""

from __future__ import annotations

import pytest
import torch

import protogen
from protogen.errors import ConversionError, LayerError
from tests.layers.detection.plain_multibox import CLASSES, IMAGES, PRIORS, case, cross_entropy, layer, plain_loss
from tests.running import compile_whole

VARIANTS = [
    ("", {}),
    ("code_type: CENTER_SIZE", {"code": "CENTER_SIZE"}),
    ("code_type: CORNER_SIZE", {"code": "CORNER_SIZE"}),
    ("code_type: CENTER_SIZE match_type: BIPARTITE", {"code": "CENTER_SIZE", "per_prediction": False}),
    ("overlap_threshold: 0.2 neg_overlap: 0.15 neg_pos_ratio: 1.5", {"threshold": 0.2, "neg_overlap": 0.15, "ratio": 1.5}),
    ("loc_loss_type: L2 loc_weight: 0.3", {"loc_loss": "L2", "weight": 0.3}),
    ("conf_loss_type: LOGISTIC", {"conf_loss": "LOGISTIC"}),
    ("use_prior_for_matching: false overlap_threshold: 0.2", {"use_prior": False, "threshold": 0.2}),
    ("use_difficult_gt: false", {"difficult": False}),
    ("encode_variance_in_target: true", {"in_target": True}),
    ("ignore_cross_boundary_bbox: true bp_inside: true", {"inside_only": True, "bp_inside": True}),
    ("bp_inside: true", {"bp_inside": True}),
    (
        "bp_inside: true use_prior_for_matching: false ignore_cross_boundary_bbox: true",
        {"bp_inside": True, "use_prior": False, "inside_only": True},
    ),
    ("mining_type: NONE", {"mining": "NONE"}),
    ("mining_type: HARD_EXAMPLE sample_size: 4", {"mining": "HARD_EXAMPLE", "sample": 4}),
    (
        "mining_type: HARD_EXAMPLE sample_size: 5 conf_loss_type: LOGISTIC encode_variance_in_target: true",
        {"mining": "HARD_EXAMPLE", "sample": 5, "conf_loss": "LOGISTIC", "in_target": True},
    ),
    ("nms_param { nms_threshold: 0.2 top_k: 8 } use_prior_for_nms: true", {"nms": (0.2, 8), "nms_prior": True}),
    (
        "nms_param { nms_threshold: 0.4 top_k: 20 } mining_type: HARD_EXAMPLE sample_size: 6",
        {"nms": (0.4, 20), "mining": "HARD_EXAMPLE", "sample": 6},
    ),
    ("mining_type: NONE share_location: false", {"mining": "NONE", "share": False}),
    (
        "mining_type: NONE share_location: false use_prior_for_matching: false overlap_threshold: 0.2",
        {"mining": "NONE", "share": False, "use_prior": False, "threshold": 0.2},
    ),
]


@pytest.mark.parametrize(("parameters", "options"), VARIANTS, ids=[v[0] or "defaults" for v in VARIANTS])
def test_multibox_loss_equals_a_plain_loop(parameters: str, options: dict) -> None:
    loc_classes = 1 if options.get("share", True) else CLASSES
    module = protogen.loads(layer(parameters, loc_classes=loc_classes), phase="TRAIN").to_torch()
    total = 0
    for seed in range(4):
        values = case(seed, loc_classes)
        expected, matched = plain_loss(*values, **options)
        total += matched
        actual = module.loss(*map(torch.tensor, values)).item()
        assert actual == pytest.approx(expected, rel=1e-5), f"seed {seed}"
    assert total > 4  # or nothing was tested


def test_object_or_not() -> None:
    module = protogen.loads(layer("map_object_to_agnostic: true", classes=2), phase="TRAIN").to_torch()
    values = case(1, classes=2)
    assert module.loss(*map(torch.tensor, values)).item() == pytest.approx(
        plain_loss(*values, classes=2, agnostic=True)[0], rel=1e-5
    )


def test_logistic_loss_without_mining_places_its_targets_as_caffe_does() -> None:
    values = case(1)
    net = protogen.loads(layer("mining_type: NONE conf_loss_type: LOGISTIC loc_weight: 0"), phase="TRAIN")
    loc, conf, prior, truth = map(torch.tensor, values)
    boxes, variances = prior.reshape(2, PRIORS, 4)
    known = net.ops[-1].ground_truth(truth, IMAGES)
    matches = net.ops[-1].matches(loc.reshape(IMAGES, 1, PRIORS, 4), boxes, variances, known)[0][:, 0]
    target = [0.0] * conf.numel()
    for i in range(IMAGES):
        for p in range(PRIORS):
            if matches[i, p] >= 0:
                target[i * PRIORS + p * CLASSES + int(known.label[matches[i, p]])] = 1.0
    expected = sum(cross_entropy(x, t) for x, t in zip(conf.flatten().tolist(), target)) / (matches >= 0).sum().item()
    assert net.to_torch().loss(loc, conf, prior, truth).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("normalization", ["FULL", "VALID", "BATCH_SIZE", "NONE"])
def test_normalization(normalization: str) -> None:
    module = protogen.loads(layer("", more=f"loss_param {{ normalization: {normalization} }}"), phase="TRAIN").to_torch()
    values = case(2)
    assert module.loss(*map(torch.tensor, values)).item() == pytest.approx(
        plain_loss(*values, normalization=normalization)[0], rel=1e-5
    )


def test_gradients_are_those_of_the_loss() -> None:
    module = protogen.loads(layer("code_type: CENTER_SIZE"), phase="TRAIN").to_torch().double()
    loc, conf, prior, truth = (torch.tensor(value, dtype=torch.float64) for value in case(0))
    loc.requires_grad_()
    conf.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: module.loss(a, b, prior, truth), (loc, conf), atol=1e-6)


def test_gradient_leaves_out_the_variance_as_caffe_does() -> None:
    loc, conf, prior, truth = map(torch.tensor, case(0))
    loc.requires_grad_()
    module = protogen.loads(layer("encode_variance_in_target: true loc_loss_type: L2"), phase="TRAIN").to_torch()
    module.loss(loc, conf, prior, truth).backward()
    net = protogen.loads(layer("encode_variance_in_target: true loc_loss_type: L2"), phase="TRAIN")
    op = net.ops[-1]
    known = op.ground_truth(truth, IMAGES)
    boxes, variances = prior.reshape(2, PRIORS, 4)
    pred = loc.detach().reshape(IMAGES, 1, PRIORS, 4)
    matches, _ = op.matches(pred, boxes, variances, known)
    goal = op.targets(matches, boxes, variances, known)
    expected = ((pred - goal) / variances).masked_fill((matches < 0)[..., None], 0) / (matches >= 0).sum()
    assert torch.allclose(loc.grad.reshape(pred.shape), expected, atol=1e-5)


def test_propagate_down_leaves_a_part_out() -> None:
    values = list(map(torch.tensor, case(3)))
    whole, only_loc, only_conf = (
        protogen.loads(layer("", more=" ".join(f"propagate_down: {flag}" for flag in flags)), phase="TRAIN")
        .to_torch()
        .loss(*values)
        for flags in (
            ("true", "true", "false", "false"),
            ("true", "false", "false", "false"),
            ("false", "true", "false", "false"),
        )
    )
    assert whole.item() == pytest.approx((only_loc + only_conf).item(), rel=1e-6)
    assert only_loc > 0 < only_conf


def test_no_ground_truth_is_no_loss() -> None:
    values = case(0)
    values[3][..., 0] = -1
    loc = torch.tensor(values[0], requires_grad=True)
    loss = protogen.loads(layer(""), phase="TRAIN").to_torch().loss(loc, *map(torch.tensor, values[1:]))
    loss.backward()
    assert loss == 0
    assert not loc.grad.any()


@pytest.mark.parametrize("parameters", ["code_type: CENTER_SIZE", "mining_type: HARD_EXAMPLE sample_size: 5"])
def test_multibox_loss_compiles_into_one_graph(parameters: str) -> None:
    module = protogen.loads(layer(parameters), phase="TRAIN").to_torch()
    values = list(map(torch.tensor, case(5)))
    compiled = compile_whole(module)
    exported = torch.export.export(module, tuple(values), strict=False).module()
    assert torch.allclose(compiled(*values), module(*values))
    assert torch.allclose(exported(*values), module(*values))
    other = list(map(torch.tensor, case(6)))
    assert torch.allclose(exported(*other), module(*other))  # nothing of the data was taken as fixed


def test_other_batch_and_other_number_of_boxes() -> None:
    loc, conf, prior, truth = case(1)
    module = protogen.loads(layer(""), phase="TRAIN").to_torch()
    small = protogen.loads(layer("", images=1, rows=3), phase="TRAIN").to_torch()
    one = [torch.tensor(value) for value in (loc[:1], conf[:1], prior, truth[:, :, :3])]
    assert module(*one).item() == pytest.approx(small(*one).item())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (layer("").replace(f"num_classes: {CLASSES}", ""), "num_classes"),
        (layer("background_label_id: 4"), "background_label_id 4"),
        (layer("share_location: false", loc_classes=CLASSES), "share_location"),
        (layer("do_neg_mining: false"), "do_neg_mining"),
        (layer("mining_type: HARD_EXAMPLE sample_size: 0"), "sample_size"),
        (layer("map_object_to_agnostic: true"), "num_classes 2"),
        (layer("", loc_classes=2), "location predictions"),
        (layer("", classes=3).replace(f"dim: {PRIORS * 3} ", f"dim: {PRIORS * 3 + 1} "), "confidence predictions"),
        (layer("").replace("dim: 7 dim: 8", "dim: 7 dim: 7"), "ground truth"),
        (layer("").replace(f"dim: 1 dim: 2 dim: {PRIORS * 4}", f"dim: 1 dim: 1 dim: {PRIORS * 4}"), "priors"),
        (layer("", more="propagate_down: true"), "propagate_down"),
    ],
)
def test_multibox_loss_refuses_what_caffe_refuses(text: str, why: str) -> None:
    with pytest.raises(LayerError, match=why) as error:
        protogen.loads(text, phase="TRAIN")
    assert "'op'" in str(error.value)


@pytest.mark.parametrize("further", [["arm_conf"], ["arm_conf", "arm_loc"]])
def test_refinedets_loss_of_a_second_stage_is_refused_by_name_and_its_net_still_converts(further: list[str]) -> None:
    """Its further bottoms change matches and negatives: they must not be read and left out."""
    tops = "".join(f'top: "{name}" ' for name in further)
    shapes = "".join(f"shape {{ dim: {IMAGES} dim: {PRIORS * n} }} " for n in (2, 4)[: len(further)])
    text = f'layer {{ name: "arm" type: "Input" {tops} input_param {{ {shapes} }} }}'
    text += layer("", more=tops.replace("top", "bottom"))
    text += 'layer { name: "same" type: "Power" bottom: "conf" top: "same" }'
    net = protogen.loads(text, phase="TRAIN")
    with pytest.raises(ConversionError, match=f"'op'.*second stage, with bottoms {' and '.join(map(repr, further))}"):
        net.to_torch()
    with pytest.warns(protogen.ProtogenWarning, match="used only in training"):
        assert [node.name for node in net.to_onnx().graph.output] == ["same"]


@pytest.mark.parametrize(("old", "new"), [("true", "VALID"), ("false", "BATCH_SIZE")])
def test_normalize_is_the_old_spelling_of_normalization(old: str, new: str) -> None:
    values = [torch.tensor(value) for value in case(4)]
    texts = [layer("", more=f"loss_param {{ {param} }}") for param in (f"normalize: {old}", f"normalization: {new}")]
    first, second = (protogen.loads(text).to_torch()(*values) for text in texts)
    assert first.item() == second.item() > 0
