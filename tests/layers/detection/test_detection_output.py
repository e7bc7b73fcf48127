"""DetectionOutput against a plain, box by box account of Caffe's steps; what Caffe refuses; what the ONNX model states."""

from __future__ import annotations

from itertools import cycle

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import ConversionError, LayerError
from protogen.layers.detection.boxes import BLOCK, suppress
from protogen.layers.detection.prior_box import PriorBox
from protogen.verification import random_inputs
from tests.layers.alone import Alone
from tests.layers.detection.plain_multibox import iou
from tests.layers.nets import net_of
from tests.running import NEWEST, Arrays, by_onnx, by_torch, run_model, shape_of

PRIORS, CLASSES = 12, 4


def layer(param: str, bottoms: str = 'bottom: "a" bottom: "b" bottom: "c"') -> str:
    return f'type: "DetectionOutput" {bottoms} top: "y" detection_output_param {{ num_classes: {CLASSES} {param} }}'


def net(param: str, images: int = 2, sets: int = 1, priors: int = PRIORS) -> protogen.Net:
    return net_of(layer(param), (images, priors * sets * 4), (images, priors * CLASSES), (1, 2, priors * 4))


def staged(param: str, stages: int, images: int = 2, sets: int = 1, tail: tuple[int, ...] = ()) -> protogen.Net:
    """A layer of two stages (RefineDet), the first of which gives confidences or, of 2 `stages`, locations, too."""
    bottoms = " ".join(f'bottom: "{name}"' for name in "abcde"[: 3 + stages])
    shapes = [(images, PRIORS * sets * 4), (images, PRIORS * CLASSES), (1, 2, PRIORS * 4)]
    shapes += [(images, PRIORS * 2, *tail), (images, PRIORS * 4, *tail)][:stages]
    return net_of(layer(param, bottoms), *shapes)


def first_stage(images: int = 2, stages: int = 2, priors: int = PRIORS) -> Arrays:
    """Confidences, some of them equal to 0.5, and locations."""
    rng = np.random.default_rng(8)
    made = {"d": np.round(rng.random((images, priors * 2)) * 8) / 8, "e": rng.standard_normal((images, priors * 4))}
    return {name: made[name].astype(np.float32) for name in "de"[:stages]}


def values(images: int = 2, sets: int = 1, priors: int = PRIORS, ties: bool = False, move: float = 1.0) -> Arrays:
    """Overlapping priors, offsets, and scores of which many are equal if `ties` is set."""
    rng = np.random.default_rng(3)
    corner = rng.random((priors, 2)) * 0.3
    boxes = np.concatenate([corner, corner + 0.2 + 0.3 * rng.random((priors, 2))], 1)
    scores = rng.random((images, priors * CLASSES))
    prior = np.stack([boxes.ravel(), np.tile([0.1, 0.1, 0.2, 0.2], priors)])[None]
    offsets = rng.standard_normal((images, priors * sets * 4)) * move
    made = {"a": offsets, "b": np.round(scores * 4) / 4 if ties else scores, "c": prior}
    return {name: value.astype(np.float32) for name, value in made.items()}


def test_twice_as_many_locations_as_prior_boxes_are_textboxes() -> None:
    with pytest.raises(LayerError, match=r"need 48 locations per image, not 96.*--priors textboxes"):
        net_of(layer(""), (2, PRIORS * 8), (2, PRIORS * CLASSES * 2), (1, 2, PRIORS * 4))


# ---- the reference


def decoded(p: protogen.prototxt.message.Message, prior: np.ndarray, variance: np.ndarray, offset: np.ndarray) -> np.ndarray:
    offset = offset if p.variance_encoded_in_target else offset * variance
    size = np.tile(prior[2:] - prior[:2], 2)
    if p.code_type == "CORNER":
        return prior + offset
    if p.code_type == "CORNER_SIZE":
        return prior + offset * size
    center, half = offset[:2] * size[:2] + (prior[:2] + prior[2:]) / 2, np.exp(offset[2:]) * size[:2] / 2
    return np.concatenate([center - half, center + half])


