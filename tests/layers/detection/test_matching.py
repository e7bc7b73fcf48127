"""Which prior box finds which object, and which boxes are the hardest."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import protogen
from protogen.layers.detection.matching import hardest
from tests.layers.detection.plain_multibox import PRIORS, case, layer, plain_loss

BOX, SHIFTED, APART, EMPTY = [0.0, 0.0, 4.0, 2.0], [2.0, 0.0, 6.0, 2.0], [10.0, 0.0, 12.0, 2.0], [1.0, 1.0, 1.0, 1.0]


def test_the_hardest_boxes_are_taken_per_image() -> None:
    boxes = torch.tensor([[BOX, [0.0, 0.0, 4.0, 2.2], APART, EMPTY, SHIFTED]] * 2)
    loss = torch.tensor([[1.0, 2.0, 3.0, 9.0, 8.0], [5.0, 4.0, 3.0, 9.0, 8.0]])
    eligible = torch.tensor([[True] * 4 + [False], [True] * 4 + [False]])
    everything, two, one = (torch.tensor([limit, 9]) for limit in (9, 2, 1))
    assert hardest(boxes, loss, eligible, 0.5, -1, everything).int().tolist() == [[0, 1, 1, 0, 0], [1, 0, 1, 0, 0]]
    assert hardest(boxes, loss, eligible, 0.95, -1, two).int().tolist() == [[0, 1, 1, 0, 0], [1, 1, 1, 0, 0]]
    assert hardest(boxes, loss, eligible, 0.95, -1, one).int().tolist() == [[0, 0, 1, 0, 0], [1, 1, 1, 0, 0]]
    assert hardest(boxes, loss, eligible, 0.95, 2, everything).int().tolist() == [[0, 0, 1, 0, 0], [1, 0, 0, 0, 0]]


def test_equal_overlaps_go_to_the_first_prior() -> None:
    loc, conf, prior, truth = case(0)
    prior[0, 0] = np.tile(np.float32([0.1, 0.1, 0.5, 0.5]), PRIORS)
    truth[0, 0, :5, 3:7] = [0.1, 0.1, 0.5, 0.5]
    options = {"per_prediction": False}
    module = protogen.loads(layer("match_type: BIPARTITE neg_overlap: 2"), phase="TRAIN").to_torch()
    expected = plain_loss(loc, conf, prior, truth, neg_overlap=2, **options)[0]
    assert module.loss(*map(torch.tensor, (loc, conf, prior, truth))).item() == pytest.approx(expected, rel=1e-5)
