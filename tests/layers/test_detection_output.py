"""DetectionOutput against a plain, box by box account of Caffe's steps; what Caffe refuses; what the ONNX model states."""

from __future__ import annotations

from itertools import cycle

import numpy as np
import onnxruntime
import pytest
import torch

import protogen
from protogen.errors import ConversionError, LayerError
from protogen.layers.boxes import BLOCK, suppress
from protogen.layers.prior_box import PriorBox
from tests.layers.forms import Arrays, by_onnx, by_torch, net_of

PRIORS, CLASSES = 12, 4


def layer(param: str, bottoms: str = 'bottom: "a" bottom: "b" bottom: "c"') -> str:
    return f'type: "DetectionOutput" {bottoms} top: "y" detection_output_param {{ num_classes: {CLASSES} {param} }}'


def net(param: str, images: int = 2, sets: int = 1, priors: int = PRIORS) -> protogen.Net:
    return net_of(layer(param), (images, priors * sets * 4), (images, priors * CLASSES), (1, 2, priors * 4))


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


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    side = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    if not (side > 0).all():
        return 0.0
    return float(side.prod() / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - side.prod()))


def by_hand(network: protogen.Net, given: Arrays) -> np.ndarray:
    p = network.layers[-1].message.detection_output_param
    (prior, variance), images = given["c"][0].reshape(2, -1, 4), len(given["a"])
    sets = 1 if p.share_location else CLASSES
    rows = []
    for image in range(images):
        offsets = given["a"][image].reshape(len(prior), sets, 4)
        scores = given["b"][image].reshape(len(prior), CLASSES)
        found = []
        for label in range(CLASSES):
            if label == p.background_label_id:
                continue
            boxes = [decoded(p, prior[i], variance[i], offsets[i, label % sets]) for i in range(len(prior))]
            order = [i for i in range(len(prior)) if scores[i, label] > p.get("confidence_threshold", -1e30)]
            order.sort(key=lambda i: -scores[i, label])
            if p.nms_param.get("top_k", -1) >= 0:
                order = order[: p.nms_param.top_k]
            kept: list[int] = []
            limit = p.nms_param.nms_threshold
            for i in order:
                if all(overlap(boxes[i], boxes[k]) <= limit for k in kept):
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


@pytest.mark.parametrize("opset", [11, 13, 18, 21])
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
@pytest.mark.parametrize(("param", "opset"), list(zip(PARAMS, cycle([11, 17, 21]))))
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


def test_the_number_of_rows_is_open_in_the_model_and_what_follows_runs() -> None:
    power = 'layer { name: "p" type: "Power" bottom: "y" top: "z" power_param { scale: 2 } }'
    network = protogen.loads(net(PARAMS[0]).to_prototxt() + power)
    assert network.shapes["z"] == (1, 1, 1, 7)  # Caffe's placeholder
    session = onnxruntime.InferenceSession(network.to_onnx().SerializeToString(), providers=["CPUExecutionProvider"])
    assert [node.shape for node in session.get_outputs()] == [[1, 1, None, 7]]
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
            if all(overlap(boxes[group, i], boxes[group, k]) <= 0.3 for k in kept):
                kept.append(i)
        assert np.flatnonzero(keep[group]).tolist() == kept


@pytest.mark.parametrize(
    ("text", "shapes", "message"),
    [
        (layer("").replace("num_classes: 4", ""), None, "num_classes is missing"),
        (layer("", 'bottom: "a" bottom: "b"'), None, "needs 3 to 4 bottoms, has 2"),
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
        net_of(text, *(shapes or [(2, 48), (2, 48), (1, 2, 48)]))
    assert message in str(error.value)