def by_hand(network: protogen.Net, given: Arrays) -> np.ndarray:
    p = network.layers[-1].message.detection_output_param
    (prior, variance), images = given["c"][0].reshape(2, -1, 4), len(given["a"])
    sets = 1 if p.share_location else CLASSES
    rows = []
    for image in range(images):
        offsets = given["a"][image].reshape(len(prior), sets, 4)
        scores = given["b"][image].reshape(len(prior), CLASSES).copy()
        places = list(prior)
        for i in range(len(prior)):
            if "d" in given and given["d"][image].ravel()[2 * i + 1] < p.objectness_score:
                for label in range(CLASSES):
                    scores[i, label] = 1 if label == 0 else 0
            if "e" in given:
                places[i] = decoded(p, prior[i], variance[i], given["e"][image].reshape(-1, 4)[i])
        found = []
        for label in range(CLASSES):
            if label == p.background_label_id:
                continue
            boxes = [decoded(p, places[i], variance[i], offsets[i, label % sets]) for i in range(len(prior))]
            order = [i for i in range(len(prior)) if scores[i, label] > p.get("confidence_threshold", -1e30)]
            order.sort(key=lambda i: -scores[i, label])
            if p.nms_param.get("top_k", -1) >= 0:
                order = order[: p.nms_param.top_k]
            kept: list[int] = []
            limit = p.nms_param.nms_threshold
            for i in order:
                if all(iou(boxes[i], boxes[k]) <= limit for k in kept):
                    kept.append(i)
                    limit *= p.nms_param.eta if p.nms_param.eta < 1 and limit > 0.5 else 1
            found += [(label, scores[i, label], boxes[i]) for i in kept]
        if 0 <= p.keep_top_k < len(found):
            found = sorted(found, key=lambda row: -row[1])[: p.keep_top_k]
            found.sort(key=lambda row: row[0])
        rows += [[image, label, score, *box] for label, score, box in found]
    rows = rows or [[image, *[-1] * 6] for image in range(images)]
    return np.array(rows, np.float32).reshape(1, 1, -1, 7)


PARAMS = [
    "nms_param { nms_threshold: 0.4 top_k: 8 } code_type: CENTER_SIZE keep_top_k: 7 confidence_threshold: 0.3",
    "nms_param { nms_threshold: 0.4 top_k: 5 } code_type: CENTER_SIZE",
    "nms_param { nms_threshold: 0.3 } code_type: CORNER variance_encoded_in_target: true keep_top_k: 20",
    "nms_param { nms_threshold: 0.5 } code_type: CORNER_SIZE background_label_id: 2 confidence_threshold: 0.5",
    "nms_param { nms_threshold: 0.2 } code_type: CORNER_SIZE variance_encoded_in_target: true background_label_id: -1",
    "nms_param { nms_threshold: 2 } code_type: CENTER_SIZE variance_encoded_in_target: true keep_top_k: 1",
    "nms_param { nms_threshold: 0 } code_type: CENTER_SIZE keep_top_k: 0",
    "nms_param { nms_threshold: 0.4 top_k: 6 } code_type: CENTER_SIZE confidence_threshold: 1.5",
]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("param", PARAMS)
def test_rows_are_those_of_caffes_steps(param: str, shared: bool, ties: bool) -> None:
    sets = 1 if shared else CLASSES
    network = net(param + f" share_location: {str(shared).lower()}", sets=sets)
    given = values(sets=sets, ties=ties)
    expected = by_hand(network, given)
    for made in (by_torch(network, given)[0], by_onnx(network, given)[0]):
        assert made.shape == expected.shape
        np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-6)


def test_a_threshold_that_shrinks_works_in_pytorch_and_is_refused_for_onnx() -> None:
    param = "nms_param { nms_threshold: 0.9 eta: 0.8 top_k: 400 } code_type: CENTER_SIZE"
    network, given = net(param, priors=60), values(priors=60)
    expected = by_hand(network, given)
    np.testing.assert_allclose(by_torch(network, given)[0], expected, rtol=1e-5, atol=1e-6)
    assert expected.shape != by_hand(net(param.replace("eta: 0.8", ""), priors=60), given).shape
    with pytest.raises(ConversionError, match=r"layer 'op'.*eta"):
        network.to_onnx()


@pytest.mark.parametrize("opset", [11, 13, 18, NEWEST])
def test_other_opsets_and_batches_give_the_same_rows(opset: int) -> None:
    for param, sets in ((PARAMS[0], 1), (PARAMS[2] + " share_location: false", CLASSES)):
        network = net(param, images=1, sets=sets)
        for images in (1, 3):
            given = values(images, sets)
            made = by_onnx(network, given, opset=opset, dynamic_batch=True)[0]
            np.testing.assert_allclose(made, by_hand(network, given), rtol=1e-5, atol=1e-6)
    nothing = net(PARAMS[-1], images=1)
    np.testing.assert_array_equal(by_onnx(nothing, values(3), opset=opset, dynamic_batch=True)[0], by_hand(nothing, values(3)))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("param", "opset"), list(zip(PARAMS, cycle([11, 17, NEWEST]))))
