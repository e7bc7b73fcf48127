"""How alike two boxes are, by each variant of the IoU, against plain sums; and what the fork takes for the gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from protogen.layers.detection.box_similarity import similarity, similarity_gradient
from tests.layers.detection.plain_yolo import alike, plain_iou, plain_rise

KINDS = ["IOU", "GIOU", "DIOU", "CIOU"]


def boxes(n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Pairs x, y, width, height: apart, overlapping, one inside the other."""
    rng = np.random.default_rng(0)
    return tuple(np.concatenate([rng.uniform(0, 1, (n, 2)), rng.uniform(0.1, 0.8, (n, 2))], 1) for _ in range(2))


@pytest.mark.parametrize("kind", KINDS)
def test_similarity_is_the_plain_sum(kind: str) -> None:
    a, b = boxes()
    made = similarity(torch.tensor(a), torch.tensor(b), kind).numpy()
    np.testing.assert_allclose(made, [alike(list(x), list(y), kind) for x, y in zip(a, b)], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_its_gradient_is_the_forks(kind: str) -> None:
    """Of boxes that overlap; apart, the fork multiplies two negative sides into an area (see `plain_rise`)."""
    a, b = boxes()
    made = similarity_gradient(torch.tensor(a), torch.tensor(b), kind).numpy()
    pairs = [(row, x, y) for row, x, y in zip(made, a, b) if plain_iou(x, y) > 0]
    assert len(pairs) > 10
    for row, x, y in pairs:
        np.testing.assert_allclose(row, plain_rise(list(x), list(y), kind), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_boxes_are_wholly_alike(kind: str) -> None:
    box = torch.tensor([[0.5, 0.5, 0.2, 0.3]], dtype=torch.float64)
    assert similarity(box, box, kind).item() == pytest.approx(1)


def test_apart_only_the_variants_tell_how_far() -> None:
    near, far = torch.tensor([[0.35, 0.5, 0.1, 0.1]]), torch.tensor([[0.9, 0.5, 0.1, 0.1]])
    box = torch.tensor([[0.2, 0.5, 0.1, 0.1]])
    assert similarity(near, box, "IOU") == similarity(far, box, "IOU") == 0
    for kind in KINDS[1:]:
        assert similarity(near, box, kind) > similarity(far, box, kind)
