"""MobileNet-YOLO's segmentation loss against a plain loop over pixels."""

from __future__ import annotations

import numpy as np
import pytest

from protogen.errors import LayerError
from tests.layers.alone import Alone
from tests.layers.detection.plain_yolo import check, run, sigmoid
from tests.layers.nets import net_of


def seg_text(scale: float = 5.0) -> str:
    return f'type: "YoloSeg" bottom: "a" bottom: "b" bottom: "c" top: "loss" yolo_seg_param {{ object_scale: {scale} }}'


def planes() -> list[np.ndarray]:
    """Predictions, labels and the sums of those."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 2, (2, 3, 4, 5)).astype(np.float32)
    label = (1.3 * rng.random(x.shape)).clip(0, 1).astype(np.float32)
    return [x, label, label.sum((2, 3))]


def plain_seg(x: np.ndarray, label: np.ndarray, scale: float) -> tuple[float, np.ndarray]:
    """Loss and gradient for the two images of `planes`."""
    delta = np.zeros(x.shape)
    for image, c, i, j in np.ndindex(x.shape):
        sums = sum(float(label[other, c].sum()) for other in range(2))
        weight = 2 - sums / (2 * 4 * 5 - sums) if label[image, c, i, j] > 0.5 else 1
        delta[image, c, i, j] = scale * weight * (sigmoid(float(x[image, c, i, j])) - label[image, c, i, j])
    return (delta**2).sum() / 2, delta / 2


def test_segmentation_loss_is_the_plain_loop() -> None:
    x, label, sums = planes()
    check(run(seg_text(0.3), x, label, sums), plain_seg(x, label, 0.3))


def test_right_segmentation_has_no_loss() -> None:
    label = np.zeros((1, 2, 4, 4), np.float32)
    label[0, 0, :2] = label[0, 1, 2:] = 1
    loss, gradient = run(seg_text(), 60 * (label - 0.5), label, label.sum((2, 3)))
    assert loss < 1e-9
    assert np.abs(gradient).max() < 1e-9


@pytest.mark.parametrize(
    ("text", "shapes", "why"),
    [
        (seg_text(), [(1, 2, 4, 4), (1, 2, 4, 5), (1, 2)], "labels of that shape"),
        (seg_text(), [(1, 2, 4, 4), (1, 2, 4, 4), (1, 3)], "sum of each class"),
        (seg_text().replace('bottom: "c"', ""), [(1, 2, 4, 4), (1, 2, 4, 4)], "3 bottoms"),
    ],
)
def test_mistakes_name_the_layer(text: str, shapes: list, why: str) -> None:
    with pytest.raises(LayerError, match=why) as error:
        net_of(text, *shapes, phase="TRAIN")
    assert "'op'" in str(error.value)


ALONE = [
    Alone(
        "YoloSeg", "yolo_seg_param.object_scale", 0.25, 'bottom: "a" bottom: "b" bottom: "c" top: "loss"',
        [(2, 3, 4, 5), (2, 3, 4, 5), (2, 3)],
        lambda net, values: [np.asarray(part) for part in plain_seg(values["a"], values["b"], 0.25)],
        planes, "TRAIN", ("a",),
    ),
]  # fmt: skip
