"""SSD's MultiBoxLoss against a plain loop over boxes, written from the description of the layer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import ConversionError, LayerError
from tests.layers.test_activation import compile_whole

IMAGES, PRIORS, CLASSES = 3, 12, 4


def layer(
    parameters: str, images: int = IMAGES, classes: int = CLASSES, loc_classes: int = 1, rows: int = 7, more: str = ""
) -> str:
    return f"""
    layer {{ name: "in" type: "Input" top: "loc" top: "conf" top: "prior" top: "truth" input_param {{
      shape {{ dim: {images} dim: {PRIORS * 4 * loc_classes} }} shape {{ dim: {images} dim: {PRIORS * classes} }}
      shape {{ dim: 1 dim: 2 dim: {PRIORS * 4} }} shape {{ dim: 1 dim: 1 dim: {rows} dim: 8 }} }} }}
    layer {{ name: "op" type: "MultiBoxLoss" bottom: "loc" bottom: "conf" bottom: "prior" bottom: "truth" top: "loss"
      {more} multibox_loss_param {{ num_classes: {classes} {parameters} }} }}"""


def random_boxes(rng: np.random.Generator, n: int, spread: float = 0.0) -> np.ndarray:
    """Boxes around 4 places, so that many overlap; with `spread` some reach over the border."""
    middle = rng.choice([0.25, 0.75], (n, 2)) + rng.normal(0, 0.05 + spread, (n, 2))
    size = rng.uniform(0.2, 0.45, (n, 2))
    return np.concatenate([middle - size / 2, middle + size / 2], 1).astype(np.float32)


def case(seed: int, loc_classes: int = 1, classes: int = CLASSES, label: int | None = None) -> list[np.ndarray]:
    """loc, conf, prior, truth: image 1 has no box, one box is difficult, rows after the end mark are rubbish."""
    rng = np.random.default_rng(seed)
    loc = rng.normal(0, 0.5, (IMAGES, PRIORS * 4 * loc_classes)).astype(np.float32)
    conf = rng.normal(0, 2, (IMAGES, PRIORS * classes)).astype(np.float32)
    variance = np.tile(np.float32([0.1, 0.1, 0.2, 0.2]), PRIORS)
    prior = np.stack([random_boxes(rng, PRIORS, 0.1).ravel(), variance])[None]
    truth = np.zeros((1, 1, 7, 8), np.float32)
    truth[0, 0, :, 0] = [0, 0, 0, 2, 2, -1, 1]
    truth[0, 0, :, 1] = rng.integers(1, classes, 7) if label is None else label
    truth[0, 0, :, 3:7] = random_boxes(rng, 7)
    truth[0, 0, 1, 7] = 1
    return [loc, conf, prior, truth]


# ---- the plain recomputation


def area(b):
    return max(b[2] - b[0], 0) * max(b[3] - b[1], 0) if b[2] >= b[0] and b[3] >= b[1] else 0


def iou(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return w * h / (area(a) + area(b) - w * h) if w > 0 and h > 0 else 0.0


def to_code(box, prior, var, code):
    pw, ph = prior[2] - prior[0], prior[3] - prior[1]
    if code == "CORNER":
        out = [box[k] - prior[k] for k in range(4)]
    elif code == "CORNER_SIZE":
        out = [(box[k] - prior[k]) / (pw, ph)[k % 2] for k in range(4)]
    else:
        out = [
            ((box[0] + box[2]) / 2 - (prior[0] + prior[2]) / 2) / pw,
            ((box[1] + box[3]) / 2 - (prior[1] + prior[3]) / 2) / ph,
            math.log((box[2] - box[0]) / pw),
            math.log((box[3] - box[1]) / ph),
        ]
    return [v / s for v, s in zip(out, var)]


def from_code(p, prior, var, code):
    p = [v * s for v, s in zip(p, var)]
    pw, ph = prior[2] - prior[0], prior[3] - prior[1]
    if code == "CORNER":
        return [prior[k] + p[k] for k in range(4)]
    if code == "CORNER_SIZE":
        return [prior[k] + p[k] * (pw, ph)[k % 2] for k in range(4)]
    cx, cy = p[0] * pw + (prior[0] + prior[2]) / 2, p[1] * ph + (prior[1] + prior[3]) / 2
    w, h = math.exp(p[2]) * pw, math.exp(p[3]) * ph
    return [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]


def plain_match(boxes, gts, threshold, per_prediction, inside_only):
    """Index of the ground truth for each box (-1 none, -2 ignored), and its largest overlap."""
    found, best = [-1] * len(boxes), [0.0] * len(boxes)
    table = {}
    for i, b in enumerate(boxes):
        if inside_only and (min(b) < 0 or max(b) > 1):
            found[i] = -2
            continue
        for j, g in enumerate(gts):
            o = iou(b, g)
            if o > 1e-6:
                table[i, j] = o
                best[i] = max(best[i], o)
    free = set(range(len(gts)))
    while True:
        pairs = [(o, -i, -j) for (i, j), o in table.items() if found[i] == -1 and j in free]
        if not pairs:
            break
        _, i, j = max(pairs)
        found[-i] = -j
        free.remove(-j)
    if per_prediction:
        for i in range(len(boxes)):
            options = [(table[i, j], -j) for j in range(len(gts)) if (i, j) in table and table[i, j] >= threshold]
            if found[i] == -1 and options:
                found[i] = -max(options)[1]
    return found, best


def cross_entropy(x, t):
    return max(x, 0) - x * t + math.log1p(math.exp(-abs(x)))


def log_softmax(x):
    m = max(x)
    s = sum(math.exp(v - m) for v in x)
    return [v - m - math.log(s) for v in x]


def plain_loss(
    loc,
    conf,
    prior,
    truth,
    *,
    classes=CLASSES,
    share=True,
    code="CORNER",
    loc_loss="SMOOTH_L1",
    conf_loss="SOFTMAX",
    per_prediction=True,
    threshold=0.5,
    use_prior=True,
    difficult=True,
    mining="MAX_NEGATIVE",
    ratio=3.0,
    neg_overlap=0.5,
    in_target=False,
    inside_only=False,
    bp_inside=False,
    sample=64,
    agnostic=False,
    nms=None,
    nms_prior=False,
    weight=1.0,
    normalization="VALID",
    background=0,
):
    boxes, variances = prior.reshape(2, PRIORS, 4).astype(float).tolist()
    scale = [[1.0] * 4] * PRIORS if in_target else variances
    nloc = 1 if share else classes
    loc = loc.reshape(IMAGES, PRIORS, nloc, 4).astype(float)
    conf = conf.reshape(IMAGES, PRIORS, classes).astype(float)
    gts = {}
    for row in truth.reshape(-1, 8).astype(float):
        if row[0] == -1:
            break
        if difficult or not row[7]:
            gts.setdefault(int(row[0]), []).append((int(row[1]), row[3:7].tolist()))

    loc_sum = conf_sum = 0.0
    matched = 0
    for i in range(IMAGES):
        own = gts.get(i, [])
        shapes = [g[1] for g in own]
        maps = {}
        decoded = [[from_code(loc[i, p, c], boxes[p], scale[p], code) for p in range(PRIORS)] for c in range(nloc)]
        if own:
            for c in range(nloc):
                if not share and c == background:
                    continue
                wanted = [k for k, g in enumerate(own) if share or g[0] == c]
                if use_prior:
                    found, best = plain_match(boxes, shapes, threshold, per_prediction, inside_only)
                    if not share:
                        found = [f if f in wanted else -1 for f in found]
                else:
                    found, best = plain_match(decoded[c], [shapes[k] for k in wanted], threshold, per_prediction, inside_only)
                    found = [wanted[f] if f >= 0 else f for f in found]
                maps[c] = (found, best)

        def difference(c, p, k, i=i, shapes=shapes, decoded=decoded):
            goal = to_code(shapes[k], boxes[p], scale[p], code)
            d = [loc[i, p, c, n] - goal[n] for n in range(4)]
            if in_target:
                d = [v / s for v, s in zip(d, variances[p])]
            if bp_inside:
                at = boxes[p] if use_prior else decoded[c][p]
                d = [0.0 if at[n] < 0 or at[n] > 1 else d[n] for n in range(4)]
            return sum(v * v / 2 if abs(v) < 1 or loc_loss == "L2" else abs(v) - 0.5 for v in d)

        def classify(p, label, i=i):
            if conf_loss == "SOFTMAX":
                return -log_softmax(conf[i, p])[label]
            return sum(cross_entropy(conf[i, p, k], float(k == label)) for k in range(classes))

        negatives = []
        if mining != "NONE" and own:
            found, best = maps[0]
            loss = [classify(p, own[found[p]][0] if found[p] >= 0 else background) for p in range(PRIORS)]
            if mining == "HARD_EXAMPLE":
                loss = [v + (difference(0, p, found[p]) if found[p] >= 0 else 0) for p, v in enumerate(loss)]
                pool, number = list(range(PRIORS)), sample
            else:
                pool = [p for p in range(PRIORS) if found[p] == -1 and best[p] < neg_overlap]
                number = int(sum(f >= 0 for f in found) * ratio)
            pool.sort(key=lambda p: -loss[p])
            if nms is not None:
                kept, place = [], boxes if nms_prior else decoded[0]
                for p in pool[: nms[1]]:
                    if area(place[p]) >= 1e-5 and all(iou(place[p], place[q]) <= nms[0] for q in kept):
                        kept.append(p)
                pool = kept
            picked = pool[:number]
            if mining == "HARD_EXAMPLE":
                maps[0] = ([-1 if f >= 0 and p not in picked else f for p, f in enumerate(found)], best)
            negatives = [p for p in sorted(picked) if found[p] == -1]

        labels = {}
        for c, (found, _) in sorted(maps.items()):
            for p in range(PRIORS):
                if found[p] >= 0:
                    matched += 1
                    loc_sum += difference(c, p, found[p])
                    labels[p] = background + 1 if agnostic else own[found[p]][0]
        if mining == "NONE":
            assert conf_loss == "SOFTMAX"
            conf_sum += sum(classify(p, labels.get(p, background)) for p in range(PRIORS))
        else:
            conf_sum += sum(classify(p, label) for p, label in labels.items()) + sum(classify(p, background) for p in negatives)
    divisor = {"VALID": matched, "FULL": IMAGES * PRIORS, "BATCH_SIZE": IMAGES, "NONE": 1}[normalization]
    return (weight * loc_sum + conf_sum) / max(divisor, 1), matched


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


def test_equal_overlaps_go_to_the_first_prior() -> None:
    loc, conf, prior, truth = case(0)
    prior[0, 0] = np.tile(np.float32([0.1, 0.1, 0.5, 0.5]), PRIORS)
    truth[0, 0, :5, 3:7] = [0.1, 0.1, 0.5, 0.5]
    options = {"per_prediction": False}
    module = protogen.loads(layer("match_type: BIPARTITE neg_overlap: 2"), phase="TRAIN").to_torch()
    expected = plain_loss(loc, conf, prior, truth, neg_overlap=2, **options)[0]
    assert module.loss(*map(torch.tensor, (loc, conf, prior, truth))).item() == pytest.approx(expected, rel=1e-5)


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
    with pytest.warns(protogen.ProtogenWarning, match="only serve training"):
        assert [node.name for node in net.to_onnx().graph.output] == ["same"]


@pytest.mark.parametrize(("old", "new"), [("true", "VALID"), ("false", "BATCH_SIZE")])
def test_normalize_is_the_old_spelling_of_normalization(old: str, new: str) -> None:
    values = [torch.tensor(value) for value in case(4)]
    texts = [layer("", more=f"loss_param {{ {param} }}") for param in (f"normalize: {old}", f"normalization: {new}")]
    first, second = (protogen.loads(text).to_torch()(*values) for text in texts)
    assert first.item() == second.item() > 0