def test_any_number_of_priors(param: str, opset: int, shared: bool) -> None:
    """Locations and scores of maps whose size is open: fewer priors than `top_k` and `keep_top_k`, and more."""
    sets = 1 if shared else CLASSES
    network = protogen.loads(
        "".join(
            f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ dim: 1 dim: {n} dim: 3 dim: 4 }} }} }}'
            f'layer {{ name: "{name}_flat" type: "Flatten" bottom: "{name}" top: "{name}_flat" }}'
            for name, n in (("a", 4 * sets), ("b", CLASSES))
        )
        + """layer { name: "c" type: "PriorBox" bottom: "a" bottom: "b" top: "c"
                     prior_box_param { min_size: 3 variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 } }"""
        + 'layer { name: "op" '
        + layer(f"{param} share_location: {str(shared).lower()}", 'bottom: "a_flat" bottom: "b_flat" bottom: "c"')
        + "}"
    )
    for images, height, width in ((1, 3, 4), (3, 2, 9), (2, 1, 2), (1, 3, 6)):
        given = values(images, sets, height * width)
        maps = {name: given[name].reshape(images, -1, height, width) for name in "ab"}
        given["c"] = next(op for op in network.ops if isinstance(op, PriorBox)).boxes((height, width), (height, width), np)
        expected = by_hand(network, given)
        in_onnx = by_onnx(network, maps, opset=opset, dynamic_size=True, dynamic_batch=images > 1)
        for made in (in_onnx[0], by_torch(network, maps)[0]):
            assert made.shape == expected.shape
            np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("opset", [11, 13, 18, NEWEST])
@pytest.mark.parametrize("param", PARAMS)
def test_two_stages_are_those_of_refinedets_steps(param: str, opset: int) -> None:
    """sfzhang15's detection_output_layer.cpp: OSGetConfidenceScores, then CasRegDecodeBBoxesAll."""
    one = by_hand(net(param), values())
    for stages, tail in ((1, ()), (2, ()), (2, (1, 1))):
        network = staged(param + " objectness_score: 0.5", stages, tail=tail)
        given = {**values(), **{name: value.reshape(*value.shape, *tail) for name, value in first_stage(stages=stages).items()}}
        expected = by_hand(network, given)
        # Without a threshold scores of 0 are listed, too; the limits of two cases leave one row, or none.
        assert not np.array_equal(expected, one) or "keep_top_k: 0" in param or "1.5" in param
        for made in (by_torch(network, given)[0], by_onnx(network, given, opset=opset)[0]):
            assert made.shape == expected.shape
            np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-6)
    open_batch = staged(param, 2, images=1).to_onnx(opset=opset, dynamic_batch=True)
    given = {**values(3), **first_stage(3)}
    made, expected = run_model(open_batch, given)["y"], by_hand(staged(param, 2, images=3), given)
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("param", [PARAMS[0], PARAMS[3]])
def test_a_first_stage_without_boxes_per_class(param: str) -> None:
    """Confidences alone go with locations per class; where class 0 is none of the background it gets a score of 1."""
    network = staged(param + " share_location: false", 1, sets=CLASSES)
    given = {**values(sets=CLASSES), **first_stage(stages=1)}
    given["d"][:] = 0
    expected = by_hand(network, given)
    scores = expected[..., 2] if "background_label_id: 2" in param else expected[..., 1:]
    assert (scores == (1 if "background_label_id: 2" in param else -1)).all()
    for made in (by_torch(network, given)[0], by_onnx(network, given)[0]):
        np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-6)


