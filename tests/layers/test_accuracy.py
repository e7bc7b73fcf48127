"""Accuracy, SegAccuracy and SegmentationEvaluate beyond the cases of real Caffe."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from protogen.errors import ConversionError, LayerError, ProtogenError
from tests.layers.alone import Alone
from tests.layers.test_loss import labels, module, random, text
from tests.running import compile_whole


def test_ties_count_against_the_label() -> None:
    x = torch.tensor([[1.0, 1.0, 0.0], [2.0, 1.0, 1.0], [0.0, 0.0, 3.0]])
    y = torch.tensor([0.0, 0.0, 2.0])
    assert module("Accuracy", (3, 3), (3,))(x, y).item() == pytest.approx(2 / 3)
    assert module("Accuracy", (3, 3), (3,), more="accuracy_param { top_k: 2 }")(x, y).item() == 1


def test_axis_ignored_labels_and_classes() -> None:
    x, y = random(3, 5, 4), labels(3, 5)
    y[0, 0] = y[2, 3] = 9
    op = module("Accuracy", x.shape, y.shape, tops=2, more="accuracy_param { axis: -1 ignore_label: 9 }")
    share, per_class = op(x, y)
    right = (x.argmax(2) == y) & (y != 9)
    assert share.item() == pytest.approx(right.sum().item() / 13)
    for c in range(4):
        own = y == c
        assert per_class[c].item() == pytest.approx((right & own).sum().item() / max(own.sum().item(), 1))


def test_nothing_to_count_is_zero() -> None:
    share, per_class = module("Accuracy", (2, 3), (2,), tops=2, more="accuracy_param { ignore_label: 1 }")(
        random(2, 3), torch.ones(2)
    )
    assert share == 0
    assert per_class.tolist() == [0, 0, 0]


SEG = "seg_accuracy_param { ignore_label: 255 ignore_label: 3 }"


def scored() -> list[np.ndarray]:
    """Scores of 4 classes, and labels: class 1 is never there, some are 255."""
    x, y = random(2, 4, 3, 5), labels(2, 1, 3, 5)
    y[0, 0, 0, :3] = 255
    y[y == 1] = 0
    return [x.numpy(), y.numpy()]


def by_confusion(x: np.ndarray, y: np.ndarray, ignored: tuple[int, ...]) -> np.ndarray:
    """Accuracy, mean recall and mean intersection over union; labels that are no class count nowhere."""
    confusion = np.zeros((4, 4))
    for truth, predicted in zip(y.flatten().tolist(), x.argmax(1).flatten().tolist()):
        if truth < 4 and truth not in ignored:
            confusion[int(truth), predicted] += 1
    hits, there, made = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    recall = [hits[c] / there[c] for c in range(4) if there[c]]
    union = there + made - hits
    jaccard = [hits[c] / union[c] if union[c] else 1 for c in range(4)]
    return np.array([hits.sum() / there.sum(), np.mean(recall), np.mean(jaccard)]).reshape(1, 1, 1, 3)


def test_segmentation_scores() -> None:
    x, y = scored()
    result = module("SegAccuracy", x.shape, y.shape, more=SEG)(torch.tensor(x), torch.tensor(y))
    assert result.shape == (1, 1, 1, 3)
    assert np.allclose(result, by_confusion(x, y, (255, 3)), atol=1e-6)


def test_segmentation_with_one_channel_decides_at_a_half() -> None:
    x = torch.tensor([0.2, 0.6, 0.9, 0.5]).reshape(1, 1, 2, 2)
    y = torch.tensor([0.0, 1.0, 0.0, 0.0]).reshape(1, 1, 2, 2)
    assert torch.allclose(
        module("SegAccuracy", x.shape, y.shape)(x, y).flatten(), torch.tensor([3 / 4, (1 + 2 / 3) / 2, (2 / 3 + 1 / 2) / 2])
    )


@pytest.mark.parametrize(
    ("type", "shapes", "tops", "more"),
    [
        ("Accuracy", ((3, 4, 2), (3, 2)), 2, "accuracy_param { top_k: 2 ignore_label: 1 }"),
        ("SegAccuracy", ((2, 4, 3, 5), (2, 1, 3, 5)), 1, SEG),
    ],
)
def test_compile_export_and_no_onnx(type: str, shapes: tuple, tops: int, more: str) -> None:
    op, inputs = module(type, *shapes, tops=tops, more=more), (random(*shapes[0]), labels(*shapes[1]))
    expected = op(*inputs)
    for other in (compile_whole(op), torch.export.export(op, inputs, strict=False).module()):
        assert all(torch.equal(a, b) for a, b in zip(other(*inputs), expected))
    twice = op(*[torch.cat([x, x]) for x in inputs])
    assert all(torch.allclose(a, b) for a, b in zip(twice, expected))
    with pytest.raises(ConversionError, match=r"'op'.*testing"):
        protogen.loads(text(type, *shapes, tops=tops, more=more)).to_onnx()


@pytest.mark.parametrize(
    ("net", "why"),
    [
        (text("Accuracy", (2, 3), (2,), more="accuracy_param { top_k: 4 }"), "top_k 4"),
        (text("Accuracy", (2, 3), (3,)), "needs 2 labels"),
        (text("Accuracy", (2, 3), (2,), more="accuracy_param { axis: 2 }"), "axis 2 is out of range"),
        (text("Accuracy", (2, 3), (2,), tops=3), "1 to 2 tops"),
        (text("SegAccuracy", (2, 3, 4, 4), (2, 2, 4, 4)), "one channel"),
        (text("SegAccuracy", (2, 3, 4, 4), (2, 1, 4, 5)), "must agree"),
    ],
)
def test_refusals(net: str, why: str) -> None:
    with pytest.raises(LayerError, match=why) as error:
        protogen.loads(net)
    assert "'op'" in str(error.value)


def test_options_without_a_form_are_not_passed_over() -> None:
    for type, shapes, more in (
        ("Accuracy", ((2, 3), (2,)), "accuracy_param { min_is_better: true }"),
        ("SegAccuracy", ((2, 3, 4, 4), (2, 1, 4, 4)), "seg_accuracy_param { reset: false }"),
    ):
        with pytest.raises(ProtogenError, match="'op'"):
            module(type, *shapes, more=more)


EVALUATE = "segmentation_evaluate_param { num_classes: 3 threshold: 0.4 }"


def test_planes_of_the_first_image_are_evaluated() -> None:
    x, y = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(2, 3, 4, 5)
    y[0, 0, :2] = 1
    y[0, 1, 0, 0] = 1
    x[0, 1] = 0.4  # not above the threshold: no hit
    x[1], y[1] = 1, 1
    result = module("SegmentationEvaluate", x.shape, y.shape, more=EVALUATE)(x, y)
    said = x[0, 0].numpy() > 0.4
    assert result.shape == (1, 1, 1, 3)
    assert result.flatten().tolist() == pytest.approx([said[:2].sum() / (said.sum() + 10 - said[:2].sum()), 0, 0])


@pytest.mark.parametrize(
    ("shapes", "more", "message"),
    [
        (((1, 3, 4, 4), (1, 3, 4, 4)), "", "num_classes is missing"),
        (((1, 3, 4, 4), (1, 2, 4, 4)), EVALUATE, "the same number of channels"),
        (((1, 3, 4, 4), (1, 3, 2, 2)), EVALUATE, "of different sizes have no PyTorch form"),
    ],
)
def test_planes_that_cannot_be_evaluated(shapes: tuple[tuple[int, ...], ...], more: str, message: str) -> None:
    with pytest.raises(ProtogenError, match=message):
        module("SegmentationEvaluate", *shapes, more=more)


def over_union(limit: float):
    """Intersection over union of the first image's planes."""

    def of(net, values):
        found, label = (values[name][0] > limit for name in "ab")
        return [np.array([(f & t).sum() / (f | t).sum() for f, t in zip(found, label)]).reshape(1, 1, 1, 3)]

    return of


PAIR = 'bottom: "a" bottom: "b" top: "y"'
ALONE = [
    Alone(
        "Accuracy", "accuracy_param.axis", 2, PAIR, [(3, 4, 4), (3, 4)],
        lambda net, values: [np.mean(values["a"].argmax(2) == values["b"])],
        lambda: [random(3, 4, 4).numpy(), labels(3, 4).numpy()],
    ),
    Alone(
        "SegAccuracy", "seg_accuracy_param.ignore_label", [0, 255], PAIR, [(2, 4, 3, 5), (2, 1, 3, 5)],
        lambda net, values: [by_confusion(values["a"], values["b"], (0, 255))], scored,
    ),
    # Nothing but a check: the planes tell how many classes there are.
    Alone(
        "SegmentationEvaluate", "segmentation_evaluate_param.num_classes", 3, PAIR, [(2, 3, 4, 5)] * 2, over_union(0.5),
        refused="num_classes is missing",
    ),
    Alone(
        "SegmentationEvaluate", "segmentation_evaluate_param.threshold", 0.25,
        f"{PAIR} segmentation_evaluate_param {{ num_classes: 3 }}", [(2, 3, 4, 5)] * 2, over_union(0.25),
    ),
]  # fmt: skip