def test_two_stages_over_maps_of_any_size() -> None:
    """Two stages as RefineDet's deploy nets have them, all of it open in size and batch."""
    text = (
        "".join(
            f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ dim: 1 dim: {n} dim: 3 dim: 4 }} }} }}'
            f'layer {{ name: "{name}_flat" type: "Flatten" bottom: "{name}" top: "{name}_flat" }}'
            for name, n in (("a", 4), ("b", CLASSES), ("d", 2), ("e", 4))
        )
        + """layer { name: "c" type: "PriorBox" bottom: "a" bottom: "b" top: "c"
                   prior_box_param { min_size: 3 variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 } }"""
    )
    bottoms = " ".join(f'bottom: "{name}"' for name in ("a_flat", "b_flat", "c", "d_flat", "e_flat"))
    network = protogen.loads(f'{text}layer {{ name: "op" {layer(PARAMS[0] + " objectness_score: 0.5", bottoms)} }}')
    for images, height, width in ((1, 3, 4), (3, 2, 9), (2, 1, 2)):
        given = {**values(images, priors=height * width), **first_stage(images, priors=height * width)}
        maps = {name: given[name].reshape(images, -1, height, width) for name in "abde"}
        given["c"] = next(op for op in network.ops if isinstance(op, PriorBox)).boxes((height, width), (height, width), np)
        expected = by_hand(network, given)
        for made in (by_torch(network, maps)[0], by_onnx(network, maps, dynamic_size=True, dynamic_batch=True)[0]):
            assert made.shape == expected.shape
            np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-6)


def test_boxes_in_which_the_first_stage_sees_nothing_are_not_listed() -> None:
    network = protogen.loads("""
        input: "img" input_shape { dim: 1 dim: 3 dim: 32 dim: 32 }
        input: "loc" input_shape { dim: 1 dim: 16 }
        input: "conf" input_shape { dim: 1 dim: 8 }
        input: "arm_conf" input_shape { dim: 1 dim: 8 }
        layer { name: "c" type: "Pooling" bottom: "img" top: "c" pooling_param { pool: AVE kernel_size: 16 stride: 16 } }
        layer { name: "pr" type: "PriorBox" bottom: "c" bottom: "img" top: "pr"
                prior_box_param { min_size: 8 variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 } }
        layer { name: "out" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "pr" bottom: "arm_conf" top: "out"
                detection_output_param { num_classes: 2 nms_param { nms_threshold: 0.45 top_k: 10 } code_type: CENTER_SIZE
                                         keep_top_k: 5 confidence_threshold: 0.01 objectness_score: 0.3 } }""")
    given = {"img": np.zeros((1, 3, 32, 32), np.float32), "loc": np.zeros((1, 16), np.float32)}
    given["conf"] = np.float32([[0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.4, 0.6]])
    given["arm_conf"] = np.float32([[0.8, 0.2, 0.2, 0.8, 0.7, 0.3, 0.9, 0.1]])  # the third equals the threshold: it stays
    expected = [[0, 1, 0.8, 0.625, 0.125, 0.875, 0.375], [0, 1, 0.7, 0.125, 0.625, 0.375, 0.875]]
    for made in (by_torch(network, given)[0], by_onnx(network, given)[0]):
        np.testing.assert_allclose(made[0, 0], expected, rtol=1e-6)


def test_a_fourth_bottom_that_is_an_image_changes_nothing() -> None:
    """The SSD fork draws on it (`visualize`) what it has found."""
    bottoms = 'bottom: "a" bottom: "b" bottom: "c" bottom: "d"'
    shapes = [(2, PRIORS * 4), (2, PRIORS * CLASSES), (1, 2, PRIORS * 4), (2, 3, 8, 8)]
    network = net_of(layer(PARAMS[0] + " visualize: true", bottoms), *shapes)
    given = {**values(), "d": -np.ones((2, 3, 8, 8), np.float32)}
    expected = by_hand(net(PARAMS[0]), values())
    for made in (by_torch(network, given)[0], by_onnx(network, given)[0]):
        np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-6)


def test_verify_draws_confidences_on_both_sides_of_the_score() -> None:
    network = staged(PARAMS[0] + " objectness_score: 0.02", 2)
    drawn = random_inputs(network.graph(), 0, {})["d"].reshape(2, -1, 2)[..., 1]
    assert 0 < (drawn < 0.02).mean() < 1
    report = protogen.verify(network)
    assert report.ok, report.verdict


def test_the_number_of_rows_is_open_in_the_model_and_what_follows_runs() -> None:
    power = 'layer { name: "p" type: "Power" bottom: "y" top: "z" power_param { scale: 2 } }'
    network = protogen.loads(net(PARAMS[0]).to_prototxt() + power)
    assert network.shapes["z"] == (1, 1, 1, 7)  # Caffe's placeholder
    assert [shape_of(node) for node in network.to_onnx().graph.output] == [[1, 1, 0, 7]]
    np.testing.assert_allclose(by_onnx(network, values())[0], 2 * by_hand(net(PARAMS[0]), values()), rtol=1e-5, atol=1e-6)


def test_many_boxes_are_suppressed_as_one_by_one() -> None:
    rng = np.random.default_rng(0)
    count = 3 * BLOCK + 5  # boxes of several blocks, in two groups
    corner = rng.random((2, count, 2)) * 3
    boxes = np.concatenate([corner, corner + rng.random((2, count, 2)) + 0.1], 2).astype(np.float32)
    valid = rng.random((2, count)) < 0.8
    keep = suppress(torch.tensor(boxes), torch.tensor(valid), 0.3).numpy()
    for group in range(2):
        kept: list[int] = []
        for i in np.flatnonzero(valid[group]):
            if all(iou(boxes[group, i], boxes[group, k]) <= 0.3 for k in kept):
                kept.append(i)
        assert np.flatnonzero(keep[group]).tolist() == kept


FOUR = 'bottom: "a" bottom: "b" bottom: "c" bottom: "d"'
FIVE = FOUR + ' bottom: "e"'
SHAPES = [(2, 48), (2, 48), (1, 2, 48)]


@pytest.mark.parametrize(
    ("text", "shapes", "message"),
    [
        (layer("").replace("num_classes: 4", ""), None, "num_classes is missing"),
        (layer("", 'bottom: "a" bottom: "b"'), None, "needs 3 to 5 bottoms, has 2"),
        (
            layer("", FOUR),
            [*SHAPES, (2, 23)],
            "need 24 confidences of a first stage per image (or an image to draw on), not (2, 23)",
        ),
        (layer("", FOUR), [*SHAPES, (1, 24)], "need 24 confidences of a first stage"),
        (layer("objectness_score: 0.1", FOUR), [*SHAPES, (2, 3, 8, 8)], "need 24 confidences of a first stage"),
        (layer("", FIVE), [*SHAPES, (2, 24), (2, 24)], "need 48 locations of a first stage per image, not (2, 24)"),
        (layer("share_location: false", FIVE), [(2, 192), *SHAPES[1:], (2, 24), (2, 48)], "need share_location: true"),
        (layer(""), [(2, 48), (3, 48), (1, 2, 48)], "differ in their batch"),
        (layer(""), [(2, 44), (2, 48), (1, 2, 48)], "12 prior boxes need 48 locations per image, not 44"),
        (layer(""), [(2, 48), (2, 44), (1, 2, 48)], "12 prior boxes need 48 confidences per image, not 44"),
        (layer("share_location: false"), [(2, 48), (2, 48), (1, 2, 48)], "need 192 locations"),
        (layer(""), [(2, 48), (2, 48), (1, 1, 96)], "must have the shape (1, 2, P * 4)"),
        (layer(""), [(2, 48), (2, 48), (1, 2, 3)], "no prior boxes"),
        (layer("nms_param { nms_threshold: -0.1 }"), None, "nms_threshold must not be negative"),
        (layer("nms_param { eta: 0 }"), None, "eta must be above 0"),
        (layer("nms_param { eta: 1.5 }"), None, "eta must be above 0 and at most 1"),
        (layer("nms_param { top_k: 0 }"), None, "top_k must not be 0"),
    ],
)
def test_what_caffe_refuses_names_the_layer(text: str, shapes: list[tuple[int, ...]] | None, message: str) -> None:
    with pytest.raises(LayerError, match="layer 'op'") as error:
        net_of(text, *(shapes or SHAPES))
    assert message in str(error.value)


def row(field: str, value: float, others: str, priors: int = PRIORS, stages: int = 0) -> Alone:
    bottoms = " ".join(f'bottom: "{name}"' for name in "abcde"[: 3 + stages])
    text = f'{bottoms} top: "y" detection_output_param {{ num_classes: {CLASSES} code_type: CENTER_SIZE {others} }}'
    sizes = [(2, priors * 4), (2, priors * CLASSES), (1, 2, priors * 4), (2, priors * 2), (2, priors * 4)][: 3 + stages]
    return Alone(
        "DetectionOutput", f"detection_output_param.{field}", value, text, sizes, lambda net, given: [by_hand(net, given)],
        lambda: [*values(priors=priors).values(), *first_stage(stages=stages, priors=priors).values()],
    )  # fmt: skip


ALONE = [
    row("nms_param.nms_threshold", 0.25, ""),
    row("background_label_id", 2, "nms_param { nms_threshold: 0.4 top_k: 8 }"),
    row("objectness_score", 0.5, "nms_param { nms_threshold: 0.4 top_k: 8 }", stages=2),
    row("nms_param.eta", 0.75, "nms_param { nms_threshold: 0.9 top_k: 400 }", priors=60),
]
